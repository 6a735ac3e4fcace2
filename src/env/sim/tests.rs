//! The simulator itself: what must survive does, what may be lost is lost in some image, and the same
//! seed gives the same images.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::env::map::{CellMap, MapWriter, Mark, SegmentMap};
use crate::env::{File, FileSystem, OpenMode, Random, conformance, write_all_at};
use crate::types::Timestamp;

const PAGE: usize = 4096;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A disk with a durable, empty file.
fn disk_with(name: &str) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new();
    let file = disk.open(path(name), OpenMode::CreateNew).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path("/")).unwrap();
    (disk, file)
}

/// Images of many seeds.
fn images(disk: &SimDisk, count: u64) -> impl Iterator<Item = SimDisk> {
    (0..count).map(|seed| disk.after_power_cut(&SeededRandom::new(seed)))
}

/// A writer on a map of the file's first 64 KiB, allocated.
fn writer_of(file: &dyn File) -> MapWriter {
    file.allocate(0, 1 << 16).unwrap();
    SegmentMap::new(file.map(1 << 16).unwrap(), Mark { position: 0, delta: 0 }, 1 << 16).1
}

fn store(writer: &mut MapWriter, start: u64, bytes: &[u8]) {
    let range = start..start + bytes.len() as u64;
    writer.window(range.clone()).unwrap().copy_from_slice(bytes);
    writer.commit(range);
}

#[test]
fn the_simulated_file_system_conforms() {
    conformance::file_system(&SimDisk::new(), path("/")).unwrap();
    conformance::file_system(&SimDisk::new(), path("relative")).unwrap();
    let unheard = SimDisk::new();
    unheard.ignore_mapped_stores();
    conformance::file_system(&unheard, path("/")).unwrap();
}

#[test]
fn what_is_synced_survives_every_power_cut() {
    let (disk, file) = disk_with("/f");
    let content: Vec<u8> = (0..3 * PAGE + 100).map(|i| i as u8).collect();
    write_all_at(&*file, &content, 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.unsynced(), 0);
    write_all_at(&*file, &[0xEE; PAGE], content.len() as u64).unwrap();
    assert!(disk.unsynced() > 0);
    for image in images(&disk, 200) {
        assert_eq!(image.unsynced(), 0);
        let left = image.read_file(path("/f")).unwrap();
        assert_eq!(left[..content.len()], content);
        assert!(left[content.len()..].iter().all(|byte| [0, 0xEE].contains(byte)));
    }
}

#[test]
fn without_a_sync_something_is_lost_in_some_image() {
    let (disk, file) = disk_with("/f");
    write_all_at(&*file, &[1; 4 * PAGE], 0).unwrap();
    let hashes: BTreeSet<u64> = images(&disk, 200).map(|image| image.image_hash()).collect();
    assert!(hashes.len() > 10, "{} distinct images", hashes.len());
    let lost = disk.after_power_cut_losing_everything();
    assert_eq!(lost.read_file(path("/f")).unwrap(), b"");
    let kept = disk.after_power_cut_keeping_everything();
    assert_eq!(kept.read_file(path("/f")).unwrap(), [1; 4 * PAGE]);
    assert_eq!((kept.unsynced(), kept.image_hash()), (0, disk.image_hash()));
    assert!(hashes.contains(&kept.image_hash()) && hashes.contains(&lost.image_hash()));
}

#[test]
fn pages_are_lost_apart_and_torn_between_versions() {
    let (disk, file) = disk_with("/f");
    write_all_at(&*file, &[1; 2 * PAGE], 0).unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, &[2; 2 * PAGE], 0).unwrap();
    write_all_at(&*file, &[3; 2 * PAGE], 0).unwrap();
    let (mut pairs, mut torn) = (BTreeSet::new(), 0);
    for image in images(&disk, 2_000) {
        let left = image.read_file(path("/f")).unwrap();
        for page in left.chunks(PAGE) {
            assert!(page.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            torn += usize::from(page.iter().any(|byte| *byte != page[0]));
        }
        pairs.insert((left[0], left[2 * PAGE - 1]));
    }
    let all: BTreeSet<(u8, u8)> = (1..4).flat_map(|a| (1..4).map(move |b| (a, b))).collect();
    assert_eq!(pairs, all, "old, past and new, in every combination");
    assert!((100..500).contains(&torn), "{torn} of 4,000 pages torn");
}

#[test]
fn a_grown_size_and_its_pages_are_lost_apart() {
    let (disk, file) = disk_with("/f");
    write_all_at(&*file, &[9; 100], 0).unwrap();
    let (mut zeros, mut gone, mut whole) = (false, false, false);
    for image in images(&disk, 200) {
        match image.read_file(path("/f")).unwrap()[..] {
            [] => gone = true,
            [0, ..] => zeros = true,
            ref left => whole |= left == [9; 100],
        }
    }
    assert!(zeros && gone && whole, "zeros {zeros}, gone {gone}, whole {whole}");
}

#[test]
fn stores_through_a_map_leave_any_past_version() {
    let (disk, file) = disk_with("/f");
    let mut writer = writer_of(&*file);
    file.sync_data().unwrap();
    for byte in 1..=5 {
        store(&mut writer, 0, &[byte; 10]);
    }
    let first: BTreeSet<u8> = images(&disk, 300).map(|i| i.read_file(path("/f")).unwrap()[0]).collect();
    assert_eq!(first, (0..=5).collect());
    file.sync_data().unwrap();
    assert!(images(&disk, 50).all(|image| image.read_file(path("/f")).unwrap()[..10] == [5; 10]));
}

#[test]
fn what_a_map_did_not_commit_is_in_no_image() {
    let (disk, file) = disk_with("/f");
    let mut writer = writer_of(&*file);
    writer.window(0..10).unwrap().fill(1);
    assert_eq!(disk.after_kill().read_file(path("/f")).unwrap()[..10], [0; 10]);
    writer.commit(0..10);
    assert_eq!(disk.after_kill().read_file(path("/f")).unwrap()[..10], [1; 10]);
}

#[test]
fn hot_pages_keep_few_versions_and_the_first_and_last_among_them() {
    let (disk, file) = disk_with("/f");
    let mut writer = writer_of(&*file);
    file.sync_data().unwrap();
    for n in 1..=5_000_u64 {
        store(&mut writer, 0, &n.to_be_bytes());
    }
    let value = |image: &SimDisk| {
        let left = image.read_file(path("/f")).unwrap();
        u64::from_be_bytes(left[..8].try_into().unwrap())
    };
    assert_eq!(value(&disk.after_power_cut_losing_everything()), 0);
    assert_eq!(value(&disk.after_power_cut_keeping_everything()), 5_000);
    let seen: BTreeSet<u64> = images(&disk, 2_000).map(|image| value(&image)).collect();
    assert!((20..=65).contains(&seen.len()), "{} versions", seen.len());
    assert!(seen.iter().any(|n| (1_000..4_000).contains(n)), "a sample of the middle");
}

#[test]
fn maps_share_memory_and_never_move() {
    let (disk, file) = disk_with("/f");
    file.allocate(0, 2 * PAGE as u64).unwrap();
    let cells = CellMap::new(file.map(PAGE).unwrap());
    let again = disk.open(path("/f"), OpenMode::ReadWrite).unwrap();
    let others = CellMap::new(again.map(PAGE / 2).unwrap());
    cells.store(1, 0, 7);
    assert_eq!(others.load(1, 0), 7);
    assert_eq!((cells.cells(), others.cells()), (PAGE / 64, PAGE / 128));
    assert_eq!(again.map(2 * PAGE).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.flip_bit(path("/f"), 0, 0).unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop((cells, others));
    let larger = CellMap::new(again.map(2 * PAGE).unwrap());
    assert_eq!(larger.load(1, 0), 7);
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn a_store_beyond_the_end_of_the_file_is_fatal() {
    let (_disk, file) = disk_with("/f");
    file.set_size(100).unwrap();
    let cells = CellMap::new(file.map(PAGE).unwrap());
    cells.store(2, 0, 1);
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn a_store_into_a_hole_of_a_full_disk_is_fatal() {
    let (disk, file) = disk_with("/f");
    file.set_size(100).unwrap();
    disk.set_capacity(Some(0));
    CellMap::new(file.map(PAGE).unwrap()).store(0, 0, 1);
}

#[test]
fn unheard_stores_count_as_durable() {
    let (disk, file) = disk_with("/f");
    disk.ignore_mapped_stores();
    let mut writer = writer_of(&*file);
    file.sync_data().unwrap();
    store(&mut writer, 0, &[4; 5_000]);
    for image in [disk.after_kill(), disk.after_power_cut_losing_everything()] {
        assert_eq!(image.read_file(path("/f")).unwrap()[..5_001], [&[4; 5_000][..], &[0]].concat());
    }
}

#[test]
fn directory_changes_are_lost_apart_but_in_order_per_name() {
    let disk = SimDisk::new();
    for name in ["/a", "/b", "/a.tmp"] {
        disk.open(path(name), OpenMode::CreateNew).unwrap().sync_data().unwrap();
    }
    disk.rename(path("/a.tmp"), path("/a")).unwrap();
    let states: BTreeSet<Vec<String>> = images(&disk, 300)
        .map(|image| image.list(path("/")).unwrap().into_iter().map(|entry| entry.name).collect())
        .collect();
    let expect: BTreeSet<Vec<String>> = ["", "a", "a.tmp", "a a.tmp", "b", "a b", "a.tmp b", "a a.tmp b"]
        .iter()
        .map(|names| {
            let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
            names.sort();
            names
        })
        .collect();
    assert!(states.is_subset(&expect), "{states:?}");
    assert_eq!(states.len(), expect.len(), "{states:?}");
    disk.sync_dir(path("/")).unwrap();
    assert!(images(&disk, 50).all(|image| image.files() == [path("/a"), path("/b")]));
}

#[test]
fn a_rename_keeps_the_old_file_or_the_new() {
    let (disk, old) = disk_with("/a");
    write_all_at(&*old, b"old", 0).unwrap();
    old.sync_data().unwrap();
    let new = disk.open(path("/a.tmp"), OpenMode::CreateNew).unwrap();
    write_all_at(&*new, b"new", 0).unwrap();
    new.sync_data().unwrap();
    disk.rename(path("/a.tmp"), path("/a")).unwrap();
    let found: BTreeSet<Vec<u8>> = images(&disk, 100).map(|i| i.read_file(path("/a")).unwrap()).collect();
    assert_eq!(found, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_directory_that_is_not_durable_takes_along_what_it_holds() {
    let disk = SimDisk::new();
    disk.create_dir(path("/d/e")).unwrap();
    disk.open(path("/d/e/f"), OpenMode::CreateNew).unwrap().sync_data().unwrap();
    disk.sync_dir(path("/d/e")).unwrap();
    disk.sync_dir(path("/d")).unwrap();
    assert!(disk.after_power_cut_losing_everything().files().is_empty());
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.after_power_cut_losing_everything().files(), [path("/d/e/f")]);
    disk.rename(path("/d"), path("/g")).unwrap();
    assert_eq!(disk.rename(path("/g"), path("/g/e/h")).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.files(), [path("/g/e/f")]);
    assert_eq!(disk.after_power_cut_losing_everything().files(), [path("/d/e/f")]);
}

#[test]
fn a_kill_keeps_everything_but_locks_and_makes_nothing_durable() {
    let (disk, file) = disk_with("/f");
    let _held = disk.lock(path("/lock")).unwrap();
    write_all_at(&*file, b"in the cache", 0).unwrap();
    disk.fail_nth(1, Fault::Io);
    let killed = disk.after_kill();
    assert_eq!(killed.image_hash(), disk.image_hash());
    drop(killed.lock(path("/lock")).unwrap());
    assert_eq!(killed.unsynced(), disk.unsynced());
    assert_eq!(killed.after_power_cut_losing_everything().read_file(path("/f")).unwrap(), b"");
    let reopened = killed.open(path("/f"), OpenMode::ReadWrite).unwrap();
    write_all_at(&*reopened, b"I", 0).unwrap();
    assert_eq!(disk.read_file(path("/f")).unwrap(), b"in the cache");
}

#[test]
fn a_failed_sync_lies_from_then_on() {
    let (disk, file) = disk_with("/f");
    write_all_at(&*file, &[1; 2 * PAGE], 0).unwrap();
    disk.inject(Failure::nth(1, Fault::Io).only(Op::Sync));
    let error = file.sync_data().unwrap_err();
    assert_eq!(error.raw_os_error(), Fault::Io.error().unwrap().raw_os_error());
    file.sync_data().unwrap();
    assert_eq!(disk.read_file(path("/f")).unwrap(), [1; 2 * PAGE], "the cache shows it");
    assert_eq!(disk.after_power_cut_losing_everything().read_file(path("/f")).unwrap(), b"");

    // What is written again, even with the same bytes, is durable after the next sync.
    let reopened = disk.after_kill();
    let file = reopened.open(path("/f"), OpenMode::ReadWrite).unwrap();
    write_all_at(&*file, &[1; PAGE], 0).unwrap();
    file.set_size(2 * PAGE as u64 + 1).unwrap();
    file.sync_data().unwrap();
    let left = reopened.after_power_cut_losing_everything().read_file(path("/f")).unwrap();
    assert_eq!(left[..PAGE], [1; PAGE]);
    assert_eq!(left[PAGE..], [0; PAGE + 1]);
}

#[test]
fn a_failed_directory_sync_lies_too() {
    let disk = SimDisk::new();
    disk.open(path("/f"), OpenMode::CreateNew).unwrap();
    disk.inject(Failure::nth(1, Fault::Io).only(Op::SyncDir));
    disk.sync_dir(path("/")).unwrap_err();
    disk.sync_dir(path("/")).unwrap();
    assert!(disk.after_power_cut_losing_everything().files().is_empty());
    disk.rename(path("/f"), path("/g")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.after_power_cut_losing_everything().files(), [path("/g")]);
}

#[test]
fn the_nth_call_fails_as_told() {
    let (disk, file) = disk_with("/f");
    disk.start_log();
    let before = disk.calls();
    disk.fail_nth(2, Fault::StorageFull);
    file.write_at(b"one", 0).unwrap();
    assert_eq!(file.write_at(b"two", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file(path("/f")).unwrap(), b"one");
    file.write_at(b"two", 0).unwrap();
    disk.inject(Failure::nth(1, Fault::ShortWrite).times(Times::Always));
    file.sync_data().unwrap();
    assert_eq!(file.write_at(b"12345", 3).unwrap(), 2);
    assert_eq!(write_all_at(&*file, b"12345", 3).unwrap_err().kind(), ErrorKind::WriteZero);
    disk.inject(Failure::nth(2, Fault::Io).only(Op::Write));
    file.set_size(0).unwrap();
    file.write_at(b"abcd", 0).unwrap();
    file.write_at(b"efgh", 0).unwrap_err();
    assert_eq!(disk.read_file(path("/f")).unwrap(), b"efcd", "half of it was written");
    assert!(disk.calls_of(Op::Write) >= 7);
    let log = disk.take_log();
    assert_eq!(log.len() as u64, disk.calls() - before);
    assert_eq!(log[1], "Write /f 3 bytes at 0 fails: StorageFull");
}

#[test]
fn every_kind_of_call_can_fail_and_then_has_done_nothing() {
    let (disk, file) = disk_with("/f");
    disk.create_dir(path("/d")).unwrap();
    let before = disk.image_hash();
    disk.inject(Failure::nth(1, Fault::Io).times(Times::Always));
    assert!(file.set_size(9).is_err() && file.allocate(0, 9).is_err() && file.map(9).is_err());
    assert!(disk.create_dir(path("/e")).is_err() && disk.lock(path("/lock")).is_err());
    assert!(disk.open(path("/g"), OpenMode::CreateIfMissing).is_err());
    assert!(disk.rename(path("/f"), path("/g")).is_err() && disk.remove_file(path("/f")).is_err());
    assert!(disk.remove_dir(path("/d")).is_err() && disk.sync_dir(path("/")).is_err());
    assert_eq!(disk.image_hash(), before);
    disk.open(path("/f"), OpenMode::ReadWrite).unwrap();
    disk.stop_failing();
    disk.remove_dir(path("/d")).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits() {
    let (disk, file) = disk_with("/f");
    disk.set_capacity(Some(4 * PAGE as u64));
    file.allocate(0, 3 * PAGE as u64).unwrap();
    assert_eq!(file.allocate(0, 5 * PAGE as u64).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 3 * PAGE as u64);
    assert_eq!(file.write_at(&[1; 3 * PAGE], PAGE as u64).unwrap(), 3 * PAGE);
    assert_eq!(file.write_at(&[1; 1], 4 * PAGE as u64).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[1; 10], 4 * PAGE as u64 - 5).unwrap(), 5);
    assert_eq!(disk.used(), 4 * PAGE as u64);
    file.set_size(PAGE as u64).unwrap();
    file.allocate(0, 4 * PAGE as u64).unwrap();
    disk.remove_file(path("/f")).unwrap();
    assert_eq!(disk.used(), 4 * PAGE as u64, "an open file keeps its space");
    drop(file);
    assert_eq!(disk.used(), 0);
    let large = disk.open(path("/g"), OpenMode::CreateNew).unwrap();
    assert_eq!(large.allocate(0, u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    large.set_size(u64::MAX).unwrap();
    assert_eq!(large.write_at(b"xy", u64::MAX).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(disk.read_file(path("/g")).is_err());
}

#[test]
fn snapshots_show_each_step() {
    let (disk, file) = disk_with("/f");
    disk.snapshot_every_call(3);
    for byte in 1..=5 {
        file.write_at(&[byte], 0).unwrap();
    }
    let steps: Vec<u8> =
        disk.take_snapshots().iter().map(|step| step.read_file(path("/f")).unwrap()[0]).collect();
    assert_eq!(steps, [1, 2, 3]);
    assert!(disk.take_snapshots().is_empty());
    disk.snapshot_every_call(0);
    file.sync_data().unwrap();
    assert!(disk.take_snapshots().is_empty());
}

#[test]
fn snapshots_show_each_store() {
    use crate::env::map::CellMap;
    let disk = SimDisk::new();
    let file = disk.open(path("/f"), OpenMode::CreateNew).unwrap();
    file.allocate(0, 64).unwrap();
    let cells = CellMap::new(file.map(64).unwrap());
    disk.snapshot_every_store(2);
    for value in [1, 2, 3] {
        cells.store(0, 0, value << 56 | value);
    }
    let steps: Vec<u8> =
        disk.take_snapshots().iter().map(|step| step.read_file(path("/f")).unwrap()[0]).collect();
    assert_eq!(steps, [1, 2]);
}

#[test]
fn damage_is_durable_and_counts_as_no_call() {
    let disk = SimDisk::new();
    disk.write_file(path("/f"), b"abc").unwrap();
    disk.flip_bit(path("/f"), 1, 0).unwrap();
    assert_eq!(disk.flip_bit(path("/f"), 3, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.after_power_cut_losing_everything().read_file(path("/f")).unwrap(), b"acc");
    disk.truncate_file(path("/f"), 2).unwrap();
    assert_eq!(disk.after_power_cut_losing_everything().read_file(path("/f")).unwrap(), b"ac");
    disk.write_file(path("/f"), b"x").unwrap();
    assert_eq!(disk.read_file(path("/f")).unwrap(), b"x");
    assert_eq!(disk.write_file(path("/none/f"), b"").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!((disk.calls(), disk.unsynced()), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_images() {
    let run = || {
        let sim = SimEnvironment::new(42);
        let files = sim.environment().files().clone();
        let file = files.open(path("/f"), OpenMode::CreateNew).unwrap();
        for _ in 0..200 {
            let at = sim.random().below(10_000);
            write_all_at(&*file, &sim.random().next_u64().to_be_bytes(), at).unwrap();
        }
        let images = (0..20).map(|_| sim.disk().after_power_cut(sim.random()).image_hash());
        images.collect::<Vec<u64>>()
    };
    let first = run();
    assert_eq!(first, run());
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 10);
}

#[test]
fn files_without_a_name_are_forgotten() {
    let (disk, file) = disk_with("/f");
    disk.remove_file(path("/f")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.state().files.len(), 1, "still open");
    drop(file);
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(disk.state().files.len(), 0);
}

#[test]
fn the_clock_moves_by_hand() {
    let sim = SimEnvironment::new(0);
    let clock = sim.environment().clock().clone();
    let start = clock.now();
    sim.clock().advance(Duration::from_micros(1_500));
    sim.clock().advance(Duration::from_micros(500));
    assert_eq!((clock.now().millis() - start.millis(), clock.monotonic()), (2, Duration::from_millis(2)));
    sim.clock().set(Timestamp::from_millis(5));
    assert_eq!((clock.now().millis(), clock.monotonic()), (5, Duration::from_millis(2)));
    let file = sim.disk().open(path("/f"), OpenMode::CreateNew).unwrap();
    sim.clock().advance(Duration::from_secs(1));
    file.write_at(b"x", 0).unwrap();
    assert_eq!(file.modified().unwrap().millis(), 1_005);
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    let (disk, _file) = disk_with("/f");
    assert_eq!(disk.exists(path("/f/below")).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(disk.exists(path("/../f")).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(disk.create_dir(path("/f")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open(path("/"), OpenMode::Read).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert!(disk.trusts_mapped_stores(path("/")));
    disk.distrust_mapped_stores();
    assert!(!disk.after_kill().trusts_mapped_stores(path("/")));
}
