//! Kafka's own results of compaction, byte for byte.

use crate::cleaner::filter::{Rules, Verdict};
use crate::cleaner::offset_map::OffsetMap;
use crate::cleaner::siphash::SipHash;
use crate::cleaner::survey::Producers;
use crate::format::batch::{BatchView, empty};

const VECTORS: &str = include_str!("../../../tests/vectors/record_batches.json");
/// When the vectors' cleaning ran, and how long their tombstones stay.
const NOW: i64 = 1_700_000_000_000 + 100_000;
const DELETE_RETENTION: i64 = 86_400_000;

fn bytes_of(name: &str) -> Vec<u8> {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let all = vectors["vectors"].as_array().unwrap();
    let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
    let hex = vector["hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn judge(bytes: &[u8], map: &OffsetMap, now: i64, void: bool) -> Verdict {
    let producers = Producers::default();
    let rules = Rules {
        map,
        end: 1000,
        settled: 1000,
        now,
        delete_retention: DELETE_RETENTION,
        producers: &producers,
    };
    rules.judge(&BatchView::parse(bytes).unwrap(), void).unwrap()
}

fn map() -> OffsetMap {
    let mut map = OffsetMap::new(10, 1 << 20, SipHash::new(7, 8));
    for (key, offset) in [("a", 500), ("b", 501), ("a", 502), ("t", 503)] {
        assert!(map.put(key.as_bytes(), offset));
    }
    // As in the vector: the latest record of "b" is further on.
    assert!(map.put(b"b", 600));
    map
}

#[test]
fn a_compacted_batch_is_as_kafka_writes_it() {
    let input = bytes_of("compaction_input");
    assert_eq!(judge(&input, &map(), NOW, false), Verdict::Rewrite(bytes_of("compaction_output")));
}

#[test]
fn an_emptied_batch_is_as_kafka_writes_it() {
    let input = bytes_of("idempotent");
    let header = BatchView::parse(&input).unwrap().header;
    assert_eq!(empty(&header).unwrap(), bytes_of("compaction_empty_output"));
    assert_eq!(bytes_of("compaction_empty_output"), bytes_of("empty_batch"));
}

#[test]
fn what_is_compacted_already_stays_until_its_horizon() {
    let output = bytes_of("compaction_output");
    assert_eq!(judge(&output, &map(), NOW, false), Verdict::Keep);
    assert_eq!(judge(&output, &map(), NOW + DELETE_RETENTION - 1, false), Verdict::Keep);
    let Verdict::Rewrite(late) = judge(&output, &map(), NOW + DELETE_RETENTION, false) else {
        panic!("the tombstone stays");
    };
    let view = BatchView::parse(&late).unwrap();
    view.check_crc().unwrap();
    assert_eq!((view.header.records_count, view.header.last_offset()), (1, 503));
    let record = view.records().next().unwrap().unwrap();
    assert_eq!((record.key, record.offset_delta), (Some(&b"a"[..]), 2));
}
