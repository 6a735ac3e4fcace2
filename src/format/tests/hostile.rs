//! Bytes that nobody wrote: no panic, no unbounded allocation, no wrong record.

use proptest::collection::vec;
use proptest::prelude::*;

use super::built_in;
use crate::format::FormatError;
use crate::format::batch::{
    ATTRIBUTES_AT, Attributes, BASE_OFFSET_AT, BATCH_LENGTH_AT, BatchBuilder, BatchSpec, BatchView,
    HEADER_LEN, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, MAGIC_AT, RECORDS_COUNT_AT, Records, seal_header,
};
use crate::format::compression::{Codec, compress, decompress};
use crate::format::record::{HeaderRef, decode_record};

fn small_batch(codec: Codec) -> Vec<u8> {
    let attributes = Attributes::NONE.with_codec(codec);
    let mut builder = BatchBuilder::new(BatchSpec { attributes, leader_epoch: 3, ..BatchSpec::default() });
    let headers = [HeaderRef { key: "a", value: Some(b"1") }, HeaderRef { key: "", value: None }];
    builder.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &headers);
    builder.append(1_700_000_000_007, None, None, &[]);
    builder.append(1_699_999_999_000, Some(b""), Some(&[7; 100]), &[]);
    builder.finish(4711, None).unwrap()
}

/// Reads everything that there is; what it says does not matter.
fn read_all(bytes: &[u8]) -> Result<usize, FormatError> {
    let batch = BatchView::parse(bytes)?;
    let payload = batch.decompressed(1 << 16)?;
    let mut seen = 0;
    for record in Records::new(&batch.header, &payload) {
        seen += record?.headers.iter().count() + 1;
    }
    Ok(seen)
}

#[test]
fn every_truncation_is_truncated() {
    for codec in built_in() {
        let batch = small_batch(codec);
        for cut in 0..batch.len() {
            assert_eq!(BatchView::parse(&batch[..cut]).err(), Some(FormatError::Truncated), "{cut}");
        }
    }
}

#[test]
fn every_flipped_bit_is_found_or_outside_the_crc() {
    for codec in built_in() {
        let batch = small_batch(codec);
        for bit in 0..batch.len() * 8 {
            let mut damaged = batch.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = read_all(&damaged);
            let found = BatchView::parse(&damaged).and_then(|b| b.check_crc()).is_err();
            let by_continuity = (BASE_OFFSET_AT..BASE_OFFSET_AT + 8).contains(&(bit / 8))
                || (LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4).contains(&(bit / 8));
            assert!(found || by_continuity, "bit {bit}");
        }
    }
}

/// Damage that a CRC does not show, as if somebody had written it on purpose.
#[test]
fn every_byte_replaced_under_a_valid_crc() {
    for codec in built_in() {
        let batch = small_batch(codec);
        for at in HEADER_LEN..batch.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff] {
                let mut forged = batch.clone();
                forged[at] = value;
                let header = BatchView::parse(&forged).unwrap().header;
                seal_header(&mut forged, &header).unwrap();
                BatchView::parse(&forged).unwrap().check_crc().unwrap();
                let _ = read_all(&forged);
            }
        }
    }
}

fn with(at: usize, field: &[u8]) -> Result<usize, FormatError> {
    let mut batch = small_batch(Codec::None);
    batch[at..at + field.len()].copy_from_slice(field);
    read_all(&batch)
}

#[test]
fn impossible_headers() {
    use FormatError as E;
    assert_eq!(read_all(&[0; 100]), Err(E::BadMagic(0)));
    assert_eq!(with(MAGIC_AT, &[1]), Err(E::BadMagic(1)));
    for length in [0, 14, 48, -1, i32::MIN] {
        let expected = E::BadLength { what: "batch", length: i64::from(length) };
        assert_eq!(with(BATCH_LENGTH_AT, &length.to_be_bytes()), Err(expected));
    }
    assert_eq!(with(BATCH_LENGTH_AT, &i32::MAX.to_be_bytes()), Err(E::Truncated));
    assert_eq!(with(BASE_OFFSET_AT, &(-1i64).to_be_bytes()), Err(E::BadOffset(-1)));
    assert_eq!(with(BASE_OFFSET_AT, &(i64::MAX - 2).to_be_bytes()), Err(E::BadOffset(i64::MAX - 2)));
    assert!(with(BASE_OFFSET_AT, &(i64::MAX - 3).to_be_bytes()).is_ok());
    assert_eq!(with(LAST_OFFSET_DELTA_AT, &(-1i32).to_be_bytes()), Err(E::BadOffset(-1)));
    assert_eq!(with(RECORDS_COUNT_AT, &(-1i32).to_be_bytes()), Err(E::BadCount));
    assert_eq!(with(RECORDS_COUNT_AT, &4i32.to_be_bytes()), Err(E::BadCount));
    assert_eq!(with(RECORDS_COUNT_AT, &2i32.to_be_bytes()), Err(E::Trailing));
    assert_eq!(with(RECORDS_COUNT_AT, &0i32.to_be_bytes()), Err(E::Trailing));
    assert_eq!(with(ATTRIBUTES_AT, &0x0080i16.to_be_bytes()), Err(E::BadAttributes(0x80)));
    assert_eq!(with(ATTRIBUTES_AT, &5i16.to_be_bytes()), Err(E::BadAttributes(5)));
    // Deltas may have gaps, but stay below the last one.
    assert!(with(LAST_OFFSET_DELTA_AT, &9i32.to_be_bytes()).is_ok());
    let mut too_many = small_batch(Codec::None);
    too_many[LAST_OFFSET_DELTA_AT..LAST_OFFSET_DELTA_AT + 4].copy_from_slice(&3i32.to_be_bytes());
    too_many[RECORDS_COUNT_AT..RECORDS_COUNT_AT + 4].copy_from_slice(&4i32.to_be_bytes());
    assert_eq!(read_all(&too_many), Err(E::BadCount));
}

#[test]
fn offset_deltas_that_do_not_rise() {
    let batch = small_batch(Codec::None);
    // The second record: length, attributes, timestamp delta, offset delta.
    let second = HEADER_LEN + decode_record(&batch[HEADER_LEN..]).unwrap().1;
    for (delta, varint) in [(-1, 0x01), (0, 0x00), (63, 0x7e)] {
        let mut forged = batch.clone();
        assert_eq!(forged[second + 3], 0x02);
        forged[second + 3] = varint;
        assert_eq!(read_all(&forged), Err(FormatError::BadOffset(delta)));
    }
}

#[test]
fn hostile_lengths_of_records() {
    use FormatError as E;
    let bad = |what, length| Err(E::BadLength { what, length });
    assert_eq!(decode_record(&[0x01]), bad("record", -1));
    assert_eq!(decode_record(&[0x00]), bad("record", 0));
    assert_eq!(decode_record(&[0xfe, 0xff, 0xff, 0xff, 0x0f]), Err(E::Truncated));
    assert_eq!(decode_record(&[0x0c, 1, 0, 0, 1, 1, 0]), Err(E::BadAttributes(1)));
    assert_eq!(decode_record(&[0x0c, 0, 0, 0, 3, 1, 0]), bad("key", -2));
    assert_eq!(decode_record(&[0x0c, 0, 0, 0, 1, 0x7e, 0]), bad("value", 63));
    assert_eq!(decode_record(&[0x0c, 0, 0, 0, 1, 1, 1]), Err(E::BadCount));
    assert_eq!(decode_record(&[0x0c, 0, 0, 0, 1, 1, 2]), Err(E::BadCount));
    assert_eq!(decode_record(&[0x0e, 0, 0, 0, 1, 1, 0, 9]), Err(E::Trailing));
    assert_eq!(decode_record(&[0x10, 0, 0, 0, 1, 1, 2, 1, 1]), bad("header key", -1));
    assert_eq!(decode_record(&[0x12, 0, 0, 0, 1, 1, 2, 2, 0xff, 1]), Err(E::BadUtf8));
    assert!(decode_record(&[0x12, 0, 0, 0, 1, 1, 2, 2, b'k', 1]).is_ok());
    // A billion headers in five bytes.
    assert_eq!(decode_record(&[0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]), Err(E::BadCount));
}

#[test]
fn a_builder_refuses_what_it_cannot_write_and_stays_as_it_was() {
    let mut builder = BatchBuilder::new(BatchSpec::default());
    assert_eq!(builder.finish(0, None), Err(FormatError::BadCount));
    builder.append(1, None, Some(b"v"), &[]);
    assert_eq!(builder.finish(-1, None), Err(FormatError::BadOffset(-1)));
    assert_eq!(builder.finish(i64::MAX, None), Err(FormatError::BadOffset(i64::MAX)));
    builder.spec_mut().attributes = Attributes(0x100);
    assert_eq!(builder.finish(0, None), Err(FormatError::BadAttributes(0x100)));
    for codec in Codec::ALL.into_iter().filter(|c| !c.is_built_in()) {
        builder.spec_mut().attributes = Attributes::NONE.with_codec(codec);
        assert_eq!(builder.finish(0, None), Err(FormatError::UnsupportedCodec(codec.name())));
    }
    builder.spec_mut().attributes = Attributes::NONE;
    assert_eq!(read_all(&builder.finish(0, None).unwrap()), Ok(1));
    builder.append(9, None, None, &[]);
    builder.clear();
    assert_eq!(builder.finish(0, None), Err(FormatError::BadCount));
}

#[test]
fn codecs_keep_to_the_limit() {
    let zeros = vec![0; 4 << 20];
    for codec in built_in() {
        let packed = compress(codec, None, &zeros).unwrap();
        assert_eq!(decompress(codec, &packed, 1000), Err(FormatError::TooLarge { limit: 1000 }), "{codec:?}");
        assert_eq!(decompress(codec, &packed, zeros.len()).unwrap().len(), zeros.len());
        if codec != Codec::None {
            assert!(packed.len() < zeros.len() / 15, "{codec:?} {}", packed.len());
        }
    }
}

#[test]
fn levels_are_kafkas() {
    for (codec, good, bad) in [
        (Codec::Gzip, [-1, 1, 9], [0, 10]),
        (Codec::Lz4, [1, 9, 17], [0, 18]),
        (Codec::Zstd, [-131_072, 3, 22], [23, -131_073]),
    ] {
        for level in good.into_iter().filter(|_| codec.is_built_in()) {
            let packed = compress(codec, Some(level), b"records").unwrap();
            assert_eq!(decompress(codec, &packed, 7).unwrap(), b"records");
        }
        for level in bad {
            assert_eq!(compress(codec, Some(level), b""), Err(FormatError::BadLevel(level)));
        }
    }
}

#[test]
fn frames_may_follow_one_another_but_nothing_else() {
    for codec in built_in().into_iter().filter(|c| *c != Codec::None) {
        let mut two = compress(codec, None, b"first").unwrap();
        two.extend_from_slice(&compress(codec, None, b"second").unwrap());
        assert_eq!(decompress(codec, &two, 11).unwrap(), b"firstsecond", "{codec:?}");
        two.extend_from_slice(b"left over");
        assert!(decompress(codec, &two, 100).is_err(), "{codec:?}");
    }
}

#[cfg(feature = "snappy")]
#[test]
fn raw_snappy_is_read_and_bombs_are_not() {
    let raw = snap::raw::Encoder::new().compress_vec(b"records records records").unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, 100).unwrap(), b"records records records");
    // A preamble that claims 4 GiB.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    assert!(decompress(Codec::Snappy, &bomb, usize::MAX).is_err());
}

#[cfg(feature = "lz4")]
#[test]
fn any_legal_lz4_frame_is_read_but_only_whole() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    let data: Vec<u8> = (0..300_000u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
    let mut all = Vec::new();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(data.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&data).unwrap();
                let frame = encoder.finish().unwrap();
                assert!(decompress(Codec::Lz4, &frame, data.len()).unwrap() == data);
                let end_mark = if checks { 8 } else { 4 };
                let cut = decompress(Codec::Lz4, &frame[..frame.len() - end_mark], data.len());
                assert!(matches!(cut, Err(FormatError::Decompress(_))));
                all.extend_from_slice(&frame);
            }
        }
    }
    assert!(decompress(Codec::Lz4, &all, 16 * data.len()).unwrap() == data.repeat(16));
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        let _ = decode_record(&bytes);
        for codec in built_in() {
            if let Ok(out) = decompress(codec, &bytes, 1 << 16) {
                prop_assert!(out.len() <= 1 << 16);
            }
        }
    }

    #[test]
    fn any_damage_to_compressed_bytes(
        codec in prop::sample::select(built_in()),
        unit in vec(any::<u8>(), 1..50),
        times in 1usize..5000,
        at: prop::sample::Index,
        value: u8,
    ) {
        let mut packed = compress(codec, None, &unit.repeat(times)).unwrap();
        let at = at.index(packed.len());
        packed[at] = value;
        if let Ok(out) = decompress(codec, &packed, 1 << 18) {
            prop_assert!(out.len() <= 1 << 18);
        }
    }

    #[test]
    fn any_payload_behind_a_good_header(payload in vec(any::<u8>(), 0..100), count in 0..5i32) {
        let mut batch = small_batch(Codec::None);
        let mut header = BatchView::parse(&batch).unwrap().header;
        header.records_count = count.min(3);
        batch.truncate(HEADER_LEN);
        batch.extend_from_slice(&payload);
        seal_header(&mut batch, &header).unwrap();
        let _ = read_all(&batch);
    }
}
