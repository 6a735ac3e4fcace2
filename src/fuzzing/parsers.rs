//! Everything that reads bytes of a file without asking anybody else.

use std::path::Path;

use super::input::Input;
use super::machine::{DIR, Machine, plain_settings};
use crate::config::Durability;
use crate::env::FileSystem;
use crate::format::batch::{ATTRIBUTES_AT, BatchView, CRC_AT, HEADER_LEN, Records, batch_crc};
use crate::format::checksum::{crc32c, crc32c_append, crc32c_combine};
use crate::format::compression::{Codec, compress, decompress};
use crate::format::control::{ControlType, parse_marker_value};
use crate::format::index::{self, IndexEntry, OffsetEntry, TimeEntry, TxnEntry};
use crate::format::leader_epochs::LeaderEpochs;
use crate::format::record::{HeaderRef, RecordFields, RecordRef, decode_record};
use crate::format::sealed_file::{self, Reader};
use crate::format::transaction_state::{StateKey, TxnState};
use crate::format::varint::{get_varint, get_varlong, put_varint, put_varlong, varint_len, varlong_len};
use crate::format::{FormatError, partition_metadata, snapshot};
use crate::partition::{Found, PartitionManifest, RecoveryPoint};
use crate::segment::{AppendTimes, SegmentFileName};
use crate::types::TopicId;

/// More than any fuzzer's input decompresses to without being a bomb.
const LIMIT: usize = 1 << 20;

/// Batches, one behind the other, and everything inside them.
pub fn decode_batch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let bytes = input.rest();
    if how & 1 == 0 {
        walk(bytes);
    } else {
        walk(&with_crcs(bytes));
    }
    varints(bytes);
    checksums(bytes, usize::from(how >> 1));
    codecs(bytes);
    let _ = ControlType::parse_key(bytes).map(|kind| assert_eq!(ControlType::from_id(kind.id()), kind));
    let _ = parse_marker_value(bytes);
}

/// Puts the checksum of each batch right, as far as the bytes look like batches.
pub(super) fn with_crcs(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    let mut at = 0;
    while let Some(len) =
        fixed.get(at..).and_then(|rest| BatchView::parse(rest).ok()).map(|view| view.bytes.len())
    {
        let crc = batch_crc(&fixed[at..at + len]);
        fixed[at + CRC_AT..at + ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
        at += len;
    }
    fixed
}

fn walk(mut bytes: &[u8]) {
    while let Ok(view) = BatchView::parse(bytes) {
        assert!(view.bytes.len() >= HEADER_LEN && view.bytes.len() == view.header.total_len());
        assert_eq!(view.header.to_bytes(), view.bytes[..HEADER_LEN], "a header is written as it was read");
        assert!(view.header.last_offset() >= view.header.base_offset && view.header.next_offset() > 0);
        let _ = view.check_crc();
        let _ = view.header.last_sequence();
        view.records().for_each(drop);
        if let Ok(records) = view.decompressed(LIMIT) {
            assert!(records.len() <= LIMIT.max(view.payload().len()));
            all_records(Records::new(&view.header, &records), view.header.records_count);
        }
        bytes = &bytes[view.bytes.len()..];
    }
}

fn all_records<'a>(records: impl Iterator<Item = Result<RecordRef<'a>, FormatError>>, count: i32) {
    let mut seen = 0;
    for record in records {
        let Ok(record) = record else { return };
        seen += 1;
        assert!(seen <= count, "more records than the header says");
        read_again(&record);
    }
    assert_eq!(seen, count.max(0));
}

/// A record that was read is written and read again, and is the same.
fn read_again(record: &RecordRef<'_>) {
    let headers: Vec<HeaderRef<'_>> = record.headers.iter().collect();
    assert_eq!(headers.len(), record.headers.len());
    let fields = RecordFields {
        timestamp_delta: record.timestamp_delta,
        offset_delta: record.offset_delta,
        key: record.key,
        value: record.value,
        headers: &headers,
    };
    let mut bytes = vec![0; fields.encoded_len()];
    assert_eq!(fields.encode(&mut bytes), bytes.len());
    let Ok((again, len)) = decode_record(&bytes) else { panic!("cannot read what was written: {fields:?}") };
    assert_eq!(len, bytes.len());
    assert_eq!((again.timestamp_delta, again.offset_delta), (record.timestamp_delta, record.offset_delta));
    assert_eq!((again.key, again.value), (record.key, record.value));
    assert!(again.headers.iter().eq(headers.iter().copied()));
}

fn varints(bytes: &[u8]) {
    if let Ok((value, len)) = get_varint(bytes) {
        let mut again = [0; 5];
        assert_eq!(put_varint(&mut again, value), varint_len(value));
        assert!(varint_len(value) <= len && get_varint(&again) == Ok((value, varint_len(value))));
    }
    if let Ok((value, len)) = get_varlong(bytes) {
        let mut again = [0; 10];
        assert_eq!(put_varlong(&mut again, value), varlong_len(value));
        assert!(varlong_len(value) <= len && get_varlong(&again) == Ok((value, varlong_len(value))));
    }
}

fn checksums(bytes: &[u8], at: usize) {
    let (a, b) = bytes.split_at(at.min(bytes.len()));
    let whole = crc32c(bytes);
    assert_eq!(crc32c_append(crc32c(a), b), whole);
    assert_eq!(crc32c_combine(crc32c(a), crc32c(b), b.len() as u64), whole);
}

fn codecs(bytes: &[u8]) {
    for codec in Codec::ALL.into_iter().filter(|codec| codec.is_built_in()) {
        if let Ok(data) = decompress(codec, bytes, LIMIT) {
            assert!(data.len() <= LIMIT.max(bytes.len()));
        }
        let Ok(packed) = compress(codec, None, bytes) else { panic!("{codec:?} cannot compress") };
        assert_eq!(decompress(codec, &packed, LIMIT).ok().as_deref(), Some(bytes), "{codec:?}");
    }
}

/// Index files: their entries, and a log that lies beside such files.
pub fn indexes(bytes: &[u8]) {
    search::<OffsetEntry>(bytes, |input| u32::from(input.short()));
    search::<TimeEntry>(bytes, |input| input.long() as i64);
    search::<TxnEntry>(bytes, |input| input.long() as i64);
    let _ = index::check_txn_index(bytes);
    let mut input = Input::new(bytes);
    let (from, upper) = (input.long() as i64, input.long() as i64);
    index::aborted_in(index::trim::<TxnEntry>(input.rest()), from, upper, &mut Vec::new());
    super::recovery::beside_indexes(bytes);
}

fn search<E: IndexEntry>(bytes: &[u8], target: impl Fn(&mut Input<'_>) -> E::Key) {
    let mut input = Input::new(bytes);
    let target = target(&mut input);
    let entries = index::trim::<E>(input.rest());
    let sorted = index::check::<E>(entries).is_ok();
    let (at, after) = (index::lookup::<E>(entries, target), index::lookup_after::<E>(entries, target));
    let count = index::count_up_to::<E>(entries, target);
    let all: Vec<E> = index::entries::<E>(entries).collect();
    assert!(count <= all.len());
    if sorted {
        assert_eq!(count, all.iter().filter(|entry| entry.key() <= target).count());
        assert!(at.is_none_or(|entry| entry.key() <= target));
        assert!(after.is_none_or(|entry| entry.key() > target));
        assert_eq!(index::last::<E>(entries).is_some(), !all.is_empty());
    }
}

/// The small files of a partition.
pub fn checkpoints(bytes: &[u8]) {
    epochs(bytes);
    snapshots(bytes);
    transactions(bytes);
    if let Ok(id) = partition_metadata::parse(bytes) {
        assert_eq!(partition_metadata::parse(partition_metadata::print(id).as_bytes()), Ok(id));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = SegmentFileName::parse(text);
        if let Some(id) = partition_metadata::decode_id(text) {
            assert_eq!(partition_metadata::decode_id(&partition_metadata::encode_id(id)), Some(id));
        }
    }
    let mut reader = Reader::new(bytes);
    let _ = RecoveryPoint::decode(&mut reader);
    fields(bytes);
    sealed(bytes);
    manifest(bytes);
}

fn epochs(bytes: &[u8]) {
    let Ok(mut epochs) = LeaderEpochs::parse(bytes) else { return };
    assert_eq!(LeaderEpochs::parse(epochs.print().as_bytes()), Ok(epochs.clone()), "printed and parsed");
    for &(epoch, start) in epochs.entries() {
        assert!(epochs.epoch_at(start).is_some_and(|found| found >= epoch));
        let _ = epochs.end_offset_for(epoch, i64::MAX);
    }
    if let Some((epoch, start)) = epochs.latest() {
        epochs.truncate_from_end(start);
        epochs.assign(epoch, start);
        epochs.truncate_from_start(start);
        assert_eq!(epochs.latest(), Some((epoch, start)));
    }
}

fn snapshots(bytes: &[u8]) {
    let mut fixed = bytes.to_vec();
    if fixed.len() >= 6 {
        let crc = crc32c(&fixed[6..]);
        fixed[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    for bytes in [bytes, &fixed] {
        if let Ok(entries) = snapshot::parse(bytes) {
            assert_eq!(snapshot::encode(&entries), bytes);
        }
    }
}

/// Records of the transaction topic; names are far shorter than what a string may hold.
fn transactions(bytes: &[u8]) {
    if bytes.len() >= 1 << 15 {
        return;
    }
    if let Ok(state) = TxnState::decode(bytes) {
        assert_eq!(TxnState::decode(&state.encode()), Ok(state));
    }
    if let Ok(StateKey::Id(id)) = StateKey::decode(bytes) {
        assert_eq!(StateKey::encode(&id), bytes);
    }
}

/// The fields of a sealed file, read in an order that the bytes choose.
fn fields(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choices = input.take(16);
    let mut reader = Reader::new(input.rest());
    for choice in choices {
        let left = reader.remaining();
        let read = match choice % 9 {
            0 => reader.get_u8().map(drop),
            1 => reader.get_u16().map(drop),
            2 => reader.get_u32().map(drop),
            3 => reader.get_u64().map(drop),
            4 => reader.get_i32().map(drop),
            5 => reader.get_i64().map(drop),
            6 => reader.get_bytes().map(drop),
            7 => reader.get_str().map(drop),
            _ => {
                let count = reader.get_count(usize::from(choice / 9));
                count.map(|count| assert!(choice / 9 == 0 || count * usize::from(choice / 9) <= left))
            }
        };
        assert!(reader.remaining() <= left);
        if read.is_err() {
            return;
        }
    }
    let _ = reader.finish();
}

fn sealed(bytes: &[u8]) {
    let _ = sealed_file::open(0x5041, 1, bytes);
    let whole = sealed_file::seal(7, 1, bytes);
    assert_eq!(sealed_file::open(7, 1, &whole), Ok((1, bytes)));
    let times = AppendTimes::none();
    if times.restore(bytes) {
        assert!(times.restore(&times.to_bytes()));
    }
}

/// A partition's manifest that holds anything: as it comes, and sealed.
fn manifest(bytes: &[u8]) {
    let machine = Machine::new(plain_settings(Durability::Memory));
    let disk = machine.disk();
    let dir = Path::new(DIR);
    let example = PartitionManifest::new(TopicId::from_bytes([9; 16]), 0);
    assert!(disk.create_dir(dir).is_ok() && example.store(disk, dir).is_ok());
    let path = dir.join("millpond.partition");
    let Ok(whole) = disk.read_file(&path) else { panic!("no manifest where it was stored") };
    let kind = u16::from_be_bytes([whole[4], whole[5]]);
    for content in [bytes.to_vec(), sealed_file::seal(kind, 1, bytes)] {
        assert!(disk.write_file(&path, &content).is_ok());
        if let Ok(Some(manifest)) = PartitionManifest::load(disk, dir) {
            assert!(manifest.store(disk, dir).is_ok());
            assert_eq!(PartitionManifest::load(disk, dir).ok().flatten(), Some(manifest));
        }
        // Opening a folder with such a manifest: an error, or an empty log.
        if let Ok(opened) = machine.open(Found::Unclean(None)) {
            assert_eq!(opened.log.log_end(), opened.log.high_watermark());
        }
    }
}
