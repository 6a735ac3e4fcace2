//! Choices among a few words.

/// Which time a record's timestamp is. As text: `create`, `log_append`.
///
/// ```
/// use millpond::config::TimestampType;
/// assert_eq!(TimestampType::default().to_string(), "create");
/// ```
#[doc(alias = "message.timestamp.type")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The one its producer gave, or the time of its `send`.
    #[default]
    Create,
    /// The time at which its batch was opened in the log.
    LogAppend,
}

words!(TimestampType, "timestamp_type", { Create = "create", LogAppend = "log_append" });

/// When the checksum of a batch is computed again on reading. As text: `once`, `always`, `never`.
///
/// ```
/// use millpond::config::CrcCheck;
/// assert_eq!("always".parse::<CrcCheck>()?, CrcCheck::Always);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "check.crcs")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CrcCheck {
    /// Before a batch that this process did not write is lent for the first time.
    #[default]
    Once,
    /// Each time a batch is read.
    Always,
    /// Not at all: damaged bytes are lent as they are.
    Never,
}

words!(CrcCheck, "crc_check", { Once = "once", Always = "always", Never = "never" });

/// Which records of transactions a reader is handed. As text: `read_committed`, `read_uncommitted`.
///
/// ```
/// use millpond::config::Isolation;
/// assert_eq!("read_committed".parse::<Isolation>()?, Isolation::ReadCommitted);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "isolation.level")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Those of committed ones only, in the order of the log: it stops before the oldest transaction that is open.
    ReadCommitted,
    /// All, also those of open and aborted ones.
    ReadUncommitted,
}

words!(Isolation, "isolation", { ReadCommitted = "read_committed", ReadUncommitted = "read_uncommitted" });

/// How bytes of the log are reached. As text: `mapped`, `buffered`.
///
/// ```
/// use millpond::config::ReadMode;
/// assert_eq!(ReadMode::default(), ReadMode::Mapped);
/// assert_eq!("buffered".parse::<ReadMode>()?, ReadMode::Buffered);
/// # Ok::<(), millpond::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// Through maps of the segments, without a copy. An error of the disk is a signal that ends the process.
    #[default]
    Mapped,
    /// Through `pread` into buffers: for disks and network file systems where an error must stay an error.
    Buffered,
}

words!(ReadMode, "read_mode", { Mapped = "mapped", Buffered = "buffered" });

/// Who does the broker's upkeep (timers, flushes, retention). As text: `threads`, `manual`.
///
/// ```
/// use millpond::config::Background;
/// assert_eq!(Background::default(), Background::Threads);
/// ```
#[doc(alias = "background.threads")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Background {
    /// Threads of the broker.
    #[default]
    Threads,
    /// The host, by calling `Broker::tick`: no thread is started, so that tests decide what happens when.
    Manual,
}

words!(Background, "background", { Threads = "threads", Manual = "manual" });

/// How a partition is chosen for a record that names none. As text: `hash_key`, `sticky`, `round_robin`.
///
/// ```
/// use millpond::config::Partitioning;
/// assert_eq!(Partitioning::default().to_string(), "hash_key");
/// ```
#[doc(alias = "partitioner.class")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Partitioning {
    /// Records of one key go to one partition, by Kafka's own hash; records without a key as `Sticky`.
    #[default]
    HashKey,
    /// A batch's worth of records goes to one partition, then another is chosen; keys do not matter.
    #[doc(alias = "partitioner.ignore.keys")]
    Sticky,
    /// Each record goes to the partition after the last one's; keys do not matter.
    RoundRobin,
}

words!(Partitioning, "partitioning", { HashKey = "hash_key", Sticky = "sticky", RoundRobin = "round_robin" });
