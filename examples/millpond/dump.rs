//! `dump`: the batches and records of one `.log` file, as `kafka-dump-log` prints them.
//!
//! Invariant: the file may lie anywhere and be in use; it is only read.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use millpond::{LogFile, LoggedBatch, LoggedRecord};

use crate::failure::{DONE, FAILED, Failure, Outcome, say};

/// Print the batches and records of a .log file, as kafka-dump-log does.
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
        let mut file = LogFile::open(&path)?;
        let output = |e| Failure::output(&e);
        writeln!(out, "Dumping {}", path.display()).map_err(output)?;
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
