//! Tables: the map that a topic's log describes, and appends that expect a version.

use std::collections::BTreeMap;

use millpond::ErrorKind;
use millpond::prelude::*;
use millpond::table::Expected;

use super::log::{Seen, Source, read};
use super::sending::Kind;
use super::world::World;

/// Key to offset and record.
type Rows = BTreeMap<Vec<u8>, (u64, usize)>;

fn rows_of(table: &Table) -> Rows {
    table
        .iter()
        .map(|entry| {
            let value = entry.raw_value();
            let id = value.split(|&byte| byte == b':').next().unwrap();
            let id = String::from_utf8(id.to_vec()).unwrap().parse().unwrap();
            (entry.raw_key().to_vec(), (entry.offset().get(), id))
        })
        .collect()
}

/// What the records of a topic, as readers of committed ones see them, come to.
fn fold(views: &[Vec<Seen>]) -> Rows {
    let mut rows = Rows::new();
    for record in views.iter().flatten() {
        let Some(key) = &record.key else { continue };
        match record.tombstone {
            true => rows.remove(key),
            false => rows.insert(key.clone(), (record.offset, record.id)),
        };
    }
    rows
}

impl World {
    /// A step with a table.
    pub(super) fn table(&mut self) {
        let Some(number) = self.any_topic() else { return };
        if self.topics[&number].logs.iter().any(|log| log.poisoned) {
            return;
        }
        let mut table = match self.topics.get_mut(&number).unwrap().table.take() {
            Some(table) => table,
            None => match self.topics[&number].topic.table() {
                Ok(table) => table,
                Err(error) => return self.bear("table", &error, &[]),
            },
        };
        match self.below(4) {
            0 => {
                self.say(format!("table {number}: snapshot"));
                if let Err(error) = table.save_snapshot() {
                    self.bear("save_snapshot", &error, &[]);
                }
            }
            1..=2 => self.append_if(number, &mut table),
            _ => {
                self.say(format!("table {number}: update"));
                if let Err(error) = table.update() {
                    self.bear("update", &error, &[]);
                }
            }
        }
        self.topics.get_mut(&number).unwrap().table = Some(table);
    }

    fn append_if(&mut self, number: u64, table: &mut Table) {
        let made = self.make(number, None, Kind::Full, Source::Plain);
        let key = made.key.clone().unwrap();
        let value = made.value.clone().unwrap();
        if let Err(error) = table.update() {
            return self.bear("update", &error, &[]);
        }
        let known = rows_of(table).get(&key).copied();
        let right = !self.one_in(4);
        let expected = match known {
            Some((offset, _)) if right => Expected::Version(Offset::new(offset).unwrap()),
            None if right => Expected::Absent,
            Some(_) => Expected::Absent,
            None => Expected::Version(Offset::ZERO),
        };
        self.say(format!("append_if {number}-{}, {expected:?}: {}", made.partition, made.id));
        let record = made.dated(Record::new(&value).key(&key).partition(made.partition));
        match table.append_if(expected, record) {
            Ok(offset) => {
                self.place(made.id, offset.get());
                assert_eq!(rows_of(table).get(&key), Some(&(offset.get(), made.id)), "it is in the table");
            }
            Err(error) => {
                let conflict = matches!(error.kind(), ErrorKind::VersionConflict { .. });
                self.records[made.id].doubtful = true;
                self.records[made.id].lost = conflict;
                let kind = error.kind();
                let full = self.when_full(number).contains(&kind);
                let of_others = conflict || full || kind == ErrorKind::Backpressure;
                self.bear("append_if", &error, if of_others { std::slice::from_ref(&kind) } else { &[] });
            }
        }
    }

    fn stable_ends(&self, number: u64) -> Vec<Offset> {
        let topic = &self.topics[&number];
        (0..topic.logs.len()).map(|n| topic.partition(n).last_stable_offset()).collect()
    }

    /// Tables, old and new, are what the log comes to.
    pub(super) fn audit_tables(&mut self, number: u64) {
        let stable = self.stable_ends(number);
        let topic = &self.topics[&number];
        let views = topic.logs.iter().enumerate().map(|(n, _)| {
            let partition = topic.partition(n);
            read(&partition, partition.log_start_offset().get(), Isolation::ReadCommitted).unwrap()
        });
        let expected = fold(&views.collect::<Vec<_>>());
        let fresh = topic.topic.table().unwrap();
        if self.stable_ends(number) != stable {
            return; // a commit on its way has come to its end meanwhile
        }
        let how = if fresh.is_from_snapshot() { "from a snapshot" } else { "from the log" };
        assert_eq!(rows_of(&fresh), expected, "the table of {}, {how}", topic.name);
        let topic = self.topics.get_mut(&number).unwrap();
        if let Some(table) = &mut topic.table {
            table.update().unwrap();
            assert_eq!(rows_of(table), expected, "the open table of {}", topic.name);
        }
    }
}
