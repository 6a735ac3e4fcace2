//! Random logs against the model: tombstones, transactions, several rounds and passes, reopenings.

use proptest::prelude::*;

use super::world::{Sent, World};
use crate::format::control::TxnOutcome;
use crate::partition::Found;

/// One step of a log's life.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send { producer: i64, transactional: bool, records: Vec<(u8, bool)> },
    End { producer: i64, commit: bool },
    Advance(u16),
    Roll,
    Compact { memory: u64 },
    Close,
    Kill,
}

pub(super) fn records() -> impl Strategy<Value = Vec<(u8, bool)>> {
    proptest::collection::vec((0..24u8, proptest::bool::weighted(0.75)), 1..6)
}

pub(super) fn sending() -> impl Strategy<Value = Step> {
    (-1..4i64, any::<bool>(), records()).prop_map(|(producer, transactional, records)| {
        let producer = if producer == 0 { -1 } else { producer };
        Step::Send { producer, transactional: transactional && producer > 0, records }
    })
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => sending(),
        4 => (1..4i64, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        2 => (0..1500u16).prop_map(Step::Advance),
        2 => Just(Step::Roll),
        3 => prop_oneof![Just(0), Just(600), Just(1 << 20)].prop_map(|memory| Step::Compact { memory }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
    ]
}

pub(super) fn take(world: &mut World, step: &Step) {
    match step {
        Step::Send { producer, transactional, records } => {
            // A producer with an open transaction sends within it.
            let transactional = *transactional || world.open.contains_key(producer);
            let sent = records.iter().map(|&(key, has_value)| Sent {
                key,
                value: has_value.then(|| format!("value {} of key {key}", world.batches.len())),
            });
            let sent = sent.collect();
            world.send(*producer, transactional, sent);
        }
        Step::End { producer, commit } => {
            world.end(*producer, if *commit { TxnOutcome::Commit } else { TxnOutcome::Abort });
        }
        Step::Advance(millis) => {
            world.sim.clock().advance(std::time::Duration::from_millis((*millis).into()));
        }
        Step::Roll => world.settle(),
        Step::Compact { memory } => {
            world.memory = *memory;
            world.settle();
            let now = world.now();
            world.compact_and_note();
            world.check_exact(now);
            world.check_safe();
        }
        Step::Close => {
            let point = world.log().close().unwrap();
            world.log = None;
            world.open_as(Found::Clean(point)).unwrap();
            world.point = Some(point);
        }
        Step::Kill => {
            let disk = world.sim.disk().after_kill();
            *world = world.on(disk);
            world.reopen_after_crash().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compaction_keeps_exactly_what_the_rules_name(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
        }
        world.check_safe();
        take(&mut world, &Step::Compact { memory: 1 << 20 });
    }
}
