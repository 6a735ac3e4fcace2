//! `dump`: the batches and records of one `.log` file, or the aborted transactions of a `.txnindex` file, as
//! `kafka-dump-log` prints them.
//!
//! Invariant: the file may lie anywhere and be in use; it is only read.

use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use millpond::{LogFile, LoggedBatch, LoggedRecord};

use crate::failure::{DONE, FAILED, Failure, Outcome, say};

/// Print the batches and records of a .log file, or the aborted ranges of a .txnindex file, as kafka-dump-log does.
#[derive(Debug, clap::Args)]
pub(crate) struct Dump {
    /// The files.
    #[arg(value_name = "FILE.log", required = true)]
    files: Vec<PathBuf>,
    /// Print the batches only.
    #[arg(long)]
    batches_only: bool,
}

impl Dump {
    /// Prints the files. Exit code 1 if a batch is damaged.
    pub(crate) fn run(self) -> Outcome {
        let mut out = BufWriter::new(stdout().lock());
        let mut code = DONE;
        for path in &self.files {
            code = code.max(self.dump(path.clone(), &mut out)?);
        }
        out.flush().map_err(|e| Failure::output(&e))?;
        Ok(code)
    }

    fn dump(&self, path: PathBuf, out: &mut impl Write) -> Outcome {
        if path.extension().is_some_and(|extension| extension == "txnindex") {
            return dump_aborted(&path, out);
        }
        let mut file = LogFile::open(&path)?;
        let output = |e| Failure::output(&e);
        writeln!(out, "Dumping {}", path.display()).map_err(output)?;
        if let Some(fate) = file.fate() {
            writeln!(out, "This is a file {fate}").map_err(output)?;
        }
        let mut code = DONE;
        loop {
            let batch = match file.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => {
                    out.flush().map_err(output)?;
                    return Err(error.into());
                }
            };
            code = code.max(self.print(&batch, out)?);
        }
        let rest = file.size_bytes() - file.position();
        if rest > 0 {
            let at = file.position();
            writeln!(out, "position: {at} size: {rest} not sealed: an open batch, or room prepared ahead")
                .map_err(output)?;
        }
        Ok(code)
    }

    fn print(&self, batch: &LoggedBatch, out: &mut impl Write) -> Outcome {
        print_batch(batch, out).map_err(|e| Failure::output(&e))?;
        let mut code = if batch.crc_is_valid() { DONE } else { FAILED };
        if self.batches_only {
            return Ok(code);
        }
        for (record, sequence) in batch.records().zip(sequences(batch)) {
            match record {
                Ok(record) => print_record(batch, &record, sequence, out).map_err(|e| Failure::output(&e))?,
                Err(error) => {
                    out.flush().map_err(|e| Failure::output(&e))?;
                    say(error);
                    code = FAILED;
                }
            }
        }
        Ok(code)
    }
}

fn print_batch(batch: &LoggedBatch, out: &mut impl Write) -> std::io::Result<()> {
    let (first, last) = batch.sequences().unwrap_or((-1, -1));
    write!(
        out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {first} lastSequence: {last} ",
        batch.base_offset(),
        batch.last_offset(),
        batch.count()
    )?;
    write!(
        out,
        "producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} ",
        batch.producer_id().get(),
        batch.producer_epoch().get(),
        batch.leader_epoch().get(),
        batch.is_transactional(),
        batch.is_control()
    )?;
    match batch.delete_horizon() {
        Some(horizon) => write!(out, "deleteHorizonMs: OptionalLong[{horizon}] ")?,
        None => write!(out, "deleteHorizonMs: OptionalLong.empty ")?,
    }
    writeln!(
        out,
        "position: {} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
        batch.position(),
        timestamp_name(batch),
        batch.max_timestamp(),
        batch.size_bytes(),
        batch.magic(),
        batch.compression(),
        batch.crc(),
        batch.crc_is_valid()
    )
}

fn print_record(
    batch: &LoggedBatch,
    record: &LoggedRecord<'_>,
    sequence: i32,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let size = |bytes: Option<&[u8]>| bytes.map_or("-1".into(), |bytes| bytes.len().to_string());
    let names: Vec<&str> = record.headers().map(|(name, _)| name).collect();
    write!(
        out,
        "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
        record.offset(),
        timestamp_name(batch),
        record.timestamp(),
        size(record.key()),
        size(record.value()),
        names.join(",")
    )?;
    if let (true, Some(marker)) = (batch.is_control(), marker(record)) {
        return writeln!(out, " {marker}");
    }
    for (name, bytes) in [("key", record.key()), ("payload", record.value())] {
        if let Some(bytes) = bytes {
            write!(out, " {name}: {}", bytes.escape_ascii())?;
        }
    }
    writeln!(out)
}

/// The sequence number of each record; -1 without an idempotent producer.
fn sequences(batch: &LoggedBatch) -> impl Iterator<Item = i32> {
    let first = batch.sequences().map(|(first, _)| first);
    // Sequence numbers go from the greatest i32 on to 0.
    (0i32..=i32::MAX).map(move |n| first.map_or(-1, |first| first.wrapping_add(n) & i32::MAX))
}

fn timestamp_name(batch: &LoggedBatch) -> &'static str {
    if batch.is_log_append_time() { "LogAppendTime" } else { "CreateTime" }
}

/// What a control record says, if it ends a transaction.
fn marker(record: &LoggedRecord<'_>) -> Option<String> {
    let (key, value) = (record.key()?, record.value()?);
    let outcome = match key.get(2..4)? {
        [0, 0] => "ABORT",
        [0, 1] => "COMMIT",
        _ => return None,
    };
    let epoch = i32::from_be_bytes(value.get(2..6)?.try_into().ok()?);
    Some(format!("endTxnMarker: {outcome} coordinatorEpoch: {epoch}"))
}

/// The aborted transactions of a segment: entries of 34 bytes.
fn dump_aborted(path: &Path, out: &mut impl Write) -> Outcome {
    let bytes = std::fs::read(path).map_err(|e| Failure::io("read", path, &e))?;
    let output = |e| Failure::output(&e);
    writeln!(out, "Dumping {}", path.display()).map_err(output)?;
    let mut entries = bytes.chunks_exact(34);
    for entry in &mut entries {
        let word = |at: usize| entry[at..].first_chunk().map_or(-1, |bytes| i64::from_be_bytes(*bytes));
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        writeln!(
            out,
            "version: {version} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            word(2),
            word(10),
            word(18),
            word(26)
        )
        .map_err(output)?;
    }
    if entries.remainder().is_empty() {
        return Ok(DONE);
    }
    out.flush().map_err(output)?;
    say(format_args!("{}: the last entry is cut off", path.display()));
    Ok(FAILED)
}
