//! Records of the topic `__transaction_state`: what is known of each transactional id.
//!
//! ```text
//!   key    version i16 = 0 | transactional id
//!   value  version i16 = 1 | producer id i64 | epoch i16 | timeout i32 | status i8
//!          | partitions: (topic, numbers)* or null | updated i64 | started i64 | tagged fields
//! ```
//!
//! Kafka's tags: 0 the producer id before, 1 the next one, 2 the version of transactions. Our own, from
//! [`OWN_TAGS`] on: the committed transactions before this one, some of whose markers may not be durable yet.
//!
//! Invariants: version 0 (not flexible) is read, too; counts are checked before anything is allocated; a key of
//! another version is [`StateKey::Other`] and left alone.

use super::FormatError;
use super::offsets_topic::OWN_TAGS;
use super::offsets_topic::fields::{Fields, Writer};

type Result<T> = std::result::Result<T, FormatError>;

/// What a record of the topic is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateKey {
    /// A transactional id.
    Id(String),
    /// Of another version: left alone.
    Other(i16),
}

/// Where a transactional id stands, as Kafka numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxnStatus {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

/// Partitions of one topic.
pub(crate) type OfTopic = (String, Vec<u32>);

/// A transaction that was committed, and the partitions in which its marker may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommittedEarlier {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) partitions: Vec<OfTopic>,
}

/// The value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TxnState {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) status: TxnStatus,
    /// Of the transaction that is open or decided.
    pub(crate) partitions: Vec<OfTopic>,
    /// Milliseconds.
    pub(crate) updated: i64,
    /// Milliseconds; -1 none.
    pub(crate) started: i64,
    pub(crate) earlier: Vec<CommittedEarlier>,
}

impl StateKey {
    /// The bytes.
    pub(crate) fn encode(id: &str) -> Vec<u8> {
        Writer::new(0).string(id).bytes()
    }

    /// The key in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<StateKey> {
        let mut fields = Fields::of(bytes);
        match fields.i16()? {
            0 => {
                let id = fields.string()?.to_owned();
                fields.end()?;
                Ok(StateKey::Id(id))
            }
            other => Ok(StateKey::Other(other)),
        }
    }
}

impl TxnStatus {
    const ALL: [TxnStatus; 8] = [
        TxnStatus::Empty,
        TxnStatus::Ongoing,
        TxnStatus::PrepareCommit,
        TxnStatus::PrepareAbort,
        TxnStatus::CompleteCommit,
        TxnStatus::CompleteAbort,
        TxnStatus::Dead,
        TxnStatus::PrepareEpochFence,
    ];

    fn id(self) -> i8 {
        self as i8
    }

    fn of_id(id: i8) -> Result<TxnStatus> {
        let found = usize::try_from(id).ok().and_then(|id| TxnStatus::ALL.get(id));
        found.copied().ok_or(FormatError::BadVersion(id.into()))
    }
}

const VERSION: i16 = 1;
const EARLIER: u32 = OWN_TAGS;

impl TxnState {
    /// The bytes, version 1.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let earlier = (!self.earlier.is_empty()).then(|| (EARLIER, encode_earlier(&self.earlier)));
        let tagged: Vec<_> = earlier.into_iter().collect();
        let writer = Writer::new(VERSION).i64(self.producer_id).i16(self.epoch).i32(self.timeout_ms);
        let writer = topics(writer.i8(self.status.id()), &self.partitions);
        writer.i64(self.updated).i64(self.started).tagged(&tagged).bytes()
    }

    /// The value in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<TxnState> {
        let mut fields = Fields::of(bytes);
        let flexible = match fields.i16()? {
            0 => false,
            VERSION => true,
            later if later > VERSION => {
                return Err(FormatError::NewerVersion { found: later as u16, known: VERSION as u16 });
            }
            never => return Err(FormatError::BadVersion(never.into())),
        };
        let (producer_id, epoch) = (fields.i64()?, fields.i16()?);
        let (timeout_ms, status) = (fields.i32()?, TxnStatus::of_id(fields.i8()?)?);
        let partitions = if flexible { read_topics(&mut fields)? } else { read_plain_topics(&mut fields)? };
        let (updated, started) = (fields.i64()?, fields.i64()?);
        let mut earlier = Vec::new();
        if flexible {
            fields.tagged(|tag, field| {
                if tag == EARLIER {
                    earlier = decode_earlier(field)?;
                }
                Ok(())
            })?;
        }
        fields.end()?;
        Ok(TxnState { producer_id, epoch, timeout_ms, status, partitions, updated, started, earlier })
    }
}

/// A flexible array of topics; null where there is none.
fn topics(writer: Writer, topics: &[OfTopic]) -> Writer {
    if topics.is_empty() {
        return writer.null_array();
    }
    writer.array(topics, |writer, (topic, numbers)| {
        let named = writer.compact_string(topic);
        let numbered =
            named.array(numbers, |writer, number| writer.i32(i32::try_from(*number).unwrap_or(-1)));
        numbered.tagged(&[])
    })
}

fn read_topics(fields: &mut Fields<'_>) -> Result<Vec<OfTopic>> {
    let mut found = Vec::new();
    for _ in 0..fields.nullable_count(3)? {
        let topic = fields.compact_string()?.to_owned();
        let count = fields.count(4)?;
        let numbers = (0..count).map(|_| number(fields)).collect::<Result<_>>()?;
        fields.skip_tagged()?;
        found.push((topic, numbers));
    }
    Ok(found)
}

fn read_plain_topics(fields: &mut Fields<'_>) -> Result<Vec<OfTopic>> {
    let mut found = Vec::new();
    for _ in 0..fields.plain_count(6)? {
        let topic = fields.string()?.to_owned();
        let count = fields.plain_count(4)?;
        found.push((topic, (0..count).map(|_| number(fields)).collect::<Result<_>>()?));
    }
    Ok(found)
}

fn number(fields: &mut Fields<'_>) -> Result<u32> {
    u32::try_from(fields.i32()?).map_err(|_| FormatError::BadCount)
}

fn encode_earlier(earlier: &[CommittedEarlier]) -> Vec<u8> {
    let writer = Writer::default().array(earlier, |writer, one| {
        topics(writer.i64(one.producer_id).i16(one.epoch), &one.partitions).tagged(&[])
    });
    writer.bytes()
}

fn decode_earlier(fields: &mut Fields<'_>) -> Result<Vec<CommittedEarlier>> {
    let count = fields.count(12)?;
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let (producer_id, epoch) = (fields.i64()?, fields.i16()?);
        let partitions = read_topics(fields)?;
        fields.skip_tagged()?;
        found.push(CommittedEarlier { producer_id, epoch, partitions });
    }
    fields.end()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn keys_and_values_are_kafkas() {
        assert_eq!(StateKey::encode("t1"), hex("0000 0002 7431"));
        assert_eq!(StateKey::decode(&hex("0000 0002 7431")).unwrap(), StateKey::Id("t1".into()));
        assert_eq!(StateKey::decode(&hex("0007 01")).unwrap(), StateKey::Other(7));
        // A value of version 1 with Kafka's own tags, which we skip, and one of version 0.
        let middle = "00000000000003e8 0005 0000ea60 02";
        let times = "0000018bcfe56800 0000018bcfe56801";
        let tags = "02 01 08 ffffffffffffffff 02 02 0002";
        let flexible = hex(&format!("0001 {middle} 02 02 61 03 00000000 00000002 00 {times} {tags}"));
        let plain = hex(&format!("0000 {middle} 00000001 0001 61 00000002 00000000 00000002 {times}"));
        let expected = TxnState {
            producer_id: 1000,
            epoch: 5,
            timeout_ms: 60_000,
            status: TxnStatus::PrepareCommit,
            partitions: vec![("a".into(), vec![0, 2])],
            updated: 0x018b_cfe5_6800,
            started: 0x018b_cfe5_6801,
            earlier: Vec::new(),
        };
        assert_eq!(TxnState::decode(&flexible).unwrap(), expected);
        assert_eq!(TxnState::decode(&plain).unwrap(), expected);
        let bare = hex(&format!("0001 {middle} 02 02 61 03 00000000 00000002 00 {times} 00"));
        assert_eq!(expected.encode(), bare);
        let none = TxnState { partitions: Vec::new(), ..expected };
        assert_eq!(none.encode(), hex(&format!("0001 {middle} 00 {times} 00")));
        assert_eq!(TxnState::decode(&hex(&format!("0000 {middle} ffffffff {times}"))).unwrap(), none);
    }

    #[test]
    fn hostile_values_are_refused() {
        let middle = "00000000000003e8 0005 0000ea60";
        let huge = hex(&format!("0001 {middle} 02 ffffffff0f"));
        assert_eq!(TxnState::decode(&huge).unwrap_err(), FormatError::Truncated);
        let huge = hex(&format!("0000 {middle} 02 7fffffff"));
        assert_eq!(TxnState::decode(&huge).unwrap_err(), FormatError::Truncated);
        let status = hex(&format!("0001 {middle} 09 00 {} 00", "00".repeat(16)));
        assert_eq!(TxnState::decode(&status).unwrap_err(), FormatError::BadVersion(9));
        let newer = TxnState::decode(&hex("0002")).unwrap_err();
        assert_eq!(newer, FormatError::NewerVersion { found: 2, known: 1 });
    }

    fn of_topic() -> impl Strategy<Value = OfTopic> {
        ("[a-z]{1,6}", prop::collection::vec(0..i32::MAX as u32, 1..4))
    }

    proptest! {
        #[test]
        fn values_round_trip(
            numbers in (any::<i64>(), any::<i16>(), any::<i32>(), 0i8..8, any::<i64>(), any::<i64>()),
            partitions in prop::collection::vec(of_topic(), 0..4),
            earlier in prop::collection::vec((any::<i64>(), any::<i16>(), prop::collection::vec(of_topic(), 0..3)), 0..3),
        ) {
            let (producer_id, epoch, timeout_ms, status, updated, started) = numbers;
            let status = TxnStatus::of_id(status).unwrap();
            let earlier = earlier
                .into_iter()
                .map(|(producer_id, epoch, partitions)| CommittedEarlier { producer_id, epoch, partitions })
                .collect();
            let state =
                TxnState { producer_id, epoch, timeout_ms, status, partitions, updated, started, earlier };
            prop_assert_eq!(TxnState::decode(&state.encode()).unwrap(), state);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = TxnState::decode(&bytes);
            let _ = StateKey::decode(&bytes);
        }
    }
}
