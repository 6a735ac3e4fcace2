//! What becomes of records whose key or value cannot be decoded.
//!
//! ```text
//!   decode --fails--> Stop:    the error; the position stays at the record
//!                     Skip:    none; the position passes it
//!                     Divert:  original key, value, headers --> dead-letter topic, as durable as that promises
//!                              + dead_letter.{topic,partition,offset,group,error}   then as Skip
//! ```
//!
//! Invariant: what is passed over has been skipped on purpose, or is in the dead-letter topic.

use std::sync::atomic::{AtomicU64, Ordering};

use super::record_view::RecordView;
use crate::codec::{EncodeKey, EncodeValue, Raw, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::producer::Producer;
use crate::types::TopicName;

/// What a consumer does with a record whose key or value cannot be decoded; see
/// [`Consumer::decode`](crate::consumer::Consumer::decode).
///
/// ```
/// use millpond::consumer::Undecodable;
/// let to = Undecodable::divert_to("orders.dead")?;
/// assert!(Undecodable::divert_to("not a name").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Undecodable {
    /// The error is told, and the position stays at the record: `seek` passes it.
    #[default]
    Stop,
    /// It is passed over.
    Skip,
    /// It is sent to this topic, its dead letters, and passed over when that holds it.
    #[doc(alias = "dead letter queue")]
    Divert(TopicName),
}

impl Undecodable {
    /// The header of a dead letter that names the topic it was read from.
    pub const TOPIC: &'static str = "dead_letter.topic";
    /// The header that names the partition, in digits.
    pub const PARTITION: &'static str = "dead_letter.partition";
    /// The header that names the offset, in digits.
    pub const OFFSET: &'static str = "dead_letter.offset";
    /// The header that names the group that read it.
    pub const GROUP: &'static str = "dead_letter.group";
    /// The header that says what was wrong.
    pub const ERROR: &'static str = "dead_letter.error";

    /// Dead letters go to this topic, which must exist when the group is joined. They have the key, value,
    /// headers and timestamp of the original, and headers that say where it was and what was wrong.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks.
    pub fn divert_to(topic: impl AsRef<str>) -> Result<Undecodable> {
        Ok(Undecodable::Divert(TopicName::new(topic.as_ref())?))
    }
}

/// The policy of one consumer.
#[derive(Debug)]
pub(crate) struct BadRecords {
    group: String,
    policy: Policy,
    passed_over: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Policy {
    Stop,
    Skip,
    Divert(Producer),
}

impl BadRecords {
    pub(crate) fn new(group: &str, policy: Policy) -> BadRecords {
        BadRecords { group: group.to_owned(), policy, passed_over: AtomicU64::new(0) }
    }

    /// How many records have been skipped or diverted.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// A record could not be decoded: whether it is passed over.
    pub(super) fn pass_over<K, V>(&self, record: &RecordView<'_, K, V>, error: Error) -> Result<()> {
        if !is_of_codec(&error) {
            return Err(error);
        }
        match &self.policy {
            Policy::Stop => return Err(error),
            Policy::Skip => {}
            Policy::Divert(producer) => self.divert(producer, record, &error)?,
        }
        self.passed_over.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What a closure that processes a record has answered: its error is none if it could not decode the record,
    /// and that is passed over.
    pub(super) fn excuse<K, V>(
        &self,
        record: &RecordView<'_, K, V>,
        error: Box<dyn std::error::Error + Send + Sync>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let error = error.downcast::<Error>()?;
        let is_here = error.topic_partition() == Some(record.topic_partition())
            && error.offset() == Some(record.offset());
        if !is_here {
            return Err(error);
        }
        Ok(self.pass_over(record, *error)?)
    }

    fn divert<K, V>(&self, producer: &Producer, record: &RecordView<'_, K, V>, error: &Error) -> Result<()> {
        let why = format!("{error:#}");
        let (partition, offset) = (record.partition().to_string(), record.offset().to_string());
        let labels = [
            (Undecodable::TOPIC, record.topic_partition().topic().as_str()),
            (Undecodable::PARTITION, &partition),
            (Undecodable::OFFSET, &offset),
            (Undecodable::GROUP, &self.group),
            (Undecodable::ERROR, &why),
        ];
        match (record.raw_key(), record.raw_value()) {
            (Some(key), Some(value)) => send(producer, Record::new(value).key(key), record, &labels),
            (None, Some(value)) => send(producer, Record::new(value), record, &labels),
            (Some(key), None) => send(producer, Record::tombstone().key(key), record, &labels),
            // A record cannot be sent without both.
            (None, None) => send(producer, Record::new(&b""[..]), record, &labels),
        }
    }
}

/// Whether an error says that a record could not be decoded.
fn is_of_codec(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Codec | ErrorKind::NullValue)
}

/// Sends a dead letter, and waits until it is held.
fn send<'a, DK, DV, K, V>(
    producer: &Producer,
    mut letter: Record<'a, DV, DK>,
    original: &RecordView<'a, K, V>,
    labels: &[(&'a str, &'a str)],
) -> Result<()>
where
    DV: EncodeValue<Raw>,
    DK: EncodeKey<Raw>,
{
    for (name, value) in original.headers() {
        letter = match value {
            Some(value) => letter.header(name, value),
            None => letter.null_header(name),
        };
    }
    for (name, value) in labels {
        letter = letter.header(name, *value);
    }
    producer.send(letter.timestamp(original.timestamp()))?.wait()?;
    Ok(())
}
