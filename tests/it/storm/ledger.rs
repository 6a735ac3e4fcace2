//! What the actors were told, and what the topics must hold by it.
//!
//! Invariants: each record that was acknowledged is there once; of each sender, in each partition, in its order; of a
//! transaction that was committed every record is seen, of an aborted one none; each event comes out of the pipeline once.

use std::collections::{BTreeMap, BTreeSet};

use millpond::config::ReaderConfig;
use millpond::prelude::*;

/// What is known of a record, or of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Handed over; nobody has waited.
    Sent,
    Acknowledged,
    Aborted,
}

/// What one actor was told.
pub(super) struct Book {
    pub(super) by: &'static str,
    topic: &'static str,
    fates: Vec<(u64, Fate)>,
    /// Key to the number of its last record, if that is no tombstone.
    last: BTreeMap<String, Option<u64>>,
}

impl Book {
    pub(super) fn new(by: &'static str, topic: &'static str) -> Book {
        Book { by, topic, fates: Vec::new(), last: BTreeMap::new() }
    }

    pub(super) fn sent(&mut self, number: u64, fate: Fate) {
        self.fates.push((number, fate));
    }

    pub(super) fn keyed(&mut self, key: &str, number: Option<u64>) {
        self.last.insert(key.to_owned(), number);
    }

    pub(super) fn all_acknowledged(&mut self) {
        self.fates.iter_mut().for_each(|(_, fate)| *fate = Fate::Acknowledged);
    }
}

/// All of them together.
pub(super) struct Ledger {
    books: Vec<Book>,
}

/// A record as it is read: partition, offset, key, value.
type Row = (u32, u64, Option<String>, Option<String>);

/// All records of a topic, partition by partition.
pub(super) fn rows(broker: &Broker, topic: &str, isolation: Isolation) -> Vec<Row> {
    let mut rows = Vec::new();
    for partition in broker.topic(topic).unwrap().partitions().unwrap() {
        let config = ReaderConfig::new().isolation(isolation);
        let mut reader = partition.reader_builder().config(config).start(Start::Earliest).build().unwrap();
        let mut last = None;
        while let Some(records) = reader.next().unwrap() {
            for record in &records {
                let text =
                    |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                let offset = record.offset().get();
                assert!(last.is_none_or(|last| last < offset), "{topic}: {offset} after {last:?}");
                last = Some(offset);
                let (key, value) = (text(record.key().unwrap()), text(record.value().unwrap()));
                rows.push((partition.number(), offset, key, value));
            }
        }
    }
    rows
}

/// Who has sent a value, and its numbers.
pub(super) fn parse(value: &str) -> (&str, Vec<u64>) {
    let mut words = value.split(' ');
    let by = words.next().unwrap();
    (by, words.map_while(|word| word.parse().ok()).collect())
}

impl Ledger {
    pub(super) fn new(books: Vec<Book>) -> Ledger {
        Ledger { books }
    }

    /// Reads everything, and answers it.
    pub(super) fn check(&self, broker: &Broker) -> BTreeMap<&'static str, Vec<Row>> {
        let mut all = BTreeMap::new();
        for topic in ["events", "orders"] {
            let rows = rows(broker, topic, Isolation::ReadUncommitted);
            self.check_sent(topic, &rows);
            all.insert(topic, rows);
        }
        let money = rows(broker, "money", Isolation::ReadCommitted);
        self.check_transactions(&money);
        let out = rows(broker, "out", Isolation::ReadCommitted);
        check_pipeline(&all["events"], &out);
        let state = rows(broker, "state", Isolation::ReadCommitted);
        self.check_state(&state);
        all.insert("money", money);
        all.insert("out", out);
        all
    }

    fn books_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Book> {
        self.books.iter().filter(move |book| book.topic == topic)
    }

    /// Once, in order, and all of it.
    fn check_sent(&self, topic: &str, rows: &[Row]) {
        let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
        for (partition, offset, _, value) in rows {
            let (by, numbers) = parse(value.as_ref().unwrap());
            let number = numbers[0];
            assert!(seen.insert((by, number)), "{topic}-{partition}: {by} {number} twice, at {offset}");
            let before = last.insert((by, *partition), number);
            let ordered = before.is_none_or(|before| before < number);
            assert!(ordered, "{topic}-{partition}: {by} {number} after {before:?}, at {offset}");
        }
        for book in self.books_of(topic) {
            for (number, fate) in &book.fates {
                let there = seen.contains(&(book.by, *number));
                assert!(there || *fate != Fate::Acknowledged, "{topic}: {} {number} is lost", book.by);
            }
        }
    }

    /// All of a transaction, or nothing.
    fn check_transactions(&self, rows: &[Row]) {
        let mut seen: BTreeMap<(&str, u64), (u64, BTreeSet<u64>)> = BTreeMap::new();
        for (partition, offset, _, value) in rows {
            let (by, numbers) = parse(value.as_ref().unwrap());
            let [number, at, count] = numbers[..] else { panic!("{value:?}") };
            let (_, all) = seen.entry((by, number)).or_insert((count, BTreeSet::new()));
            assert!(all.insert(at), "money-{partition}: {by} {number} {at} twice, at {offset}");
        }
        for ((by, number), (count, all)) in &seen {
            assert_eq!(all.len() as u64, *count, "transaction {number} of {by} is seen in part: {all:?}");
        }
        for book in self.books_of("money") {
            for (number, fate) in &book.fates {
                let there = seen.contains_key(&(book.by, *number));
                let right = there == (*fate != Fate::Aborted);
                assert!(right, "transaction {number} of {}: {fate:?}, seen: {there}", book.by);
            }
        }
    }

    /// The last record of each key is there.
    fn check_state(&self, rows: &[Row]) {
        let mut now = BTreeMap::new();
        for (_, _, key, value) in rows {
            let number = value.as_ref().map(|value| parse(value).1[0]);
            now.insert(key.clone().unwrap(), number);
        }
        for (key, number) in self.books_of("state").flat_map(|book| &book.last) {
            let found = now.get(key).copied().flatten();
            assert_eq!(found, *number, "the last record of {key}");
        }
    }
}

/// Every event came out, once.
fn check_pipeline(events: &[Row], out: &[Row]) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, _, _, value) in events {
        *counts.entry(value.as_ref().unwrap()).or_default() += 1;
    }
    for (_, _, _, value) in out {
        *counts.entry(value.as_ref().unwrap()).or_default() -= 1;
    }
    let wrong: Vec<_> =
        counts.iter().filter(|(_, count)| **count != 0).map(|(value, count)| (parse(value), count)).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} events came out not once: {:?}",
        wrong.len(),
        events.len(),
        &wrong[..wrong.len().min(9)]
    );
}
