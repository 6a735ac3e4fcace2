//! Append one at a time, nothing synced.

use super::{Bench, Call, Unit, Work, append_for, bars, column, files, one_table, step};
use crate::Result;
use crate::machine::now;
use crate::payloads::Payloads;
use crate::peer::Setup;

/// The sizes of the records, and the most bytes of each.
pub const SIZES: [(usize, &str); 2] = [(100, "100 B"), (1024, "1 KiB")];
const BYTES: u64 = 384 << 20;

pub fn work() -> Work {
    Work {
        name: "append",
        title: "Append, one at a time",
        what: "One thread, one call a record, nothing synced; the time includes what brings the records into \
               the hands of the system (so that a killed process does not take them along), where that is a \
               call of its own.",
        tables: one_table(SIZES.iter().map(|(_, name)| column(name, name, "rate", Unit::Rate))),
        takes: files,
        warm: 640,
        most_reps: super::ALL,
        run: |bench| run(bench, Call::One),
        charts: vec![
            bars("append-100", "Append one at a time, 100 B", "100 B", "rate"),
            bars("append-1k", "Append one at a time, 1 KiB", "1 KiB", "rate"),
        ],
    }
}

/// Appends records of both sizes, by this call.
pub fn run(bench: &Bench<'_>, call: Call) -> Result<()> {
    for (size, name) in SIZES {
        let limits = bench.limits(300, BYTES, size);
        let setup = Setup::new(size, limits.most * size as u64);
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let mut payloads = Payloads::new(size);
        let log = bench.peer.open(&dir, &setup)?;
        let (count, time) = {
            let mut writer = log.writer(0)?;
            let (count, time) = append_for(writer.as_mut(), call, &mut payloads, limits, step(size, call))?;
            let start = now();
            log.settle()?;
            (count, time + start.elapsed().as_secs_f64())
        };
        log.close()?;
        bench.verify(&dir, &setup, 0, &[count], &payloads)?;
        std::fs::remove_dir_all(&dir)?;
        bench.figure(name, "rate", count as f64 / time);
    }
    Ok(())
}
