//! Snapshots of the producers, of rolls and of checkpoints: whatever becomes of them, what is known is what the log tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReaderConfig};
use millpond::env::FileSystem;
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};

fn open(sim: &SimEnvironment) -> Broker {
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .checkpoint_interval(Duration::from_millis(1))
        .max_block(Duration::from_millis(50));
    Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap()
}

fn offset_in(path: &Path, kind: &str) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(kind)?.parse().ok()
}

fn offsets(disk: &SimDisk, kind: &str) -> Vec<u64> {
    let mut found: Vec<_> = disk
        .files()
        .iter()
        .filter(|path| path.starts_with("/data/t-0"))
        .filter_map(|path| offset_in(path, kind))
        .collect();
    found.sort_unstable();
    found
}

fn snapshot(offset: u64) -> PathBuf {
    PathBuf::from(format!("/data/t-0/{offset:020}.snapshot"))
}

fn tick(sim: &SimEnvironment, broker: &Broker) {
    sim.clock().advance(Duration::from_millis(2));
    broker.tick().unwrap();
}

/// What the log knows of its producers, and what readers of committed records see.
type Known = (Vec<(i64, i16, Option<i32>, Option<u64>)>, usize, usize);

fn known(broker: &Broker) -> Known {
    let topic = broker.topic("t").unwrap();
    let partition = topic.partition(0).unwrap();
    let producers = partition.producers().into_iter().map(|one| {
        let open = one.open_since().map(|offset| offset.get());
        (one.producer_id().get(), one.epoch().get(), one.last_sequence(), open)
    });
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let mut reader = partition.reader_builder().config(config).build().unwrap();
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        seen += records.iter().count();
    }
    (producers.collect(), partition.aborted_transactions().len(), seen)
}

/// Writes over several rolls, with a checkpoint after each round; answers the disk after each.
fn written(sim: &SimEnvironment, level: Durability, mut after_each: impl FnMut(&Broker, &SimDisk)) {
    let broker = open(sim);
    let config =
        TopicConfig::new().segment_size(ByteSize::kib(16)).batch_size(ByteSize::kib(1)).durability(level);
    let topic = broker.create_topic("t", config).unwrap();
    let mut producer = broker.transactional("mover").unwrap();
    let importer = topic.idempotent_producer("importer").unwrap();
    let value = "x".repeat(700);
    for round in 0..8u64 {
        // Is heard of once: later segments tell nothing of it.
        let once = topic.idempotent_producer(format!("once-{round}")).unwrap();
        once.send_at(0, 0, [Record::new("once")]).unwrap().wait().unwrap();
        for n in 0..4 {
            importer.send_at(0, round * 4 + n, [Record::new(&value)]).unwrap().wait().unwrap();
            let mut txn = producer.begin().unwrap();
            for _ in 0..3 {
                txn.send(&topic, Record::new(&value)).unwrap();
            }
            if n % 2 == 0 { txn.commit().wait().unwrap() } else { txn.abort() }
        }
        topic.producer().unwrap().flush().wait().unwrap();
        tick(sim, &broker);
        tick(sim, &broker);
        after_each(&broker, sim.disk());
    }
}

#[test]
fn a_roll_leaves_a_snapshot_at_the_base_of_the_segment_and_few_are_kept() {
    for level in [Durability::Sync, Durability::Memory] {
        let sim = SimEnvironment::new(1);
        let mut rolls = 0;
        written(&sim, level, |broker, disk| {
            let (bases, snapshots) = (offsets(disk, ".log"), offsets(disk, ".snapshot"));
            let active = bases[bases.len() - 1];
            assert!(snapshots.len() <= 4, "{snapshots:?} of {bases:?}");
            if active == 0 {
                return;
            }
            rolls += 1;
            assert!(snapshots.contains(&active), "{level}: {snapshots:?} of {bases:?}");
            // From it alone the same follows as from all.
            let copy = disk.snapshot();
            for other in snapshots.iter().filter(|&&other| other != active) {
                copy.remove_file(&snapshot(*other)).unwrap();
            }
            let copy = SimEnvironment::on(copy.after_kill(), 2);
            assert_eq!(known(&open(&copy)), known(broker), "{level}");
        });
        assert!(rolls >= 3, "{rolls}");
    }
}

#[test]
fn missing_torn_and_stale_snapshots_change_nothing() {
    let sim = SimEnvironment::new(1);
    let mut states = 0;
    let mut before: Option<(SimDisk, Vec<u64>)> = None;
    written(&sim, Durability::Sync, |broker, disk| {
        let expected = known(broker);
        let snapshots = offsets(disk, ".snapshot");
        let mut check = |what: &str, damage: &dyn Fn(&SimDisk)| {
            for copy in [disk.after_kill(), disk.after_power_cut_losing_everything()] {
                damage(&copy);
                states += 1;
                assert_eq!(known(&open(&SimEnvironment::on(copy, 2))), expected, "{what} of {snapshots:?}");
            }
        };
        for at in &snapshots {
            let path = snapshot(*at);
            let size = disk.read_file(&path).unwrap().len() as u64;
            check("missing", &|copy| copy.remove_file(&path).unwrap());
            for len in [0, 1, size / 2, size - 1] {
                check("torn", &|copy| copy.truncate_file(&path, len).unwrap());
            }
            check("flipped", &|copy| copy.flip_bit(&path, size / 2, 3).unwrap());
        }
        check("all missing but the oldest", &|copy| {
            snapshots.iter().skip(1).for_each(|at| copy.remove_file(&snapshot(*at)).unwrap());
        });
        // Of an earlier state of the directory, as an unlink or a replacement that was lost leaves it.
        if let Some((earlier, stale)) = &before {
            for at in stale {
                let bytes = earlier.read_file(&snapshot(*at)).unwrap();
                check("stale", &|copy| copy.write_file(&snapshot(*at), &bytes).unwrap());
            }
        }
        before = Some((disk.snapshot(), snapshots.clone()));
    });
    assert!(states > 250, "{states}");
}

/// The bytes of a snapshot that knows no producers.
fn empty_snapshot() -> Vec<u8> {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let importer = topic.idempotent_producer("importer").unwrap();
    importer.send_at(0, 0, [Record::new("x")]).unwrap().wait().unwrap();
    sim.disk().read_file(&snapshot(0)).unwrap()
}

#[test]
fn a_crash_at_any_call_leaves_what_the_whole_log_tells() {
    let empty = empty_snapshot();
    for level in [Durability::Sync, Durability::Memory] {
        let sim = SimEnvironment::new(1);
        let (mut states, mut round, mut last) = (0, 0, 0);
        written(&sim, level, |_, disk| {
            round += 1;
            if round == 4 {
                // The next round rolls, and its checkpoints write both kinds.
                disk.snapshot_every_call(2_000);
            }
            if round != 5 {
                return;
            }
            let images = disk.take_snapshots();
            disk.snapshot_every_call(0);
            for (at, image) in images.iter().enumerate() {
                for copy in [image.after_kill(), image.after_power_cut_losing_everything()] {
                    let whole = copy.snapshot();
                    for offset in offsets(&whole, ".snapshot") {
                        whole.remove_file(&snapshot(offset)).unwrap();
                    }
                    whole.write_file(&snapshot(0), &empty).unwrap();
                    let told = known(&open(&SimEnvironment::on(whole, 3)));
                    assert_eq!(known(&open(&SimEnvironment::on(copy, 3))), told, "{level}, call {at}");
                    last = told.2;
                    states += 1;
                }
            }
        });
        assert!(states > 80 && last > 0, "{states} states, {last} records");
    }
}
