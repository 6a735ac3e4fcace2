//! How many bytes reach the device for one durable append: a mapped store would write whole large folios
//! (up to 1 MiB for 500 bytes), a written batch a few pages and what the file system's journal needs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millpond::prelude::*;

/// Sends of 500 bytes in one round, each waited for.
const SENDS: u64 = 40;
const ROUNDS: u32 = 6;
/// Bytes for one durable append, at most.
const LIMIT: u64 = 64 << 10;

/// The counters of the device that holds `dir`.
fn counters(dir: &Path) -> Option<PathBuf> {
    let device = fs::metadata(dir).ok()?.dev();
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    let path = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
    path.exists().then_some(path)
}

/// Bytes written to the device so far.
fn written(counters: &Path) -> u64 {
    let text = fs::read_to_string(counters).expect("the device counts");
    text.split_whitespace().nth(6).and_then(|word| word.parse::<u64>().ok()).expect("sectors written") * 512
}

#[test]
fn a_durable_append_writes_a_few_pages() {
    let dir = tempfile::tempdir().unwrap();
    let Some(counters) = counters(dir.path()) else {
        eprintln!("SKIPPED: {} lies on no block device whose counters can be read", dir.path().display());
        return;
    };
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("events", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let value = [0x5a_u8; 500];
    let round = || {
        let before = written(&counters);
        for _ in 0..SENDS {
            let mut delivery = producer.send(Record::new(&value)).unwrap();
            delivery.wait_timeout(Duration::from_secs(30)).unwrap();
        }
        (written(&counters) - before) / SENDS
    };
    round();
    // Others write as well: the calmest round is nearest to what is ours.
    let calmest = (0..ROUNDS).map(|_| round()).min().unwrap();
    if calmest == 0 {
        eprintln!("SKIPPED: the counters of the device do not move");
        return;
    }
    if calmest > LIMIT {
        let before = written(&counters);
        for _ in 0..SENDS {
            fs::metadata(dir.path()).unwrap();
            std::thread::yield_now();
        }
        let noise = written(&counters) - before;
        if noise > LIMIT {
            eprintln!("SKIPPED: others write {noise} bytes meanwhile");
            return;
        }
    }
    assert!(calmest <= LIMIT, "{calmest} bytes reach the device for one append of 500");
    println!("{calmest} bytes reach the device for one durable append of 500");
}
