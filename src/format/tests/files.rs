//! Control records and the files beside the log.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::{hex, int, list, text, vectors};
use crate::format::FormatError;
use crate::format::batch::BatchView;
use crate::format::control::{ControlType, EndTxnMarker, TxnOutcome, marker_value, parse_marker_value};
use crate::format::index::{self, IndexEntry, OffsetEntry, TimeEntry, TxnEntry};
use crate::format::leader_epochs::LeaderEpochs;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::format::snapshot::{self, ProducerEntry};
use crate::format::{batch, partition_metadata};
use crate::types::TopicId;

fn storage_files() -> Value {
    vectors(include_str!("../../../tests/vectors/storage_files_handmade.json"))
}

#[test]
fn markers_are_kafkas_byte_for_byte() {
    let file = vectors(include_str!("../../../tests/vectors/record_batches.json"));
    let log = list(&file["vectors"]).iter().find(|v| v["name"] == "txn_log").unwrap();
    let bytes = hex(text(&log["hex"]));
    let mut rest = &bytes[..];
    let mut outcomes = Vec::new();
    while !rest.is_empty() {
        let batch = BatchView::parse(rest).unwrap();
        rest = &rest[batch.bytes.len()..];
        if !batch.header.attributes.is_control() {
            continue;
        }
        let record = batch.records().next().unwrap().unwrap();
        let outcome = match ControlType::parse_key(record.key.unwrap()).unwrap() {
            ControlType::Abort => TxnOutcome::Abort,
            ControlType::Commit => TxnOutcome::Commit,
            other => panic!("{other:?}"),
        };
        let h = batch.header;
        let marker = EndTxnMarker {
            outcome,
            producer_id: h.producer_id,
            producer_epoch: h.producer_epoch,
            coordinator_epoch: parse_marker_value(record.value.unwrap()).unwrap(),
            timestamp: h.base_timestamp,
        };
        assert_eq!(marker.to_batch(h.base_offset, h.leader_epoch).unwrap(), batch.bytes);
        assert_eq!(batch.bytes.len(), 78);
        outcomes.push(outcome);
    }
    assert_eq!(outcomes, [TxnOutcome::Abort, TxnOutcome::Commit]);
}

#[test]
fn control_keys() {
    for id in -1..9 {
        let control = ControlType::from_id(id);
        assert_eq!(control.id(), id);
        assert_eq!(ControlType::parse_key(&control.key()), Ok(control));
        assert_eq!(matches!(control, ControlType::Unknown(_)), !(0..=6).contains(&id));
    }
    // A later version may add fields.
    assert_eq!(ControlType::parse_key(&[0, 1, 0, 1, 9, 9]), Ok(ControlType::Commit));
    assert_eq!(ControlType::parse_key(&[0xff, 0xff, 0, 0]), Err(FormatError::BadVersion(-1)));
    for cut in 0..4 {
        assert!(ControlType::parse_key(&[0; 4][..cut]).is_err());
    }
    assert_eq!(parse_marker_value(&marker_value(17)), Ok(17));
    for cut in 0..6 {
        assert!(parse_marker_value(&marker_value(17)[..cut]).is_err());
    }
}

#[test]
fn indexes_of_kafka_both_ways() {
    let file = vectors(include_str!("../../../tests/vectors/index_files.json"));
    let base = 1000;
    let offsets = hex(text(&file["index"]["hex"]));
    index::check::<OffsetEntry>(&offsets).unwrap();
    let mut written = Vec::new();
    for pair in list(&file["index"]["entries"]) {
        let entry = OffsetEntry { delta: (int(&pair[0]) - base) as u32, position: int(&pair[1]) as u32 };
        written.extend_from_slice(&entry.to_bytes());
    }
    assert_eq!(written, offsets);
    for (target, expected) in file["index"]["lookup"].as_object().unwrap() {
        let delta = (target.parse::<i64>().unwrap() - base) as u32;
        let found = index::lookup::<OffsetEntry>(&offsets, delta).map_or((0, 0), |e| (e.delta, e.position));
        assert_eq!((i64::from(found.0) + base, i64::from(found.1)), (int(&expected[0]), int(&expected[1])));
    }

    let times = hex(text(&file["timeindex"]["hex"]));
    index::check::<TimeEntry>(&times).unwrap();
    let mut written = Vec::new();
    for pair in list(&file["timeindex"]["entries"]) {
        let entry = TimeEntry { timestamp: int(&pair[0]), delta: (int(&pair[1]) - base) as u32 };
        written.extend_from_slice(&entry.to_bytes());
    }
    assert_eq!(written, times);
    for (target, expected) in file["timeindex"]["lookup"].as_object().unwrap() {
        let found = index::lookup::<TimeEntry>(&times, target.parse().unwrap()).unwrap();
        assert_eq!((found.timestamp, i64::from(found.delta) + base), (int(&expected[0]), int(&expected[1])));
    }

    let txns = hex(text(&file["txnindex"]["hex"]));
    index::check_txn_index(&txns).unwrap();
    let mut written = Vec::new();
    for e in list(&file["txnindex"]["entries_pid_first_last_lso"]) {
        let entry = TxnEntry {
            producer_id: int(&e[0]),
            first_offset: int(&e[1]),
            last_offset: int(&e[2]),
            last_stable_offset: int(&e[3]),
        };
        written.extend_from_slice(&entry.to_bytes());
    }
    assert_eq!(written, txns);
}

#[test]
fn lookups_at_the_edges() {
    let entries = [(5u32, 10u32), (9, 20), (30, 40)];
    let bytes: Vec<u8> =
        entries.iter().flat_map(|&(delta, position)| OffsetEntry { delta, position }.to_bytes()).collect();
    let lookup = |target| index::lookup::<OffsetEntry>(&bytes, target).map(|e| e.delta);
    let after = |target| index::lookup_after::<OffsetEntry>(&bytes, target).map(|e| e.delta);
    assert_eq!(
        [lookup(0), lookup(4), lookup(5), lookup(8), lookup(9)],
        [None, None, Some(5), Some(5), Some(9)]
    );
    assert_eq!([lookup(29), lookup(30), lookup(u32::MAX)], [Some(9), Some(30), Some(30)]);
    assert_eq!([after(0), after(5), after(29), after(30)], [Some(5), Some(9), Some(30), None]);
    assert_eq!(index::last::<OffsetEntry>(&bytes).map(|e| e.position), Some(40));
    assert_eq!(index::lookup::<OffsetEntry>(&[], 7), None);
    assert_eq!(index::last::<OffsetEntry>(&bytes[..7]), None);
}

#[test]
fn the_zero_tail_of_a_live_index_is_cut() {
    let mut bytes = OffsetEntry { delta: 5, position: 256 }.to_bytes().to_vec();
    bytes.extend_from_slice(&[0; 21]);
    assert_eq!(index::trim::<OffsetEntry>(&bytes).len(), 8);
    assert_eq!(index::trim::<OffsetEntry>(&[0; 24]), &[0; 0]);
    assert_eq!(index::trim::<TimeEntry>(&[]), &[0; 0]);
    assert!(index::check::<OffsetEntry>(&bytes[..8]).is_ok());
    assert!(index::check::<OffsetEntry>(&bytes[..16]).is_err());
    assert!(index::check::<OffsetEntry>(&bytes).is_err());
}

#[test]
fn indexes_out_of_order_are_refused() {
    let check = |entries: &[OffsetEntry]| {
        index::check::<OffsetEntry>(&entries.iter().flat_map(|e| e.to_bytes()).collect::<Vec<_>>())
    };
    let entry = |delta, position| OffsetEntry { delta, position };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[entry(1, 1), entry(2, 2)]), Ok(()));
    assert_eq!(check(&[entry(1, 1), entry(1, 2)]), Err(FormatError::BadEntry(1)));
    assert_eq!(check(&[entry(1, 5), entry(2, 5)]), Err(FormatError::BadEntry(1)));
    assert_eq!(check(&[entry(1 << 31, 5)]), Err(FormatError::BadEntry(0)));
    assert_eq!(check(&[entry(1, 1 << 31)]), Err(FormatError::BadEntry(0)));
    let times = [TimeEntry { timestamp: 5, delta: 1 }, TimeEntry { timestamp: 5, delta: 2 }];
    let bytes: Vec<u8> = times.iter().flat_map(|e| e.to_bytes()).collect();
    assert_eq!(index::check::<TimeEntry>(&bytes), Err(FormatError::BadEntry(1)));
    let mut txn =
        TxnEntry { producer_id: 1, first_offset: 2, last_offset: 3, last_stable_offset: 2 }.to_bytes();
    assert_eq!(index::check_txn_index(&txn), Ok(()));
    txn[1] = 1;
    assert_eq!(index::check_txn_index(&txn), Err(FormatError::BadVersion(1)));
    assert!(index::check_txn_index(&txn[..33]).is_err());
}

#[test]
fn aborted_transactions_of_a_range() {
    let entry = |producer_id, first_offset, last_offset, last_stable_offset| TxnEntry {
        producer_id,
        first_offset,
        last_offset,
        last_stable_offset,
    };
    let all = [entry(1, 0, 10, 8), entry(2, 8, 20, 15), entry(3, 15, 30, 31)];
    let bytes: Vec<u8> = all.iter().flat_map(|e| e.to_bytes()).collect();
    let query = |from, upper| {
        let mut found = Vec::new();
        let done = index::aborted_in(&bytes, from, upper, &mut found);
        (found.iter().map(|e| e.producer_id).collect::<Vec<_>>(), done)
    };
    assert_eq!(query(0, 5), (vec![1], true));
    assert_eq!(query(0, 9), (vec![1, 2], true));
    assert_eq!(query(10, 16), (vec![1, 2, 3], true));
    assert_eq!(query(11, 40), (vec![2, 3], false));
    assert_eq!(query(31, 40), (vec![], false));
}

#[test]
fn snapshots_both_ways() {
    let file = storage_files();
    let bytes = hex(text(&file["producer_snapshot"]["hex"]));
    let entries: Vec<_> = list(&file["producer_snapshot"]["entries"])
        .iter()
        .map(|e| ProducerEntry {
            producer_id: int(&e[0]),
            epoch: int(&e[1]) as i16,
            last_sequence: int(&e[2]) as i32,
            last_offset: int(&e[3]),
            offset_delta: int(&e[4]) as i32,
            timestamp: int(&e[5]),
            coordinator_epoch: int(&e[6]) as i32,
            current_txn_first_offset: int(&e[7]),
        })
        .collect();
    assert_eq!(snapshot::parse(&bytes).unwrap(), entries);
    assert_eq!(snapshot::encode(&entries), bytes);
    let empty = hex(text(&file["producer_snapshot"]["empty_hex"]));
    assert_eq!(snapshot::encode(&[]), empty);
    assert_eq!(snapshot::parse(&empty), Ok(Vec::new()));
    for cut in 0..bytes.len() {
        assert!(snapshot::parse(&bytes[..cut]).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(snapshot::parse(&damaged).is_err(), "bit {bit}");
    }
    let twice = snapshot::encode(&[entries[0], entries[0]]);
    assert_eq!(snapshot::parse(&twice), Err(FormatError::BadCount));
}

#[test]
fn a_snapshot_with_a_hostile_count() {
    for count in [-1, 1, i32::MAX] {
        let mut bytes = snapshot::encode(&[]);
        bytes[6..10].copy_from_slice(&i32::to_be_bytes(count));
        let crc = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(snapshot::parse(&bytes), Err(FormatError::BadCount));
    }
}

#[test]
fn leader_epoch_checkpoints_both_ways() {
    let file = storage_files();
    let checkpoint = text(&file["leader_epoch_checkpoint"]);
    let epochs = LeaderEpochs::parse(checkpoint.as_bytes()).unwrap();
    assert_eq!(epochs.entries(), [(0, 0), (5, 1200)]);
    assert_eq!(epochs.print(), checkpoint);
    assert_eq!(LeaderEpochs::parse(b""), Ok(LeaderEpochs::new()));
    assert_eq!(LeaderEpochs::parse(b"0\n0\n"), Ok(LeaderEpochs::new()));
    assert_eq!(LeaderEpochs::new().print(), "0\n0\n");
    for bad in [
        "\n",
        "1\n0\n",
        "0\n",
        "0\n1\n",
        "0\n1\n0 0",
        "0\n1\n0 0\n1 1\n",
        "0\n2\n0 0\n",
        "0\n2\n0 0\n\n",
        "0\n2\n1 0\n1 5\n",
        "0\n2\n1 5\n2 5\n",
        "0\n2\n2 0\n1 5\n",
        "0\n1\n-1 0\n",
        "0\n1\n+1 0\n",
        "0\n1\n0  0\n",
        "0\n1\n0 0 \n",
        "0\n1\n0\n",
        "0\n1\n 0\n",
        "0\n1\n2147483648 0\n",
        "0\n1\n0 9223372036854775808\n",
        "0\n99999999999999999999\n0 0\n",
        "0\r\n0\r\n",
    ] {
        assert!(LeaderEpochs::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(LeaderEpochs::parse(&[0xff, b'\n']).is_err());
}

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::new();
    for &(epoch, start) in entries {
        assert!(epochs.assign(epoch, start));
    }
    assert_eq!(epochs.entries(), entries);
    epochs
}

#[test]
fn assigning_epochs() {
    let mut e = epochs(&[(2, 0), (4, 10)]);
    assert!(!e.assign(4, 10));
    assert!(!e.assign(4, 15), "the epoch is known, and began earlier");
    assert!(!e.assign(-1, 20));
    assert!(!e.assign(5, -1));
    assert!(e.assign(4, 8));
    assert_eq!(e.entries(), [(2, 0), (4, 8)]);
    assert!(e.assign(7, 8));
    assert_eq!(e.entries(), [(2, 0), (7, 8)]);
    assert!(e.assign(3, 20));
    assert_eq!(e.entries(), [(2, 0), (3, 20)]);
    assert!(e.assign(9, 0));
    assert_eq!(e.entries(), [(9, 0)]);
    assert_eq!(e.latest(), Some((9, 0)));
}

#[test]
fn where_epochs_end() {
    let e = epochs(&[(2, 10), (4, 20), (7, 30)]);
    let end = |epoch| e.end_offset_for(epoch, 99);
    assert_eq!(end(-1), None);
    assert_eq!(end(0), Some((0, 10)));
    assert_eq!(end(2), Some((2, 20)));
    assert_eq!(end(3), Some((2, 20)));
    assert_eq!(end(6), Some((4, 30)));
    assert_eq!(end(7), Some((7, 99)));
    assert_eq!(end(8), None);
    assert_eq!(LeaderEpochs::new().end_offset_for(0, 99), None);
    let at: Vec<_> = [9, 10, 19, 20, 29, 30, 500].map(|offset| e.epoch_at(offset)).into();
    assert_eq!(at, [None, Some(2), Some(2), Some(4), Some(4), Some(7), Some(7)]);
}

#[test]
fn truncating_epochs() {
    let full = epochs(&[(2, 10), (4, 20), (7, 30)]);
    let from_end = |offset| {
        let mut e = full.clone();
        (e.truncate_from_end(offset), e.entries().to_vec())
    };
    assert_eq!(from_end(31), (false, vec![(2, 10), (4, 20), (7, 30)]));
    assert_eq!(from_end(30), (true, vec![(2, 10), (4, 20)]));
    assert_eq!(from_end(0), (true, vec![]));
    let from_start = |offset| {
        let mut e = full.clone();
        (e.truncate_from_start(offset), e.entries().to_vec())
    };
    assert_eq!(from_start(9), (false, vec![(2, 10), (4, 20), (7, 30)]));
    assert_eq!(from_start(10), (false, vec![(2, 10), (4, 20), (7, 30)]));
    assert_eq!(from_start(11), (true, vec![(2, 11), (4, 20), (7, 30)]));
    assert_eq!(from_start(20), (true, vec![(4, 20), (7, 30)]));
    assert_eq!(from_start(25), (true, vec![(4, 25), (7, 30)]));
    assert_eq!(from_start(40), (true, vec![(7, 40)]));
}

#[test]
fn partition_metadata_both_ways() {
    let file = storage_files();
    let content = text(&file["partition_metadata"]);
    let mut id = [0; 16];
    (id[7], id[15]) = (1, 2);
    let id = TopicId::from_bytes(id);
    assert_eq!(partition_metadata::parse(content.as_bytes()), Ok(id));
    assert_eq!(partition_metadata::print(id), content);
    assert_eq!(partition_metadata::parse(format!("{content}\n").as_bytes()), Ok(id));
    let good = "AAAAAAAAAAEAAAAAAAAAAg";
    for bad in [
        "".to_string(),
        content.replace("version: 0", "version: 1"),
        content.replace(good, "AAAAAAAAAAEAAAAAAAAAAh"),
        content.replace(good, "AAAAAAAAAAEAAAAAAAAAA"),
        content.replace(good, "AAAAAAAAAAEAAAAAAAAAA+"),
        content.replace(good, "AAAAAAAAAAEAAAAAAAAAAg=="),
        format!("{content}\n\n"),
        content.replace("topic_id", "topic"),
    ] {
        assert!(partition_metadata::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

const KIND: u16 = 7;

#[test]
fn sealed_files() {
    let mut w = Writer::new();
    w.put_u8(1).put_u16(2).put_u32(3).put_u64(4).put_i32(-5).put_i64(-6);
    w.put_str("clicks").put_bytes(&[9; 3]).put_array([8; 16]).put_count(2).put_u16(1).put_u16(2);
    let bytes = w.seal(KIND, 3);
    let (version, payload) = sealed_file::open(KIND, 3, &bytes).unwrap();
    assert_eq!((version, payload), (3, w.as_bytes()));
    let mut r = Reader::new(payload);
    assert_eq!((r.get_u8(), r.get_u16(), r.get_u32(), r.get_u64()), (Ok(1), Ok(2), Ok(3), Ok(4)));
    assert_eq!((r.get_i32(), r.get_i64()), (Ok(-5), Ok(-6)));
    assert_eq!((r.get_str(), r.get_bytes()), (Ok("clicks"), Ok(&[9u8; 3][..])));
    assert_eq!(r.get_array(), Ok([8; 16]));
    assert_eq!(r.clone().get_count(3), Err(FormatError::BadCount));
    assert_eq!((r.get_count(2), r.get_u16()), (Ok(2), Ok(1)));
    assert_eq!(r.clone().finish(), Err(FormatError::Trailing));
    assert_eq!((r.get_u16(), r.remaining()), (Ok(2), 0));
    assert_eq!(r.get_u8(), Err(FormatError::Truncated));
    assert_eq!(r.finish(), Ok(()));

    assert_eq!(sealed_file::open(KIND, 2, &bytes), Err(FormatError::NewerVersion { found: 3, known: 2 }));
    assert!(matches!(sealed_file::open(KIND + 1, 3, &bytes), Err(FormatError::NotA(_))));
    for cut in 0..bytes.len() {
        assert_eq!(sealed_file::open(KIND, 3, &bytes[..cut]), Err(FormatError::Truncated));
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = sealed_file::open(KIND, 3, &damaged).unwrap_err();
        assert!(!matches!(error, FormatError::NewerVersion { .. }), "damage is no newer version");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(sealed_file::open(KIND, 3, &longer), Err(FormatError::Trailing));
}

#[test]
fn errors_name_the_file() {
    use crate::error::ErrorKind;
    let path = std::path::Path::new("orders-0/00000000000000000000.log");
    let error = FormatError::BadMagic(1).at(path, 61);
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupted, Some(path)));
    let error = FormatError::UnsupportedCodec("zstd").at(path, 61);
    assert_eq!((error.kind(), error.path()), (ErrorKind::UnsupportedFormat, Some(path)));
}

#[test]
fn the_fields_of_the_header_are_where_kafka_has_them() {
    use batch::*;
    let ends = [
        (BASE_OFFSET_AT, 8),
        (BATCH_LENGTH_AT, 4),
        (LEADER_EPOCH_AT, 4),
        (MAGIC_AT, 1),
        (CRC_AT, 4),
        (ATTRIBUTES_AT, 2),
        (LAST_OFFSET_DELTA_AT, 4),
        (BASE_TIMESTAMP_AT, 8),
        (MAX_TIMESTAMP_AT, 8),
        (PRODUCER_ID_AT, 8),
        (PRODUCER_EPOCH_AT, 2),
        (BASE_SEQUENCE_AT, 4),
        (RECORDS_COUNT_AT, 4),
    ];
    let end = ends.iter().fold(0, |at, &(start, len)| {
        assert_eq!(at, start);
        at + len
    });
    assert_eq!((end, UP_TO_MAGIC, LOG_OVERHEAD), (HEADER_LEN, MAGIC_AT + 1, BATCH_LENGTH_AT + 4));
}

proptest! {
    #[test]
    fn any_bytes_as_any_file(bytes in vec(any::<u8>(), 0..200)) {
        let _ = snapshot::parse(&bytes);
        let _ = LeaderEpochs::parse(&bytes);
        let _ = partition_metadata::parse(&bytes);
        let _ = sealed_file::open(KIND, 1, &bytes);
        let _ = ControlType::parse_key(&bytes);
        let _ = parse_marker_value(&bytes);
        let _ = index::check::<OffsetEntry>(index::trim::<OffsetEntry>(&bytes));
        let _ = index::check::<TimeEntry>(index::trim::<TimeEntry>(&bytes));
        let _ = index::check_txn_index(index::trim::<TxnEntry>(&bytes));
        index::lookup::<OffsetEntry>(&bytes, 1 << 20);
        index::lookup::<TimeEntry>(&bytes, 1 << 40);
        index::aborted_in(&bytes, 5, 1 << 40, &mut Vec::new());
    }

    #[test]
    fn any_text_as_a_checkpoint(text in "0\n[0-9]{1,2}\n([0-9]{1,3} [0-9]{1,3}\n){0,4}") {
        if let Ok(epochs) = LeaderEpochs::parse(text.as_bytes()) {
            prop_assert_eq!(LeaderEpochs::parse(epochs.print().as_bytes()), Ok(epochs));
        }
    }

    #[test]
    fn any_topic_id(id: [u8; 16]) {
        let id = TopicId::from_bytes(id);
        prop_assert_eq!(partition_metadata::decode_id(&partition_metadata::encode_id(id)), Some(id));
    }

    #[test]
    fn epochs_stay_in_order(ops in vec((0..3u8, 0..8i32, 0..20i64), 0..30)) {
        let mut epochs = LeaderEpochs::new();
        for (op, epoch, offset) in ops {
            match op {
                0 => epochs.assign(epoch, offset),
                1 => epochs.truncate_from_end(offset),
                _ => epochs.truncate_from_start(offset),
            };
            prop_assert!(epochs.entries().windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
            prop_assert_eq!(LeaderEpochs::parse(epochs.print().as_bytes()), Ok(epochs.clone()));
        }
    }

    #[test]
    fn lookups_agree_with_a_scan(mut deltas in vec(0..500u32, 0..40), target in 0..500u32) {
        deltas.sort_unstable();
        deltas.dedup();
        let bytes: Vec<u8> =
            deltas.iter().flat_map(|&delta| OffsetEntry { delta, position: delta }.to_bytes()).collect();
        let expected = deltas.iter().copied().rfind(|&d| d <= target);
        prop_assert_eq!(index::lookup::<OffsetEntry>(&bytes, target).map(|e| e.key()), expected);
    }
}
