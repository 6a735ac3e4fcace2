//! Varints, CRC-32C, murmur2.

use proptest::prelude::*;

use super::{hex, int, list, text, vectors};
use crate::format::FormatError;
use crate::format::checksum::{crc32c, crc32c_append, crc32c_combine};
use crate::format::murmur2::{murmur2, partition_for_key};
use crate::format::varint::{
    MAX_VARINT_LEN, MAX_VARLONG_LEN, get_varint, get_varlong, put_varint, put_varlong, varint_len,
    varlong_len,
};

#[test]
fn varints_of_kafka_both_ways() {
    let file = vectors(include_str!("../../../tests/vectors/varint.json"));
    for pair in list(&file["signed_varint"]) {
        let (value, bytes) = (i32::try_from(int(&pair[0])).unwrap(), hex(text(&pair[1])));
        assert_eq!(get_varint(&bytes), Ok((value, bytes.len())));
        let mut out = [0; MAX_VARINT_LEN];
        let len = put_varint(&mut out, value);
        assert_eq!(&out[..len], bytes, "{value}");
        assert_eq!(varint_len(value), len);
    }
    for pair in list(&file["signed_varlong"]) {
        let (value, bytes) = (text(&pair[0]).parse::<i64>().unwrap(), hex(text(&pair[1])));
        assert_eq!(get_varlong(&bytes), Ok((value, bytes.len())));
        let mut out = [0; MAX_VARLONG_LEN];
        let len = put_varlong(&mut out, value);
        assert_eq!(&out[..len], bytes, "{value}");
        assert_eq!(varlong_len(value), len);
    }
}

#[test]
fn varints_that_end_early_or_are_too_long() {
    assert_eq!(get_varint(&[]), Err(FormatError::Truncated));
    assert_eq!(get_varint(&[0x80; 4]), Err(FormatError::Truncated));
    assert_eq!(get_varint(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(FormatError::BadVarint));
    assert_eq!(get_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(FormatError::BadVarint));
    assert_eq!(get_varlong(&[]), Err(FormatError::Truncated));
    assert_eq!(get_varlong(&[0xff; 9]), Err(FormatError::Truncated));
    assert_eq!(get_varlong(&[0xff; 10]), Err(FormatError::BadVarint));
    let mut longest = [0xff; 10];
    longest[9] = 2;
    assert_eq!(get_varlong(&longest), Err(FormatError::BadVarint));
}

#[test]
fn crc32c_of_kafka() {
    let file = vectors(include_str!("../../../tests/vectors/crc32c.json"));
    for v in list(&file["vectors"]) {
        let (data, crc) = (hex(text(&v["data_hex"])), u32::from_str_radix(text(&v["crc32c"]), 16).unwrap());
        assert_eq!(crc32c(&data), crc);
        for at in 0..=data.len() {
            let (a, b) = data.split_at(at);
            assert_eq!(crc32c_append(crc32c(a), b), crc);
            assert_eq!(crc32c_combine(crc32c(a), crc32c(b), b.len() as u64), crc);
        }
    }
}

#[test]
fn crc32c_combine_over_lengths_that_nobody_holds_in_memory() {
    for len in [1, 255, 256, 65_535, 1 << 24, (1 << 32) + 7, 1 << 40, u64::from(u32::MAX)] {
        let expected = crc32c::crc32c_combine(0x1234_5678, 0x9abc_def0, usize::try_from(len).unwrap());
        assert_eq!(crc32c_combine(0x1234_5678, 0x9abc_def0, len), expected, "{len}");
    }
}

#[test]
fn murmur2_of_kafka() {
    let file = vectors(include_str!("../../../tests/vectors/murmur2.json"));
    for v in list(&file["vectors"]) {
        let key = hex(text(&v["key_hex"]));
        assert_eq!(i64::from(murmur2(&key)), int(&v["murmur2_i32"]));
        for partitions in [3, 12, 1000] {
            let expected = int(&v[format!("mod{partitions}")]);
            assert_eq!(i64::from(partition_for_key(&key, partitions)), expected);
        }
        assert_eq!(partition_for_key(&key, 1), 0);
        assert_eq!(partition_for_key(&key, 0), 0);
    }
}

proptest! {
    #[test]
    fn any_varint_round_trips(value: i32, tail: u8) {
        let mut out = [tail; MAX_VARINT_LEN + 1];
        let len = put_varint(&mut out, value);
        prop_assert_eq!(varint_len(value), len);
        prop_assert_eq!(get_varint(&out), Ok((value, len)));
        prop_assert_eq!(get_varint(&out[..len - 1]), Err(FormatError::Truncated));
    }

    #[test]
    fn any_varlong_round_trips(value: i64, shift in 0u32..64, tail: u8) {
        let value = value >> shift;
        let mut out = [tail; MAX_VARLONG_LEN + 1];
        let len = put_varlong(&mut out, value);
        prop_assert_eq!(varlong_len(value), len);
        prop_assert_eq!(get_varlong(&out), Ok((value, len)));
        prop_assert_eq!(get_varlong(&out[..len - 1]), Err(FormatError::Truncated));
    }

    #[test]
    fn any_bytes_as_varints(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        if let Ok((_, len)) = get_varint(&bytes) { prop_assert!(len <= bytes.len().min(5)); }
        if let Ok((_, len)) = get_varlong(&bytes) { prop_assert!(len <= bytes.len().min(10)); }
    }

    #[test]
    fn checksums_of_pieces_combine(data in proptest::collection::vec(any::<u8>(), 0..3000), cut: prop::sample::Index) {
        let (a, b) = data.split_at(cut.index(data.len() + 1));
        let combined = crc32c_combine(crc32c(a), crc32c(b), b.len() as u64);
        prop_assert_eq!(combined, crc32c(&data));
        prop_assert_eq!(combined, crc32c::crc32c_combine(crc32c(a), crc32c(b), b.len()));
    }
}
