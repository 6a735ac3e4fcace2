//! One `.log` file looked at by itself, wherever it lies: what `kafka-dump-log` does.
//!
//! ```text
//!   | batch | batch | batch | zeros: an unsealed batch, or room prepared ahead |
//!    ^ next_batch --> ...    ^ None
//! ```
//!
//! Invariants
//! - Nothing is written, no lock is taken, nothing beside the file is looked at.
//! - A batch with a wrong checksum is still shown, with the records that can be read; bytes that are no
//!   batch at all end the walk with `Corrupted`.
//! - Memory is bounded by the file's own batches, and by [`MAX_DECOMPRESSED`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::unfinished::Unfinished;
use crate::env::{Environment, File, OpenMode, read_exact_at};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::batch::{BatchHeader, BatchView, HEADER_LEN, Records};
use crate::format::record::RecordRef;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// The greatest batch that is decompressed, in bytes: as large as the greatest record that a topic allows.
const MAX_DECOMPRESSED: usize = 1 << 30;

/// A `.log` file, read batch by batch from its start.
///
/// ```
/// use millpond::prelude::*;
/// use millpond::LogFile;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
/// clicks.producer()?.send(Record::new("/home").key("alice"))?.wait()?;
/// broker.close().wait()?;
///
/// let mut file = LogFile::open(dir.path().join("clicks-0/00000000000000000000.log"))?;
/// let batch = file.next_batch()?.expect("one batch was stored");
/// assert!(batch.crc_is_valid());
/// for record in batch.records() {
///     let record = record?;
///     assert_eq!((record.key(), record.value()), (Some(&b"alice"[..]), Some(&b"/home"[..])));
/// }
/// assert!(file.next_batch()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Arc<dyn File>,
    size: u64,
    position: u64,
}

/// A batch in a [`LogFile`].
#[derive(Debug)]
pub struct LoggedBatch {
    path: PathBuf,
    position: u64,
    header: BatchHeader,
    crc_is_valid: bool,
    /// The records back to back, or why they cannot be had.
    payload: std::result::Result<Vec<u8>, FormatError>,
}

/// A record in a [`LoggedBatch`].
#[derive(Clone, Copy, Debug)]
pub struct LoggedRecord<'a> {
    header: &'a BatchHeader,
    record: RecordRef<'a>,
}

impl LogFile {
    /// Opens a file to look at it.
    ///
    /// # Errors
    /// `Io` if it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<LogFile> {
        LogFile::open_in(&Environment::system(), path.as_ref())
    }

    fn open_in(environment: &Environment, path: &Path) -> Result<LogFile> {
        let io = |e| Error::io("open a log file", path, e);
        let file = environment.files().open(path, OpenMode::Read).map_err(io)?;
        let size = file.size().map_err(io)?;
        Ok(LogFile { path: path.to_path_buf(), file, size, position: 0 })
    }

    /// The size of the file when it was opened, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Where the next batch begins, in bytes from the start.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What the file is, and what the next opening of its broker does with it, where its name says that something was
    /// begun and not finished: it ends in `.deleted`, `.cleaned`, `.swap`, `.entering` or `.tmp`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::LogFile;
    ///
    /// let path = dir.path().join("00000000000000000000.log.deleted");
    /// # std::fs::write(&path, b"")?;
    /// let file = LogFile::open(&path)?;
    /// assert_eq!(file.fate(), Some("of a segment on its way out: the next opening deletes it"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fate(&self) -> Option<&'static str> {
        let name = self.path.file_name()?.to_str()?;
        Unfinished::of(name).map(Unfinished::fate)
    }

    /// The next batch; `None` at the end of the file, and where zeros stand in place of a header: what
    /// follows is a batch that was not sealed, or room that was prepared ahead.
    ///
    /// # Errors
    /// `Corrupted` names file and position where what follows is no batch; `Io` if reading fails.
    pub fn next_batch(&mut self) -> Result<Option<LoggedBatch>> {
        let left = self.size - self.position;
        let head = self.read(left.min(HEADER_LEN as u64))?;
        if head.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let header = BatchHeader::parse(&head).map_err(|e| self.damaged(e))?;
        let len = header.total_len() as u64;
        if len > left {
            return Err(self.damaged(format_args!("a batch of {len} bytes where {left} are left")));
        }
        let bytes = self.read(len)?;
        let batch = self.batch(&bytes)?;
        self.position += len;
        Ok(Some(batch))
    }

    fn batch(&self, bytes: &[u8]) -> Result<LoggedBatch> {
        let view = BatchView::parse(bytes).map_err(|e| self.damaged(e))?;
        Ok(LoggedBatch {
            path: self.path.clone(),
            position: self.position,
            header: view.header,
            crc_is_valid: view.check_crc().is_ok(),
            payload: view.decompressed(MAX_DECOMPRESSED).map(|payload| payload.into_owned()),
        })
    }

    fn read(&self, len: u64) -> Result<Vec<u8>> {
        let io = |e| Error::io("read a log file", &self.path, e);
        let len = usize::try_from(len).map_err(|_| io(std::io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes = vec![0; len];
        read_exact_at(&*self.file, &mut bytes, self.position).map_err(io)?;
        Ok(bytes)
    }

    fn damaged(&self, why: impl std::fmt::Display) -> Error {
        Error::corrupted(&self.path, self.position, why)
    }
}

impl LoggedBatch {
    /// Where it begins in the file, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How long it is in the file, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.header.total_len() as u64
    }

    /// The offset of its first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        offset(self.header.base_offset)
    }

    /// The offset of its last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        offset(self.header.last_offset())
    }

    /// How many records it holds; fewer than its offsets after compaction.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.header.records_count).unwrap_or_default()
    }

    /// The epoch of the leader that appended it.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.header.leader_epoch)
    }

    /// Who produced it, if it was an idempotent producer.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(self.header.producer_id)
    }

    /// The epoch of that producer.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.header.producer_epoch)
    }

    /// The sequence numbers of its first and last record; `None` without an idempotent producer.
    #[must_use]
    pub fn sequences(&self) -> Option<(i32, i32)> {
        (self.header.base_sequence >= 0).then(|| (self.header.base_sequence, self.header.last_sequence()))
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header.attributes.is_transactional()
    }

    /// Whether its records are markers for the log itself.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.header.attributes.is_control()
    }

    /// Whether its timestamps are those of the append, not those of the sender.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.header.attributes.is_log_append_time()
    }

    /// From when on compaction may drop its tombstones and markers, if that is set.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        let set = self.header.attributes.has_delete_horizon();
        set.then(|| Timestamp::from_millis(self.header.base_timestamp))
    }

    /// The greatest timestamp in it.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.header.max_timestamp)
    }

    /// The version of its format.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.header.magic
    }

    /// The name of the codec that its records are compressed with; `none` if they are not.
    #[must_use]
    pub fn compression(&self) -> &'static str {
        self.header.attributes.codec().map_or("unknown", |codec| codec.name())
    }

    /// The checksum that stands in it.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.header.crc
    }

    /// Whether that is the checksum of its bytes.
    #[must_use]
    pub fn crc_is_valid(&self) -> bool {
        self.crc_is_valid
    }

    /// Its records. After an error there are no more.
    ///
    /// Each item is `Corrupted` where a record cannot be read, or `UnsupportedFormat` where this build
    /// lacks the codec.
    pub fn records(&self) -> impl Iterator<Item = Result<LoggedRecord<'_>>> {
        let (payload, failed) = match &self.payload {
            Ok(payload) => (payload.as_slice(), None),
            Err(error) => (&[][..], Some(error.clone())),
        };
        let records = failed.is_none().then(|| Records::new(&self.header, payload));
        let found = failed.map(Err).into_iter().chain(records.into_iter().flatten());
        found.map(|record| match record {
            Ok(record) => Ok(LoggedRecord { header: &self.header, record }),
            Err(error) => Err(self.unreadable(error)),
        })
    }

    fn unreadable(&self, error: FormatError) -> Error {
        match error {
            FormatError::UnsupportedCodec(_) => Error::unsupported(error.to_string()).at_path(&self.path),
            error => Error::corrupted(&self.path, self.position, error),
        }
    }
}

impl<'a> LoggedRecord<'a> {
    /// Its offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        offset(self.header.offset_of(self.record.offset_delta))
    }

    /// Its timestamp.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.header.timestamp_of(self.record.timestamp_delta))
    }

    /// Its key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key
    }

    /// Its value; `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value
    }

    /// Its headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        self.record.headers.iter().map(|header| (header.key, header.value))
    }
}

/// A header that was parsed has no negative offset.
fn offset(value: i64) -> Offset {
    Offset::of(u64::try_from(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::codec::Record;
    use crate::config::{Background, BrokerConfig, Durability, TopicConfig};
    use crate::env::sim::SimEnvironment;
    use crate::env::{read_whole, write_all_at};
    use crate::error::ErrorKind;

    /// Where a log with three batches lies, of which the last two hold a record each.
    fn stored() -> (Environment, &'static Path) {
        let environment = SimEnvironment::new(1).environment();
        let broker = Broker::builder("/d").environment(environment.clone());
        let broker = broker.config(BrokerConfig::new().background(Background::Manual)).open().unwrap();
        let config = TopicConfig::new().durability(Durability::Sync);
        let producer = broker.create_topic("t", config).unwrap().producer().unwrap();
        let records =
            [Record::new("a").key("k"), Record::new("b").key("l").header("h", b"1").header("h", b"2")];
        producer.send_batch(records).unwrap().wait().unwrap();
        producer.send(Record::tombstone().key("k")).unwrap().wait().unwrap();
        producer.send(Record::new("c")).unwrap().wait().unwrap();
        broker.close().wait().unwrap();
        (environment, Path::new("/d/t-0/00000000000000000000.log"))
    }

    /// Reads to the end: how many batches, how many records of intact ones, and the error, if one came.
    fn walk(environment: &Environment, path: &Path) -> (usize, usize, Option<Error>) {
        let mut file = LogFile::open_in(environment, path).unwrap();
        let (mut batches, mut records) = (0, 0);
        loop {
            match file.next_batch() {
                Ok(Some(batch)) => {
                    batches += 1;
                    let found = batch.records().filter(|record| record.is_ok()).count();
                    records += if batch.crc_is_valid() { found } else { 0 };
                }
                Ok(None) => return (batches, records, None),
                Err(error) => return (batches, records, Some(error)),
            }
        }
    }

    #[test]
    fn batches_come_with_their_records() {
        let (environment, path) = stored();
        let mut file = LogFile::open_in(&environment, path).unwrap();
        let first = file.next_batch().unwrap().unwrap();
        assert_eq!((first.position(), first.base_offset().get(), first.last_offset().get()), (0, 0, 1));
        assert_eq!((first.count(), first.magic(), first.compression()), (2, 2, "none"));
        assert_eq!((first.sequences(), first.delete_horizon()), (None, None));
        assert!(!first.is_control() && !first.is_transactional() && !first.is_log_append_time());
        let records: Vec<_> = first.records().map(|record| record.unwrap()).collect();
        assert_eq!(
            records[1].headers().collect::<Vec<_>>(),
            [("h", Some(&b"1"[..])), ("h", Some(&b"2"[..]))]
        );

        let second = file.next_batch().unwrap().unwrap();
        assert_eq!(second.position(), first.size_bytes());
        let tombstone = second.records().next().unwrap().unwrap();
        assert_eq!(
            (tombstone.offset().get(), tombstone.key(), tombstone.value()),
            (2, Some(&b"k"[..]), None)
        );
        assert!(tombstone.timestamp() <= second.max_timestamp());
        assert_eq!(walk(&environment, path).0, 3);
    }

    #[test]
    fn every_length_and_every_flipped_bit_is_told_or_harmless() {
        let (environment, path) = stored();
        let file = environment.files().open(path, OpenMode::ReadWrite).unwrap();
        let whole = read_whole(&*file, 1 << 20).unwrap();
        let write = |bytes: &[u8]| {
            file.set_size(0).unwrap();
            write_all_at(&*file, bytes, 0).unwrap();
        };
        let ends: Vec<usize> = {
            let mut file = LogFile::open_in(&environment, path).unwrap();
            let mut ends = vec![0];
            while file.next_batch().unwrap().is_some() {
                ends.push(usize::try_from(file.position()).unwrap());
            }
            ends
        };
        for len in 0..whole.len() {
            write(&whole[..len]);
            let (batches, _, error) = walk(&environment, path);
            assert_eq!(batches, ends.iter().filter(|end| **end <= len).count() - 1, "length {len}");
            // A base offset begins with zeros, so the first bytes of a header look like room to come.
            let inside = !ends.contains(&len);
            assert!(inside || error.is_none(), "length {len}: {error:?}");
            assert!(error.is_none_or(|error| error.kind() == ErrorKind::Corrupted), "length {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            write(&bytes);
            let (batches, records, error) = walk(&environment, path);
            // What the checksum does not cover: base offset and leader epoch. A length is told by what follows.
            let at = bit / 8 - ends.iter().rfind(|end| **end <= bit / 8).unwrap();
            let uncovered = at < 8 || (12..16).contains(&at);
            assert!(
                uncovered || records < 4 || error.is_some(),
                "bit {bit}: {batches} batches, {records} records"
            );
        }
    }
}
