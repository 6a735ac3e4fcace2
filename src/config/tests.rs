//! Settings: defaults hold, bounds are named, text comes back as it went.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use super::text::{DurationText, MAX_DURATION, parse_duration};
use super::*;
use crate::ErrorKind;
use crate::error::Error;
use crate::types::{ByteSize, Offset, Timestamp};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn durations_print_the_greatest_exact_unit_and_read_it_back() {
    let cases = [
        (Duration::ZERO, "0s"),
        (Duration::from_nanos(1), "1ns"),
        (Duration::from_micros(15), "15us"),
        (Duration::from_millis(250), "250ms"),
        (Duration::from_secs(90), "90s"),
        (Duration::from_secs(120), "2m"),
        (Duration::from_secs(7_200), "2h"),
        (7 * DAY, "7d"),
        (Duration::new(u64::MAX, 999_999_999), "18446744073709551615999999999ns"),
    ];
    for (duration, text) in cases {
        assert_eq!(DurationText(duration).to_string(), text);
        assert_eq!(parse_duration(text), Some(duration));
    }
    for bad in [
        "",
        "5",
        "s",
        "-1s",
        "1.5s",
        "1w",
        "18446744073709551616s",
        "9999999999999999999999999999999999999999s",
    ] {
        assert_eq!(parse_duration(bad), None, "{bad:?} was read");
    }
}

/// Prints each value, reads it back, and refuses a few texts that are near.
fn check_text<T>(cases: &[(T, &str)], bad: &[&str])
where
    T: FromStr<Err = Error> + Display + Debug + PartialEq,
{
    for (value, text) in cases {
        assert_eq!(value.to_string(), *text);
        assert_eq!(&text.parse::<T>().unwrap(), value);
    }
    for text in bad {
        let error = text.parse::<T>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text:?}");
        assert!(error.to_string().contains(text), "{error} does not show {text:?}");
    }
}

#[test]
fn words_are_read_as_they_are_printed() {
    let interval = Durability::Interval(250 * MS);
    check_text(
        &[(Durability::Memory, "memory"), (Durability::Sync, "sync"), (interval, "interval:250ms")],
        &["", "Sync", "interval", "interval:", "interval:5"],
    );
    check_text(&[(Acks::None, "none"), (Acks::Leader, "leader"), (Acks::All, "all")], &["1", "-1", "ALL"]);
    check_text(
        &[
            (Compression::None, "none"),
            (Compression::Gzip { level: None }, "gzip"),
            (Compression::Gzip { level: Some(9) }, "gzip:9"),
            (Compression::Snappy, "snappy"),
            (Compression::Lz4, "lz4"),
            (Compression::Zstd { level: Some(-5) }, "zstd:-5"),
        ],
        &["brotli", "gzip:", "gzip:x", "lz4:3", "none:1", "zstd:99999999999"],
    );
    check_text(
        &[(TimestampType::Create, "create"), (TimestampType::LogAppend, "log_append")],
        &["LogAppendTime"],
    );
    check_text(
        &[
            (Start::Earliest, "earliest"),
            (Start::Latest, "latest"),
            (Start::Offset(Offset::of(42)), "offset:42"),
            (Start::Timestamp(Timestamp::from_millis(5)), "timestamp:5"),
            (Start::Last(100), "last:100"),
        ],
        &["none", "offset:-1", "last:", "earliest:1"],
    );
    check_text(
        &[
            (Retention::forever(), "forever"),
            (Retention::age(7 * DAY), "age:7d"),
            (Retention::size(ByteSize::gib(10)), "size:10GiB"),
            (Retention::size(ByteSize::kib(1)).and_age(DAY), "age:1d,size:1KiB"),
        ],
        &["", "never", "age:7", "age:1d,age:2d", "forever,age:1d", "size:1GiB,"],
    );
    check_text(&[(Partitioning::HashKey, "hash_key"), (Partitioning::RoundRobin, "round_robin")], &["hash"]);
    check_text(&[(CrcCheck::Once, "once"), (CrcCheck::Never, "never")], &["true"]);
    check_text(&[(ReadMode::Mapped, "mapped"), (ReadMode::Buffered, "buffered")], &["mmap"]);
    check_text(&[(Background::Threads, "threads"), (Background::Manual, "manual")], &["none"]);
}

#[test]
fn defaults_are_valid() {
    TopicConfig::new().validate().unwrap();
    BrokerConfig::new().validate().unwrap();
    ProducerConfig::new().validate().unwrap();
    ReaderConfig::new().validate().unwrap();
}

/// The refusal of a setting names it, its value and what it must be.
fn check_refused(result: crate::Result<()>, field: &str, value: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let start = format!("setting {field} is {value}, but must be ");
    assert!(error.to_string().starts_with(&start), "{error} does not start with {start}");
}

#[test]
fn topic_settings_outside_their_bounds_are_refused_by_name() {
    let new = TopicConfig::new;
    check_refused(new().partitions(0).validate(), "partitions", "0");
    check_refused(new().partitions(10_001).validate(), "partitions", "10001");
    check_refused(new().durability(Durability::Interval(Duration::ZERO)).validate(), "durability", "0s");
    check_refused(new().durability(Durability::Interval(2 * DAY)).validate(), "durability", "2d");
    check_refused(
        new().compression(Compression::Gzip { level: Some(10) }).validate(),
        "compression",
        "gzip:10",
    );
    check_refused(
        new().compression(Compression::Zstd { level: Some(23) }).validate(),
        "compression",
        "zstd:23",
    );
    check_refused(new().batch_size(ByteSize::bytes(1023)).validate(), "batch_size", "1023B");
    check_refused(new().batch_size(ByteSize::mib(17)).validate(), "batch_size", "17MiB");
    check_refused(new().linger(Duration::from_secs(61)).validate(), "linger", "61s");
    check_refused(new().max_record_size(ByteSize::bytes(0)).validate(), "max_record_size", "0B");
    check_refused(new().segment_size(ByteSize::bytes(1023)).validate(), "segment_size", "1023B");
    check_refused(new().segment_size(ByteSize::gib(2)).validate(), "segment_size", "2GiB");
    check_refused(new().segment_age(Duration::ZERO).validate(), "segment_age", "0s");
    check_refused(
        new().segment_age(Duration::MAX).validate(),
        "segment_age",
        "18446744073709551615999999999ns",
    );
    check_refused(new().index_interval(ByteSize::gib(2)).validate(), "index_interval", "2GiB");
    check_refused(new().index_size(ByteSize::bytes(63)).validate(), "index_size", "63B");
    check_refused(new().retention(Retention::age(Duration::ZERO)).validate(), "retention", "0s");
    check_refused(new().retention(Retention::size(ByteSize::bytes(0))).validate(), "retention", "0B");
    check_refused(new().min_in_sync_replicas(0).validate(), "min_in_sync_replicas", "0");
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let least = TopicConfig::new()
        .durability(Durability::Interval(MS))
        .linger(Duration::ZERO)
        .max_record_size(ByteSize::bytes(1))
        .batch_size(ByteSize::kib(1))
        .segment_size(ByteSize::kib(1))
        .segment_age(MS)
        .index_interval(ByteSize::bytes(0))
        .index_size(ByteSize::bytes(64))
        .retention(Retention::age(MS).and_size(ByteSize::bytes(1)));
    least.validate().unwrap();
    let greatest = TopicConfig::new()
        .partitions(10_000)
        .durability(Durability::Interval(DAY))
        .linger(Duration::from_secs(60))
        .max_record_size(ByteSize::gib(1))
        .batch_size(ByteSize::mib(16))
        .segment_size(ByteSize::bytes((1 << 31) - 4096))
        .segment_age(MAX_DURATION)
        .retention(Retention::age(MAX_DURATION).and_size(ByteSize::bytes(u64::MAX)))
        .min_in_sync_replicas(32_767);
    greatest.validate().unwrap();
}

#[test]
fn batches_and_records_fit_a_segment() {
    let small = TopicConfig::new().segment_size(ByteSize::kib(4));
    small.validate().unwrap();
    assert_eq!(small.batch_size_bytes(), 4096);
    assert_eq!(small.max_record_size_bytes(), 4096);
    check_refused(small.clone().batch_size(ByteSize::kib(8)).validate(), "batch_size", "8KiB");
    check_refused(small.max_record_size(ByteSize::bytes(4097)).validate(), "max_record_size", "4097B");
}

#[test]
fn a_codec_that_the_build_lacks_is_refused_by_its_feature() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let compression: Compression = codec.parse().unwrap();
        let config = TopicConfig::from_pairs([("compression", codec)]).unwrap();
        match config.validate() {
            Ok(()) => assert!(compression.is_available()),
            Err(error) => {
                assert!(!compression.is_available());
                assert!(error.to_string().contains(&format!("without the feature {codec}")), "{error}");
            }
        }
    }
}

#[test]
fn the_other_settings_outside_their_bounds_are_refused_by_name() {
    let broker = BrokerConfig::new;
    check_refused(broker().buffer_memory(ByteSize::kib(63)).validate(), "buffer_memory", "63KiB");
    check_refused(broker().max_block(2 * DAY).validate(), "max_block", "2d");
    check_refused(broker().flush_threads(0).validate(), "flush_threads", "0");
    check_refused(broker().flush_threads(65).validate(), "flush_threads", "65");
    check_refused(broker().checkpoint_interval(Duration::ZERO).validate(), "checkpoint_interval", "0s");
    check_refused(broker().memory_flush_interval(2 * DAY).validate(), "memory_flush_interval", "2d");
    check_refused(ProducerConfig::new().max_block(2 * DAY).validate(), "max_block", "2d");
    let beyond = Compression::Gzip { level: Some(10) };
    check_refused(ProducerConfig::new().compression(beyond).validate(), "compression", "gzip:10");
    check_refused(TransactionConfig::new().compression(beyond).validate(), "compression", "gzip:10");
    check_refused(ReaderConfig::new().max_records(0).validate(), "max_records", "0");
    check_refused(ReaderConfig::new().max_bytes(ByteSize::bytes(0)).validate(), "max_bytes", "0B");
    check_refused(ReaderConfig::new().max_bytes(ByteSize::gib(2)).validate(), "max_bytes", "2GiB");
}

/// A topic's settings, none of them a default.
fn unusual() -> TopicConfig {
    TopicConfig::new()
        .partitions(7)
        .durability(Durability::Interval(250 * MS))
        .compression(Compression::Zstd { level: Some(7) })
        .batch_size(ByteSize::kib(32))
        .linger(3 * MS)
        .max_record_size(ByteSize::kib(100))
        .segment_size(ByteSize::mib(8))
        .segment_age(2 * DAY)
        .index_interval(ByteSize::kib(1))
        .index_size(ByteSize::kib(512))
        .timestamp_type(TimestampType::LogAppend)
        .retention(Retention::age(DAY).and_size(ByteSize::mib(64)).and_topic_size(ByteSize::gib(1)))
        .min_in_sync_replicas(2)
        .cleanup_policy(CleanupPolicy::CompactAndDelete)
        .min_compaction_lag(DAY)
        .max_compaction_lag(2 * DAY)
        .min_cleanable_dirty_percent(20)
        .delete_retention(3 * DAY)
        .keep_unread(ByteSize::gib(1))
}

#[test]
fn pairs_hold_every_setting() {
    let usual = TopicConfig::new().to_pairs();
    for ((name, value), (usual_name, usual_value)) in unusual().to_pairs().into_iter().zip(usual) {
        assert_eq!(name, usual_name);
        assert_ne!(value, usual_value, "{name} is not told apart from its default");
        let alone = TopicConfig::from_pairs([(name, &value)]).unwrap();
        assert!(alone.to_pairs().contains(&(name, value)), "{name} is lost");
    }
    assert_eq!(TopicConfig::from_pairs(unusual().to_pairs()).unwrap(), unusual());
    assert_eq!(TopicConfig::from_pairs(TopicConfig::new().to_pairs()).unwrap(), TopicConfig::new());
    assert_eq!(TopicConfig::from_pairs::<&str, &str>([]).unwrap(), TopicConfig::new());
    assert_ne!(TopicConfig::new(), unusual());
}

#[test]
fn the_names_of_the_stored_settings_do_not_change() {
    let names: Vec<&str> = TopicConfig::new().to_pairs().into_iter().map(|(name, _)| name).collect();
    let stored = [
        "partitions",
        "durability",
        "compression",
        "batch_size",
        "linger",
        "max_record_size",
        "segment_size",
        "segment_age",
        "index_interval",
        "index_size",
        "timestamp_type",
        "retention",
        "min_in_sync_replicas",
        "cleanup_policy",
        "min_compaction_lag",
        "max_compaction_lag",
        "min_cleanable_dirty_percent",
        "delete_retention",
        "keep_unread",
    ];
    assert_eq!(names, stored);
}

#[test]
fn pairs_that_are_unknown_repeated_or_invalid_are_refused_by_name() {
    let refused = |name: &str, value: &str| TopicConfig::from_pairs([(name, value)]).map(|_| ());
    check_refused(refused("partition", "3"), "partition", "unknown");
    check_refused(refused("partitions", "three"), "partitions", "\"three\"");
    check_refused(refused("partitions", "0"), "partitions", "0");
    check_refused(refused("segment_size", "big"), "segment_size", "\"big\"");
    check_refused(refused("linger", "5"), "linger", "\"5\"");
    check_refused(refused("retention", "7d"), "retention", "\"7d\"");
    let twice = TopicConfig::from_pairs([("partitions", "3"), ("partitions", "3")]).map(|_| ());
    check_refused(twice, "partitions", "given twice");
    let long = refused(&"x".repeat(10_000), "1").unwrap_err();
    assert!(long.to_string().len() < 1_000, "a long name must not make a long message");
}

#[cfg(feature = "serde")]
mod text_files {
    use super::*;

    #[test]
    fn settings_come_back_as_they_went() {
        fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(value: &T) {
            let text = serde_json::to_string(value).unwrap();
            assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value, "{text}");
        }
        check(&TopicConfig::new());
        check(&unusual());
        check(&BrokerConfig::new().background(Background::Manual).max_block(Duration::ZERO));
        check(&ProducerConfig::new());
        check(&ProducerConfig::new().max_block(3 * MS).acks(Acks::None).partitioning(Partitioning::Sticky));
        check(&ProducerConfig::new().compression(Compression::Zstd { level: Some(-5) }));
        check(&TransactionConfig::new().compression(Compression::Lz4).timeout(DAY));
        check(&ReaderConfig::new());
        check(&ReaderConfig::new().crc_check(CrcCheck::Never));
    }

    #[test]
    fn what_is_left_out_has_its_default_and_the_unknown_is_refused() {
        let text = r#"{"partitions": 3, "linger": "1ms", "segment_size": 1048576, "retention": "age:7d"}"#;
        let config: TopicConfig = serde_json::from_str(text).unwrap();
        let expected = TopicConfig::new()
            .partitions(3)
            .linger(MS)
            .segment_size(ByteSize::mib(1))
            .retention(Retention::age(7 * DAY));
        assert_eq!(config, expected);
        assert_eq!(serde_json::from_str::<BrokerConfig>("{}").unwrap(), BrokerConfig::new());
        assert!(serde_json::from_str::<TopicConfig>(r#"{"lingers": "1ms"}"#).is_err());
        assert!(serde_json::from_str::<TopicConfig>(r#"{"linger": 5}"#).is_err());
        assert!(serde_json::from_str::<BrokerConfig>(r#"{"read_mode": "mmap"}"#).is_err());
    }
}
