//! How records leave a log.

/// How records leave a log: by age and size, by key, or both. As text, as Kafka has it: `delete`, `compact`,
/// `compact,delete`.
///
/// ```
/// use millpond::config::CleanupPolicy;
/// assert_eq!("compact,delete".parse::<CleanupPolicy>()?, CleanupPolicy::CompactAndDelete);
/// assert_eq!(CleanupPolicy::default().to_string(), "delete");
/// assert!(CleanupPolicy::Compact.compacts() && !CleanupPolicy::Compact.deletes());
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "cleanup.policy")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CleanupPolicy {
    /// Whole segments leave at the start of the log, as the topic's retention says (for ever unless it is set).
    #[default]
    Delete,
    /// Of each key the latest record stays, for ever; one without a value (a tombstone) takes its key away.
    Compact,
    /// Of each key the latest record stays, and leaves as the topic's retention says.
    CompactAndDelete,
}

words!(CleanupPolicy, "cleanup_policy", {
    Delete = "delete",
    Compact = "compact",
    CompactAndDelete = "compact,delete",
});

impl CleanupPolicy {
    /// Whether records leave by key.
    #[must_use]
    pub const fn compacts(self) -> bool {
        matches!(self, CleanupPolicy::Compact | CleanupPolicy::CompactAndDelete)
    }

    /// Whether records leave by age and size.
    #[must_use]
    pub const fn deletes(self) -> bool {
        matches!(self, CleanupPolicy::Delete | CleanupPolicy::CompactAndDelete)
    }
}
