//! The ground's words: what they read, print and refuse.

use std::time::{Duration, SystemTime};

use super::*;

#[test]
fn sizes_print_the_largest_exact_unit_and_read_it_back() {
    let cases = [
        (0, "0B"),
        (1, "1B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1536B"),
        (1 << 20, "1MiB"),
        (3 << 30, "3GiB"),
        (5 << 40, "5TiB"),
        (u64::MAX, "18446744073709551615B"),
    ];
    for (bytes, text) in cases {
        assert_eq!(ByteSize::bytes(bytes).to_string(), text);
        assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize::bytes(bytes));
    }
}

#[test]
fn sizes_read_decimal_units_and_plain_numbers() {
    assert_eq!("16kB".parse::<ByteSize>().unwrap(), ByteSize::bytes(16_000));
    assert_eq!(" 4096 ".parse::<ByteSize>().unwrap(), ByteSize::kib(4));
    assert_eq!("2 GB".parse::<ByteSize>().unwrap(), ByteSize::bytes(2_000_000_000));
    for bad in
        ["", "MiB", "-1", "1.5MiB", "1mib", "99999999999999999999", "16777216TiB", "1 M iB", "\u{661}MiB"]
    {
        assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was read");
    }
}

#[test]
fn offsets_fit_a_signed_number() {
    assert_eq!("9223372036854775807".parse::<Offset>().unwrap(), Offset::MAX);
    for bad in ["9223372036854775808", "-1", "", "1e3"] {
        assert!(bad.parse::<Offset>().is_err(), "{bad:?} was read");
    }
    assert!(Offset::try_from(u64::MAX).is_err());
    assert_eq!(Offset::MAX.next(), Offset::MAX);
    assert_eq!(Offset::MAX.checked_add(1), None);
}

#[test]
fn topic_ids_have_one_text_each() {
    for bytes in
        [[0; 16], [255; 16], *b"0123456789abcdef", [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    {
        let id = TopicId::from_bytes(bytes);
        let text = id.to_string();
        assert_eq!(text.len(), 22);
        assert_eq!(text.parse::<TopicId>().unwrap(), id);
    }
    assert_eq!(TopicId::from_bytes(*b"0123456789abcdef").to_string(), "MDEyMzQ1Njc4OWFiY2RlZg");
    for bad in [
        "",
        "MDEyMzQ1Njc4OWFiY2RlZ",
        "MDEyMzQ1Njc4OWFiY2RlZh",
        "MDEyMzQ1Njc4OWFiY2RlZg==",
        "MDEyMzQ1Njc4OWFiY2Rl+g",
    ] {
        assert!(bad.parse::<TopicId>().is_err(), "{bad:?} was read");
    }
}

#[test]
fn timestamps_keep_within_their_bounds() {
    let at = Timestamp::from_millis(1_500);
    assert_eq!(Timestamp::from_system_time(at.to_system_time().unwrap()), at);
    assert_eq!(
        Timestamp::from_system_time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        Timestamp::from_millis(0)
    );
    assert_eq!(Timestamp::NONE.to_system_time(), None);
    assert!(Timestamp::NONE.is_none());
    assert!(!Timestamp::from_millis(0).is_none());
    assert_eq!(at.saturating_add(Duration::MAX).millis(), i64::MAX);
    assert_eq!(at.saturating_sub(Duration::MAX).millis(), 1_500 - i64::MAX);
    assert_eq!(at.since(Timestamp::from_millis(1_501)), None);
    assert_eq!(
        Timestamp::from_millis(i64::MAX).since(Timestamp::from_millis(i64::MIN)),
        Some(Duration::from_millis(u64::MAX))
    );
    assert_eq!("-1".parse::<Timestamp>().unwrap(), Timestamp::NONE);
    assert!("now".parse::<Timestamp>().is_err());
}

#[test]
fn names_follow_kafkas_rules() {
    for good in ["a", "A.b_c-9", &"x".repeat(249)] {
        assert_eq!(TopicName::new(good).unwrap().as_str(), good);
    }
    for bad in ["", ".", "..", "a b", "a/b", "\u{e9}", "a\0", &"x".repeat(250)] {
        let error = crate::Error::from(TopicName::new(bad).unwrap_err());
        assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
        assert!(error.to_string().len() < 200, "a long name must not make a long message");
    }
}

#[test]
fn headers_keep_order_and_repeats() {
    let headers: Headers = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(b""))].into_iter().collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "a"]);
    assert_eq!(headers.last("a"), Some(Some(&b""[..])));
    assert_eq!(headers.last("b"), Some(None));
    assert_eq!(headers.len(), 3);
}

#[cfg(feature = "serde")]
#[test]
fn the_words_read_and_write_json() {
    fn check<T>(value: T, json: &str)
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        assert_eq!(serde_json::to_string(&value).unwrap(), json);
        assert_eq!(serde_json::from_str::<T>(json).unwrap(), value);
    }
    check(ByteSize::mib(64), "\"64MiB\"");
    check(Offset::of(7), "7");
    check(Timestamp::from_millis(5), "5");
    check(TopicName::new("clicks").unwrap(), "\"clicks\"");
    check(TopicId::from_bytes([7; 16]), "\"BwcHBwcHBwcHBwcHBwcHBw\"");
    check(LeaderEpoch::new(3), "3");
    check(ProducerId::new(3), "3");
    check(ProducerEpoch::new(3), "3");
    check(
        TopicPartition::new(TopicName::new("clicks").unwrap(), 2),
        "{\"topic\":\"clicks\",\"partition\":2}",
    );
    assert_eq!(serde_json::from_str::<ByteSize>("4096").unwrap(), ByteSize::kib(4));
    assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    assert!(serde_json::from_str::<Offset>("9223372036854775808").is_err());
    assert!(serde_json::from_str::<TopicName>("\"a b\"").is_err());
}
