//! Every batch of the vector files.

use serde_json::Value;

use super::{hex, int, list, nullable, text, vectors};
use crate::format::FormatError;
use crate::format::batch::{
    ATTRIBUTES_AT, BatchBuilder, BatchHeader, BatchSpec, BatchView, CheckInPieces, HEADER_LEN, Records,
    batch_crc, crc_of_parts, seal_header,
};
use crate::format::checksum::crc32c;
use crate::format::compression::Codec;
use crate::format::record::{HeaderRef, RecordFields, RecordRef};

const LIMIT: usize = 1 << 20;

fn codec_of(name: &str) -> Codec {
    Codec::ALL.into_iter().find(|c| c.name() == name).unwrap()
}

#[test]
fn batches_of_kafka_are_read() {
    let file = vectors(include_str!("../../../tests/vectors/record_batches.json"));
    let mut seen = 0;
    for vector in list(&file["vectors"]) {
        let bytes = hex(text(&vector["hex"]));
        let mut rest = &bytes[..];
        for expected in list(&vector["batches"]) {
            let batch = BatchView::parse(rest).unwrap();
            batch.check_crc().unwrap();
            compare_header(&batch, expected);
            if batch.header.attributes.codec().unwrap().is_built_in() {
                compare_records(&batch, expected);
            }
            rest = &rest[batch.bytes.len()..];
            seen += 1;
        }
        assert!(rest.is_empty(), "{}", vector["name"]);
    }
    assert_eq!(seen, 23);
}

#[test]
fn a_batch_may_be_checked_in_pieces() {
    let file = vectors(include_str!("../../../tests/vectors/record_batches.json"));
    let check = |pieces: &[&[u8]]| {
        let mut check = CheckInPieces::begin(pieces[0])?;
        pieces[1..].iter().try_for_each(|piece| check.add(piece))?;
        check.end()
    };
    for vector in list(&file["vectors"]) {
        let bytes = hex(text(&vector["hex"]));
        let batch = BatchView::parse(&bytes).unwrap().bytes;
        for at in HEADER_LEN..=batch.len() {
            let (head, tail) = batch.split_at(at);
            let (middle, end) = tail.split_at(tail.len() / 2);
            check(&[head, middle, end]).unwrap();
            assert_eq!(check(&[head, tail, b"x"]), Err(FormatError::Trailing));
            if !end.is_empty() {
                assert_eq!(check(&[head, middle]), Err(FormatError::Truncated));
                let mut bad = end.to_vec();
                bad[0] ^= 1;
                assert!(matches!(check(&[head, middle, &bad]), Err(FormatError::BadCrc { .. })));
            }
        }
        assert_eq!(check(&[&[batch, b"x"].concat()]), Err(FormatError::Trailing));
        assert!(check(&[&batch[..HEADER_LEN - 1]]).is_err());
    }
}

fn compare_header(batch: &BatchView<'_>, expected: &Value) {
    let h = &batch.header;
    assert_eq!(h.base_offset, int(&expected["base_offset"]));
    assert_eq!(h.last_offset(), int(&expected["last_offset"]));
    assert_eq!(h.next_offset(), h.last_offset() + 1);
    assert_eq!(h.total_len() as i64, int(&expected["size"]));
    assert_eq!(i64::from(h.leader_epoch), int(&expected["partition_leader_epoch"]));
    assert_eq!(i64::from(h.magic), int(&expected["magic"]));
    assert_eq!(i64::from(h.crc), int(&expected["crc"]));
    assert_eq!(h.attributes.codec().unwrap(), codec_of(text(&expected["compression"])));
    let append_time = text(&expected["timestamp_type"]) == "LogAppendTime";
    assert_eq!(h.attributes.is_log_append_time(), append_time);
    assert_eq!(h.attributes.is_transactional(), expected["transactional"] == true);
    assert_eq!(h.attributes.is_control(), expected["control"] == true);
    let horizon = h.attributes.has_delete_horizon().then_some(h.base_timestamp);
    assert_eq!(horizon, expected["delete_horizon_ms"].as_i64());
    assert_eq!(h.base_timestamp, int(&expected["base_timestamp"]));
    assert_eq!(h.max_timestamp, int(&expected["max_timestamp"]));
    assert_eq!(h.producer_id, int(&expected["producer_id"]));
    assert_eq!(i64::from(h.producer_epoch), int(&expected["producer_epoch"]));
    assert_eq!(i64::from(h.base_sequence), int(&expected["base_sequence"]));
    assert_eq!(i64::from(h.last_sequence()), int(&expected["last_sequence"]));
    assert_eq!(i64::from(h.records_count), int(&expected["count"]));
    assert_eq!(&h.to_bytes(), &batch.bytes[..HEADER_LEN]);
    let records_crc = crc32c(batch.payload());
    let parts =
        crc_of_parts(&batch.bytes[ATTRIBUTES_AT..HEADER_LEN], records_crc, batch.payload().len() as u64);
    assert_eq!(parts, h.crc);
    let bare = BatchHeader { crc: 0, batch_length: 0, ..*h };
    assert_eq!(bare.sealed(records_crc, batch.payload().len()).unwrap(), *h);
}

fn compare_records(batch: &BatchView<'_>, expected: &Value) {
    let payload = batch.decompressed(LIMIT).unwrap();
    let records: Vec<_> = Records::new(&batch.header, &payload).map(Result::unwrap).collect();
    let expected = list(&expected["records"]);
    assert_eq!(records.len(), expected.len());
    for (record, expected) in records.iter().zip(expected) {
        assert_eq!(batch.header.offset_of(record.offset_delta), int(&expected["offset"]));
        assert_eq!(batch.header.timestamp_of(record.timestamp_delta), int(&expected["timestamp"]));
        assert_eq!(record.key.map(<[u8]>::to_vec), nullable(&expected["key"]));
        assert_eq!(record.value.map(<[u8]>::to_vec), nullable(&expected["value"]));
        compare_headers(record, &expected["headers"], |key| String::from_utf8(hex(key)).unwrap());
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(fields(record, &headers).encoded_len() as i64, int(&expected["size"]));
    }
}

fn compare_headers(record: &RecordRef<'_>, expected: &Value, key: impl Fn(&str) -> String) {
    assert_eq!(record.headers.len(), list(expected).len());
    for (header, expected) in record.headers.iter().zip(list(expected)) {
        assert_eq!(header.key, key(text(&expected[0])));
        assert_eq!(header.value.map(<[u8]>::to_vec), nullable(&expected[1]));
    }
}

fn fields<'a>(record: &RecordRef<'a>, headers: &'a [HeaderRef<'a>]) -> RecordFields<'a> {
    let RecordRef { timestamp_delta, offset_delta, key, value, .. } = *record;
    RecordFields { timestamp_delta, offset_delta, key, value, headers }
}

#[test]
fn batches_of_kafka_are_written_again() {
    let file = vectors(include_str!("../../../tests/vectors/record_batches.json"));
    for vector in list(&file["vectors"]) {
        let bytes = hex(text(&vector["hex"]));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let batch = BatchView::parse(rest).unwrap();
            rest = &rest[batch.bytes.len()..];
            if !batch.header.attributes.codec().unwrap().is_built_in() {
                continue;
            }
            rewrite_records(&batch);
            // A builder numbers records without gaps from their first timestamp: not so after compaction.
            if !text(&vector["name"]).contains("output") && batch.header.records_count > 0 {
                rebuild(&batch);
            }
        }
    }
}

/// Record by record: byte for byte the same.
fn rewrite_records(batch: &BatchView<'_>) {
    let payload = batch.decompressed(LIMIT).unwrap();
    let mut out = vec![0; HEADER_LEN];
    for record in Records::new(&batch.header, &payload) {
        let record = record.unwrap();
        let headers: Vec<_> = record.headers.iter().collect();
        let fields = fields(&record, &headers);
        let start = out.len();
        out.resize(start + fields.encoded_len(), 0xaa);
        assert_eq!(fields.encode(&mut out[start..]), fields.encoded_len());
    }
    assert_eq!(out[HEADER_LEN..], payload[..]);
    if batch.header.attributes.is_uncompressed() {
        assert_eq!(seal_header(&mut out, &batch.header).unwrap(), batch.header);
        assert_eq!(out, batch.bytes);
    }
}

/// By the builder: the same bytes, or where a codec may choose its own, the same fields and records.
fn rebuild(batch: &BatchView<'_>) {
    let h = batch.header;
    let mut builder = BatchBuilder::new(BatchSpec {
        attributes: h.attributes,
        leader_epoch: h.leader_epoch,
        producer_id: h.producer_id,
        producer_epoch: h.producer_epoch,
        base_sequence: h.base_sequence,
    });
    if h.attributes.is_log_append_time() {
        builder.set_append_time(h.max_timestamp);
    }
    let payload = batch.decompressed(LIMIT).unwrap();
    for record in Records::new(&h, &payload) {
        let record = record.unwrap();
        let headers: Vec<_> = record.headers.iter().collect();
        let timestamp = h.base_timestamp + record.timestamp_delta;
        let announced = builder.measure(timestamp, record.key, record.value, &headers).len();
        assert_eq!(builder.append(timestamp, record.key, record.value, &headers), announced);
    }
    assert_eq!(builder.count(), h.records_count);
    assert_eq!(builder.len(), HEADER_LEN + payload.len());
    let built = builder.finish(h.base_offset, None).unwrap();
    assert!(builder.is_empty());
    assert_eq!(builder.len(), HEADER_LEN);
    let again = BatchView::parse(&built).unwrap();
    again.check_crc().unwrap();
    if h.attributes.is_uncompressed() {
        assert_eq!(built, batch.bytes);
    } else {
        assert_eq!(again.decompressed(LIMIT).unwrap(), payload);
        assert!(again.records().next().unwrap().is_err());
        let same = BatchHeader { crc: h.crc, batch_length: h.batch_length, ..again.header };
        assert_eq!(same, h);
    }
}

#[test]
fn batches_of_other_encoders_are_read() {
    let file = vectors(include_str!("../../../tests/vectors/python_encoded_batches.json"));
    for vector in list(&file["vectors"]) {
        let bytes = hex(text(&vector["hex"]));
        let batch = BatchView::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.bytes.len(), bytes.len());
        let h = batch.header;
        assert_eq!(h.producer_id, int(&vector["producer_id"]));
        assert_eq!(i64::from(h.producer_epoch), int(&vector["producer_epoch"]));
        assert_eq!(i64::from(h.base_sequence), int(&vector["base_sequence"]));
        assert_eq!(h.attributes.is_transactional(), vector["transactional"] == true);
        assert_eq!(h.attributes.codec().unwrap(), codec_of(text(&vector["compression"])));
        if !h.attributes.codec().unwrap().is_built_in() {
            continue;
        }
        let payload = batch.decompressed(LIMIT).unwrap();
        let records: Vec<_> = Records::new(&h, &payload).map(Result::unwrap).collect();
        assert_eq!(records.len(), list(&vector["records"]).len());
        for (record, expected) in records.iter().zip(list(&vector["records"])) {
            assert_eq!(h.offset_of(record.offset_delta), int(&expected[0]));
            assert_eq!(h.timestamp_of(record.timestamp_delta), int(&expected[1]));
            assert_eq!(record.key.map(<[u8]>::to_vec), nullable(&expected[2]));
            assert_eq!(record.value.map(<[u8]>::to_vec), nullable(&expected[3]));
            compare_headers(record, &expected[4], str::to_string);
        }
        rewrite_records(&batch);
        rebuild(&batch);
    }
}

#[test]
fn the_smallest_batch_has_the_crc_that_kafka_gives_it() {
    let mut builder = BatchBuilder::new(BatchSpec { leader_epoch: 0, ..BatchSpec::default() });
    builder.append(0, None, Some(b"x"), &[]);
    let batch = builder.finish(0, None).unwrap();
    assert_eq!((batch.len(), batch_crc(&batch)), (69, 0x6a9a_6238));
}
