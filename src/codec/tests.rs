//! Codecs read what they write, and records fit the producers of their topics.

use std::marker::PhantomData;

use super::*;
use crate::ErrorKind;
use crate::types::Timestamp;

/// What `send` of a producer amounts to: bounds and encoding, kept for a look.
#[derive(Default)]
struct MockProducer<K, V> {
    sent: Vec<Sent>,
    codecs: PhantomData<(K, V)>,
}

#[derive(Debug, PartialEq, Default)]
struct Sent {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<Timestamp>,
    partition: Option<u32>,
}

const NEVER: Timestamp = Timestamp::from_millis(i64::MIN);

impl<KC: Codec + Default, VC: Codec + Default> MockProducer<KC, VC> {
    fn new() -> Self {
        MockProducer { sent: Vec::new(), codecs: PhantomData }
    }

    fn send<K: EncodeKey<KC>, V: EncodeValue<VC>>(&mut self, record: Record<'_, V, K>) -> Result<&Sent> {
        let (mut key_buf, mut value_buf) = (b"left over".to_vec(), b"left over".to_vec());
        let encoded = record.encode(&KC::default(), &VC::default(), &mut key_buf, &mut value_buf)?;
        let owned = |(name, value): &(&str, Option<&[u8]>)| ((*name).to_owned(), value.map(<[u8]>::to_vec));
        self.sent.push(Sent {
            key: encoded.key.map(<[u8]>::to_vec),
            value: encoded.value.map(<[u8]>::to_vec),
            headers: record.headers().iter().map(owned).collect(),
            timestamp: Some(record.timestamp_or(NEVER)).filter(|timestamp| *timestamp != NEVER),
            partition: record.given_partition(),
        });
        Ok(self.sent.last().unwrap())
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn untyped_records_are_bytes() {
    let mut producer = MockProducer::<Raw, Raw>::new();
    let sent = producer.send(Record::new(b"/home").key(b"alice").header("ua", b"curl")).unwrap();
    let headers = vec![("ua".to_owned(), bytes("curl"))];
    assert_eq!(*sent, Sent { key: bytes("alice"), value: bytes("/home"), headers, ..Sent::default() });

    let sent = producer.send(Record::new("text")).unwrap();
    assert_eq!(*sent, Sent { value: bytes("text"), ..Sent::default() });

    let owned = (String::from("k"), vec![1, 2, 3]);
    let sent = producer.send(Record::new(&owned.1).key(&owned.0)).unwrap();
    assert_eq!(*sent, Sent { key: bytes("k"), value: Some(vec![1, 2, 3]), ..Sent::default() });

    for word in &["loop", "over"] {
        assert_eq!(producer.send(Record::new(word)).unwrap().value, bytes(word));
    }
    for word in [b"loop", b"over"] {
        assert_eq!(producer.send(Record::new(word).key(&word)).unwrap().value, Some(word.to_vec()));
    }
    producer.send(Record::new(&owned.1[..2]).key(&bytes::Bytes::from_static(b"k"))).unwrap();
}

#[test]
fn everything_else_of_a_record_arrives() {
    let mut producer = MockProducer::<Utf8, U64>::new();
    let at = Timestamp::from_millis(5);
    let record = Record::new(&7)
        .timestamp(at)
        .partition(2)
        .header("a", "1")
        .null_header("b")
        .header("a", &[])
        .key("k");
    let sent = producer.send(record).unwrap();
    let headers = vec![("a".to_owned(), bytes("1")), ("b".to_owned(), None), ("a".to_owned(), bytes(""))];
    let value = Some(vec![0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(*sent, Sent { key: bytes("k"), value, headers, timestamp: Some(at), partition: Some(2) });
}

#[test]
fn tombstones_need_a_key() {
    let mut producer = MockProducer::<Utf8, U64>::new();
    let sent = producer.send(Record::tombstone().key("k")).unwrap();
    assert_eq!(*sent, Sent { key: bytes("k"), ..Sent::default() });
    let error = producer.send(Record::tombstone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_empty_key_is_a_key() {
    let sent = MockProducer::<Raw, Raw>::new().send(Record::new("").key("")).map(|sent| sent.key.clone());
    assert_eq!(sent.unwrap(), bytes(""));
}

#[test]
fn lent_bytes_are_not_copied() {
    let value = String::from("as it lies in memory");
    let record = Record::new(&value);
    let (mut key_buf, mut value_buf) = (Vec::new(), Vec::new());
    let encoded = record.encode(&Raw, &Raw, &mut key_buf, &mut value_buf).unwrap();
    assert_eq!(encoded.value.unwrap().as_ptr(), value.as_ptr());
}

/// What a codec writes it reads, and it refuses null and the bad bytes by kind.
fn check<C, T>(codec: C, cases: &[(T, &[u8])], bad: &[&[u8]])
where
    C: for<'a> Codec<Output<'a> = T> + Encode<T>,
    T: PartialEq + std::fmt::Debug,
{
    for (value, expected) in cases {
        let mut buf = Vec::new();
        let encoded = codec.encode(value, &mut buf).unwrap();
        assert_eq!(encoded, *expected);
        assert_eq!(&codec.decode(Some(encoded)).unwrap(), value);
    }
    for bytes in bad {
        assert_eq!(codec.decode(Some(bytes)).unwrap_err().kind(), ErrorKind::Codec, "{bytes:?}");
    }
}

#[test]
fn integers_are_big_endian_and_exact() {
    check(U32, &[(0, &[0; 4]), (258, &[0, 0, 1, 2]), (u32::MAX, &[255; 4])], &[b"", b"123", b"12345"]);
    check(I32, &[(-1, &[255; 4]), (i32::MIN, &[128, 0, 0, 0])], &[b"", b"12345678"]);
    check(U64, &[(258, &[0, 0, 0, 0, 0, 0, 1, 2]), (u64::MAX, &[255; 8])], &[b"", b"1234", b"123456789"]);
    check(I64, &[(-2, &[255, 255, 255, 255, 255, 255, 255, 254])], &[b"1234567"]);
    assert_eq!(U64.decode(None).unwrap_err().kind(), ErrorKind::NullValue);
}

#[test]
fn unit_is_nothing() {
    check(Unit, &[((), b"")], &[b"\0"]);
    Unit.decode(None).unwrap();
}

#[test]
fn text_is_checked() {
    assert_eq!(Utf8.decode(Some("h\u{e9}".as_bytes())).unwrap(), "h\u{e9}");
    let error = Utf8.decode(Some(b"ok\xff")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().starts_with("codec utf8 failed"), "{error}");
    assert_eq!(Utf8.decode(None).unwrap_err().kind(), ErrorKind::NullValue);
}

/// Names are kept in the manifests of topics: a changed one locks users out of their data.
#[test]
fn the_names_of_the_codecs_do_not_change() {
    let codecs: [(&str, &str); 7] = [
        (Raw.name(), "raw"),
        (Utf8.name(), "utf8"),
        (U32.name(), "u32"),
        (U64.name(), "u64"),
        (I32.name(), "i32"),
        (I64.name(), "i64"),
        (Unit.name(), "unit"),
    ];
    for (name, expected) in codecs {
        assert_eq!(name, expected);
    }
    assert_eq!(Raw.schema_version(), 0);
}

#[cfg(any(feature = "json", feature = "bincode"))]
#[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
struct Order {
    id: String,
    cents: u64,
}

#[cfg(feature = "json")]
#[test]
fn json_records_are_typed() {
    let order = Order { id: "a1".to_owned(), cents: 1250 };
    let mut producer = MockProducer::<Utf8, Json<Order>>::new();
    let sent = producer.send(Record::new(&order).key(&order.id)).unwrap();
    assert_eq!(
        *sent,
        Sent { key: bytes("a1"), value: bytes(r#"{"id":"a1","cents":1250}"#), ..Sent::default() }
    );
    producer.send(Record::new(&order)).unwrap();
    producer.send(Record::tombstone().key(&order.id)).unwrap();

    let bad: &[&[u8]] = &[b"", b"{}", br#"{"id":"a1","cents":-1}"#, br#"{"id":"a1","cents":1}x"#, b"\xff"];
    check(Json::new(), &[(order, br#"{"id":"a1","cents":1250}"#)], bad);
    assert_eq!(Json::<Order>::new().decode(None).unwrap_err().kind(), ErrorKind::NullValue);
    assert_eq!(Json::<Order>::new().name(), "json");
}

#[cfg(feature = "bincode")]
#[test]
fn bincode_reads_all_or_nothing() {
    let order = Order { id: "a1".to_owned(), cents: 7 };
    let hostile = [253, 255, 255, 255, 255, 255, 255, 255, 255, 0];
    check(
        Bincode::new(),
        &[(order, b"\x02a1\x07")],
        &[b"", b"\x02a1", b"\x02a1\x07\x00", b"\x02\xff\xff\x07", &hostile],
    );
    assert_eq!(Bincode::<Order>::new().decode(None).unwrap_err().kind(), ErrorKind::NullValue);
    assert_eq!(Bincode::<Order>::new().name(), "bincode");
}
