//! Producers with a name: what they repeat is refused, also after a crash; until it has been forgotten with time.
//!
//! The numbers of one that was forgotten begin a new generation: in the model they are above all before.

use millpond::ErrorKind;
use millpond::prelude::*;

use super::log::{Id, Source};
use super::sending::{Kind, Made};
use super::world::{EXPIRY, World};

/// Numbers of one generation.
const GENERATION: u64 = 1_000_000;

impl World {
    /// Which number a partition expects next from a producer with a name; any, where it knows of none. And whether
    /// it may have forgotten it by now.
    fn next_of(&self, number: u64, partition: u32, name: usize) -> (Option<u64>, bool) {
        let log = &self.topics[&number].logs[partition as usize];
        let sequence = |id: &Id| match self.records[*id].source {
            Source::Named(by, sequence) if by == name => Some((sequence + 1, self.records[*id].at)),
            _ => None,
        };
        match log.known.values().rev().find_map(sequence) {
            Some((next, at)) => (Some(next), self.expires() && self.now() - at >= EXPIRY.as_millis() as i64),
            None => (None, false),
        }
    }

    pub(super) fn send_named(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let name = self.below(2) as usize;
        let topic = self.topics.get_mut(&number).unwrap();
        if topic.named[name].is_none() {
            let text = format!("named-{name}");
            match topic.topic.idempotent_producer(&text) {
                Ok(producer) => topic.named[name] = Some(producer),
                Err(error) => return self.bear("idempotent_producer", &error, &[]),
            }
        }
        let partition = self.below(self.topics[&number].logs.len() as u64) as u32;
        let (known, unsure) = self.next_of(number, partition, name);
        let numbered = known.unwrap_or(0);
        let (generation, next) = (numbered / GENERATION * GENERATION, numbered % GENERATION);
        let at = (next + self.below(3)).saturating_sub(self.below(4));
        let count = 1 + self.below(6);
        let made: Vec<Made> = (at..at + count)
            .map(|sequence| {
                self.make(number, Some(partition), Kind::Full, Source::Named(name, generation + sequence))
            })
            .collect();
        self.say(format!("named-{name} to {number}-{partition}: {at} of {next}, {}", made[0].id));
        let producer = self.topics.get_mut(&number).unwrap().named[name].take().unwrap();
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or_default();
        let pairs: Vec<_> = made.iter().map(|made| (bytes(&made.key), bytes(&made.value))).collect();
        let records = pairs
            .iter()
            .zip(&made)
            .map(|((key, value), made)| made.dated(Record::new(value).key(key).partition(partition)));
        let by_itself = at == next && !unsure && self.one_in(2);
        let answer = match by_itself {
            true => producer.send(records),
            false => producer.send_at(partition, at, records),
        };
        match &answer {
            Err(error) if matches!(error.kind(), ErrorKind::Duplicate { .. }) => {
                let ErrorKind::Duplicate { next_sequence, .. } = error.kind() else { unreachable!() };
                assert!(at < next && next_sequence == next, "{error} where {next} is next, not {at}");
                made.iter().for_each(|made| self.records[made.id].lost = true);
            }
            Err(error) if matches!(error.kind(), ErrorKind::OutOfOrderSequence { .. }) => {
                let kind = ErrorKind::OutOfOrderSequence { expected: next };
                assert!(at > next && error.kind() == kind, "{error} where {next} is next, not {at}");
                made.iter().for_each(|made| self.records[made.id].lost = true);
            }
            Ok(_) if at != next && unsure => {
                for made in &made {
                    let Source::Named(_, sequence) = &mut self.records[made.id].source else {
                        unreachable!()
                    };
                    *sequence += GENERATION;
                }
            }
            Ok(_) => assert!(at == next || known.is_none(), "what is not next is refused"),
            Err(_) => {}
        }
        if made.iter().all(|made| !self.records[made.id].lost) {
            self.delivered(&made, answer);
        }
        self.topics.get_mut(&number).unwrap().named[name] = Some(producer);
    }
}
