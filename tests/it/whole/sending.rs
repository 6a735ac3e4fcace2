//! Producers of all kinds: plain ones, batches, those with a name, appends that expect an offset.

use millpond::ErrorKind;
use millpond::prelude::*;
use millpond::producer::BatchDelivery;

use super::log::{Id, Sent, Source, key_bytes, value_bytes};
use super::world::{World, offset};

/// A record with the bytes that it is sent with.
pub(super) struct Made {
    pub(super) id: Id,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) header: Vec<u8>,
    pub(super) partition: u32,
    /// Its timestamp, where it is given one.
    pub(super) stamp: Option<Timestamp>,
}

impl Made {
    /// The record with the time that it is to have.
    pub(super) fn dated<'a, V, K>(&self, record: Record<'a, V, K>) -> Record<'a, V, K> {
        match self.stamp {
            Some(stamp) => record.timestamp(stamp),
            None => record,
        }
    }
}

/// What a record may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// With a key, and a value or none.
    Any,
    /// With a key and a value.
    Full,
    /// Without a key, where the log is not compacted.
    Keyless,
}

/// Does something with the record that was made, whatever its type.
macro_rules! with_record {
    ($made:expr, |$record:ident| $body:expr) => {{
        let made = &$made;
        match (&made.key, &made.value) {
            (Some(key), Some(value)) => {
                let $record = made.dated(Record::new(value).key(key).partition(made.partition));
                $body
            }
            (Some(key), None) => {
                let record = Record::tombstone().key(key).header("id", &made.header);
                let $record = made.dated(record.partition(made.partition));
                $body
            }
            (None, value) => {
                let value = value.as_ref().expect("a tombstone has a key");
                let $record = made.dated(Record::new(value).partition(made.partition));
                $body
            }
        }
    }};
}
pub(super) use with_record;

impl World {
    /// Makes a record for a partition of a topic, or for any.
    pub(super) fn make(&mut self, number: u64, partition: Option<u32>, kind: Kind, source: Source) -> Made {
        let topic = &self.topics[&number];
        let partition = partition.unwrap_or_else(|| self.below(topic.logs.len() as u64) as u32);
        // A key has one partition; one that came later has a key of its own.
        let fits = |key: &u8| u32::from(*key) % topic.spread == partition;
        let keys: Vec<u8> = (0..12).filter(fits).collect();
        let key = match keys.is_empty() {
            true => 100 + partition as u8,
            false => keys[self.below(keys.len() as u64) as usize],
        };
        let keyed = kind != Kind::Keyless || topic.config.cleanup_policy_kind().compacts();
        let key = keyed.then_some(key);
        let padding = match self.below(24) {
            0 => 3_000,
            1 => 6_000,
            _ => self.below(300) as usize,
        };
        let tombstone = kind == Kind::Any && self.one_in(6);
        let stamp = self.draw_time();
        let id = self.records.len();
        self.records.push(Sent {
            topic: number,
            partition,
            key,
            tombstone,
            source,
            at: self.now(),
            stamp,
            stored: None,
            padding,
            offset: None,
            doubtful: false,
            lost: false,
        });
        Made {
            id,
            key: key.map(key_bytes),
            value: (!tombstone).then(|| value_bytes(id, padding)),
            header: id.to_string().into_bytes(),
            partition,
            stamp: stamp.map(Timestamp::from_millis),
        }
    }

    pub(super) fn send(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let kind = if self.one_in(4) { Kind::Keyless } else { Kind::Any };
        for _ in 0..1 + self.below(12) {
            let made = self.make(number, None, kind, Source::Plain);
            let producer = self.topics[&number].producer.clone();
            self.say(format!("send {number}-{}: {}", made.partition, made.id));
            let delivery = match with_record!(made, |record| producer.send(record)) {
                Ok(delivery) => delivery,
                Err(error) => {
                    self.records[made.id].doubtful = true;
                    let full = self.when_full(number);
                    self.bear("send", &error, full);
                    continue;
                }
            };
            if let Some(offset) = delivery.offset() {
                self.place(made.id, offset.get());
            }
            if self.one_in(4) {
                self.acknowledged(made.id, delivery.wait().map(|metadata| metadata.offset().get()));
            }
        }
    }

    fn acknowledged(&mut self, id: Id, answer: millpond::Result<u64>) {
        match answer {
            Ok(offset) => {
                self.place(id, offset);
                let sent = &self.records[id];
                let partition = self.topics[&sent.topic].partition(sent.partition as usize);
                assert!(partition.high_watermark().get() > offset, "acknowledged is visible");
            }
            Err(error) => {
                self.records[id].doubtful = true;
                self.bear("wait", &error, &[]);
            }
        }
    }

    pub(super) fn send_batch(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let kind = if self.one_in(2) { Kind::Keyless } else { Kind::Full };
        let count = 1 + self.below(15);
        let made: Vec<Made> = (0..count).map(|_| self.make(number, None, kind, Source::Plain)).collect();
        self.say(format!("send_batch {number}: {}..={}", made[0].id, made[0].id + made.len() - 1));
        let producer = self.topics[&number].producer.clone();
        let value = |made: &'_ Made| made.value.clone().unwrap_or_default();
        let values: Vec<Vec<u8>> = made.iter().map(value).collect();
        let records = made.iter().zip(&values);
        let answer = if made[0].key.is_some() {
            let records: Vec<_> = made
                .iter()
                .zip(&values)
                .map(|(made, value)| {
                    let key = made.key.as_ref().expect("all have");
                    made.dated(Record::new(value).key(key).partition(made.partition))
                })
                .collect();
            producer.send_batch(records)
        } else {
            producer.send_batch(
                records.map(|(made, value)| made.dated(Record::new(value).partition(made.partition))),
            )
        };
        self.delivered(&made, answer);
    }

    /// What a delivery of several records says of them.
    pub(super) fn delivered(&mut self, made: &[Made], answer: millpond::Result<BatchDelivery>) {
        let mut delivery = match answer {
            Ok(delivery) => delivery,
            Err(error) => {
                made.iter().for_each(|made| self.records[made.id].doubtful = true);
                let full = made.first().map_or(&[][..], |made| self.when_full(self.records[made.id].topic));
                return self.bear("batch", &error, full);
            }
        };
        let mut rest: Vec<&Made> = made.iter().collect();
        for batch in delivery.batches() {
            for offset in batch.base_offset().get()..=batch.last_offset().get() {
                let at = rest.iter().position(|made| made.partition == batch.partition());
                let made = rest.remove(at.expect("no more than were given"));
                self.place(made.id, offset);
            }
        }
        let full = made.first().is_some_and(|made| !self.when_full(self.records[made.id].topic).is_empty());
        assert!(rest.is_empty() || full || self.in_trouble(), "{} records were not handed over", rest.len());
        rest.iter().for_each(|made| self.records[made.id].doubtful = true);
        if self.one_in(2) {
            return;
        }
        match delivery.wait_timeout(std::time::Duration::from_secs(5)) {
            Ok(_) => {
                for made in made {
                    let offset = self.records[made.id].offset.expect("all were handed over");
                    self.acknowledged(made.id, Ok(offset));
                }
            }
            Err(error) => {
                made.iter().for_each(|made| self.records[made.id].doubtful = true);
                let full = made.first().map_or(&[][..], |made| self.when_full(self.records[made.id].topic));
                self.bear("wait for a batch", &error, full);
            }
        }
    }

    pub(super) fn append_expecting(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let made = self.make(number, None, Kind::Full, Source::Plain);
        let partition = self.topics[&number].partition(made.partition as usize);
        let end = partition.log_end_offset().get();
        let expected = end + self.below(2);
        self.say(format!("append_expecting {number}-{} {expected}: {}", made.partition, made.id));
        let (key, value) = (made.key.clone().unwrap_or_default(), made.value.clone().unwrap_or_default());
        let answer =
            partition.append_expecting(offset(expected), [made.dated(Record::new(&value).key(&key))]);
        match answer {
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedOffset { .. }) => {
                self.records[made.id].lost = true;
                let staged = self.ends_at(number, made.partition);
                // What a transaction has handed over nobody has told.
                let ErrorKind::UnexpectedOffset { actual } = error.kind() else { unreachable!() };
                assert!(actual.get() >= staged && actual.get() != expected, "{error}: at least {staged}");
            }
            answer => self.delivered(&[made], answer),
        }
    }

    /// Where the log ends with all that is known of it, also what is not written yet.
    fn ends_at(&self, number: u64, partition: u32) -> u64 {
        let topic = &self.topics[&number];
        let known = topic.logs[partition as usize].known.keys().next_back().map_or(0, |last| last + 1);
        known.max(topic.partition(partition as usize).log_end_offset().get())
    }

    pub(super) fn flush(&mut self) {
        let Some(number) = self.any_topic() else { return };
        self.say(format!("flush {number}"));
        if let Err(error) = self.topics[&number].producer.flush().wait() {
            return self.bear("flush", &error, &[]);
        }
        for n in 0..self.topics[&number].logs.len() {
            let partition = self.topics[&number].partition(n);
            let high = partition.high_watermark().get();
            assert_eq!(high, self.ends_at(number, n as u32), "flushed is visible");
        }
    }
}
