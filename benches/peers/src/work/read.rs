//! Reading all of it, twice, after it was closed and opened again.

use super::{Bench, Call, Unit, Work, append_for, bars, column, files, one_table};
use crate::Result;
use crate::machine::now;
use crate::payloads::Payloads;
use crate::peer::Setup;
use crate::sink::Sink;

const BYTES: u64 = 256 << 20;

pub fn work() -> Work {
    Work {
        name: "read",
        title: "Sequential read",
        what: "Written in batches, closed, opened again; one thread reads all and sums every byte, twice. The \
               first pass of millpond checks each checksum, later ones trust what was checked; the others do \
               the same work each time.",
        tables: one_table([
            column("100 B, first", "100 B", "first", Unit::Rate),
            column("100 B, again", "100 B", "again", Unit::Rate),
            column("1 KiB, first", "1 KiB", "first", Unit::Rate),
            column("1 KiB, again", "1 KiB", "again", Unit::Rate),
        ]),
        takes: files,
        warm: 512,
        most_reps: super::ALL,
        run,
        charts: vec![
            bars("read-100", "Sequential read, 100 B, second pass", "100 B", "again"),
            bars("read-1k", "Sequential read, 1 KiB, second pass", "1 KiB", "again"),
        ],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (size, name) in super::append::SIZES {
        let limits = bench.limits(1000, BYTES, size);
        let setup = Setup::new(size, limits.most * size as u64);
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let mut payloads = Payloads::new(size);
        let log = bench.peer.open(&dir, &setup)?;
        let (count, _) = append_for(log.writer(0)?.as_mut(), Call::Batch(100), &mut payloads, limits, 100)?;
        log.close()?;

        let log = bench.peer.open(&dir, &setup)?;
        for pass in ["first", "again"] {
            let mut sink = Sink::new(1);
            let start = now();
            let mut reader = log.reader(0)?;
            while reader.read(&mut sink)? {}
            let time = start.elapsed().as_secs_f64();
            sink.finish(&[count], &payloads)?;
            bench.figure(name, pass, count as f64 / time);
            if bench.peer.reads_once() {
                break;
            }
        }
        log.close()?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
