//! The whole library against a model of a page: random programs through the public API on the simulated
//! disk, with closes, kills and power cuts between their steps.
//!
//! ```text
//!   steps --> broker on the simulated disk --+
//!     `-----> model: a vector of records     +--> equal?   (after a crash: a prefix, as long as promised)
//! ```
//!
//! A failing program is printed, shrunk, and kept beside this file's folder in `proptest-regressions`, to be
//! run first from then on. `PROPTEST_CASES` asks for more programs than the usual number.

mod world;

use millpond::config::Compression;
use millpond::prelude::*;
use proptest::prelude::*;
use std::time::Duration;

use world::World;

/// How a broker ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// In order.
    Close,
    /// The last handle is dropped.
    Drop,
    /// The process is killed.
    Kill,
    /// The power fails; the number chooses what is lost.
    PowerCut(u64),
    /// Everything that can be lost is.
    PowerCutLosingEverything,
    /// Everything has just reached the disk.
    PowerCutKeepingEverything,
    /// A power cut, and another one in the middle of the recovery.
    PowerCutTwice(u64),
}

/// What a record is made of; its bytes come from a counter, so that no two are equal.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) key: Option<u8>,
    /// `None`: a tombstone.
    pub(crate) len: Option<u16>,
    pub(crate) headers: u8,
    pub(crate) timestamp: Option<i64>,
    pub(crate) partition: Option<u32>,
}

/// Where to read from, with offsets relative to what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Earliest,
    Latest,
    Offset(u16),
    Timestamp(i64),
    Last(u8),
}

/// One step of a program. The first number of most of them picks a topic, the second a partition.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    CreateTopic(TopicShape),
    DeleteTopic(u8),
    AddPartitions(u8),
    AlterTopic(u8, usize, usize),
    Send(u8, Shape, bool),
    SendMany(u8, u8, Shape),
    SendBatch(u8, u8, Shape),
    Flush(u8),
    Tick(u16),
    Lookup(u8, u8, i64),
    ReadTopic(u8, From),
    Follow(u8, u8, From, u8),
    FollowNext(bool),
    FollowSeek(From),
    DeleteRecords(u8, u8, u16),
    Truncate(u8, u8, u16),
    DiskFull(u8),
    Reopen(End),
}

/// The settings of a topic.
#[derive(Clone, Debug)]
pub(crate) struct TopicShape {
    pub(crate) partitions: u32,
    pub(crate) durability: usize,
    pub(crate) compression: usize,
    pub(crate) log_append_time: bool,
    pub(crate) index_interval: u64,
}

/// The levels that programs choose from.
pub(crate) const LEVELS: [Durability; 3] =
    [Durability::Sync, Durability::Memory, Durability::Interval(Duration::from_millis(400))];

/// The codecs of this build that programs choose from.
pub(crate) const CODECS: &[Compression] = &[
    Compression::None,
    Compression::None,
    #[cfg(feature = "lz4")]
    Compression::Lz4,
    #[cfg(feature = "snappy")]
    Compression::Snappy,
    #[cfg(feature = "zstd")]
    Compression::Zstd { level: None },
    #[cfg(feature = "gzip")]
    Compression::Gzip { level: Some(1) },
];

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => 1_704_067_200_000..1_704_067_200_060i64,
        1 => Just(0),
        1 => Just(-1),
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let len =
        prop_oneof![1 => Just(None), 12 => (0..300u16).prop_map(Some), 2 => (300..3_000u16).prop_map(Some)];
    let partition = prop_oneof![3 => Just(None), 1 => (0..4u32).prop_map(Some)];
    (proptest::option::of(0..8u8), len, 0..4u8, proptest::option::of(timestamp()), partition).prop_map(
        |(key, len, headers, timestamp, partition)| Shape { key, len, headers, timestamp, partition },
    )
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        Just(From::Earliest),
        Just(From::Latest),
        any::<u16>().prop_map(From::Offset),
        timestamp().prop_map(From::Timestamp),
        (0..20u8).prop_map(From::Last),
    ]
}

fn topic_shape() -> impl Strategy<Value = TopicShape> {
    let interval = prop_oneof![Just(0u64), Just(200), Just(4_096)];
    (1..4u32, 0..LEVELS.len(), 0..CODECS.len(), proptest::bool::weighted(0.15), interval).prop_map(
        |(partitions, durability, compression, log_append_time, index_interval)| TopicShape {
            partitions,
            durability,
            compression,
            log_append_time,
            index_interval,
        },
    )
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Close),
        2 => Just(End::Drop),
        4 => Just(End::Kill),
        4 => any::<u64>().prop_map(End::PowerCut),
        2 => Just(End::PowerCutLosingEverything),
        1 => Just(End::PowerCutKeepingEverything),
        2 => any::<u64>().prop_map(End::PowerCutTwice),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let topic = || 0..3u8;
    let partition = || 0..4u8;
    prop_oneof![
        2 => topic_shape().prop_map(Step::CreateTopic),
        1 => topic().prop_map(Step::DeleteTopic),
        1 => topic().prop_map(Step::AddPartitions),
        2 => (topic(), 0..LEVELS.len(), 0..CODECS.len()).prop_map(|(t, d, c)| Step::AlterTopic(t, d, c)),
        10 => (topic(), shape(), any::<bool>()).prop_map(|(t, s, wait)| Step::Send(t, s, wait)),
        8 => (topic(), 1..60u8, shape()).prop_map(|(t, n, s)| Step::SendMany(t, n, s)),
        6 => (topic(), 0..60u8, shape()).prop_map(|(t, n, s)| Step::SendBatch(t, n, s)),
        4 => topic().prop_map(Step::Flush),
        6 => (0..2_000u16).prop_map(Step::Tick),
        4 => (topic(), partition(), timestamp()).prop_map(|(t, p, at)| Step::Lookup(t, p, at)),
        3 => (topic(), from()).prop_map(|(t, from)| Step::ReadTopic(t, from)),
        3 => (topic(), partition(), from(), 1..40u8).prop_map(|(t, p, from, n)| Step::Follow(t, p, from, n)),
        8 => any::<bool>().prop_map(Step::FollowNext),
        2 => from().prop_map(Step::FollowSeek),
        3 => (topic(), partition(), any::<u16>()).prop_map(|(t, p, at)| Step::DeleteRecords(t, p, at)),
        2 => (topic(), partition(), any::<u16>()).prop_map(|(t, p, at)| Step::Truncate(t, p, at)),
        2 => (0..6u8).prop_map(Step::DiskFull),
        6 => end().prop_map(Step::Reopen),
    ]
}

/// As many programs as the environment asks for, or `usual`.
fn programs(usual: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = usual;
    }
    if std::env::var_os("PROPTEST_MAX_SHRINK_ITERS").is_none() {
        config.max_shrink_iters = 4_000;
    }
    config
}

proptest! {
    #![proptest_config(programs(160))]

    #[test]
    fn programs_do_what_the_model_does(
        seed in any::<u64>(),
        first in topic_shape(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(seed);
        world.step(&Step::CreateTopic(first));
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Reopen(End::Close));
    }
}
