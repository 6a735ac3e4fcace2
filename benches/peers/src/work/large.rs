//! Records of 1 MiB and of 64 MiB.

use super::{Bench, Call, Unit, Work, append_for, column, files};
use crate::Result;
use crate::machine::now;
use crate::payloads::Payloads;
use crate::peer::Setup;
use crate::sink::Sink;

const SIZES: [(usize, &str); 2] = [(1 << 20, "1 MiB"), (64 << 20, "64 MiB")];

pub fn work() -> Work {
    let table = |name: &str| {
        let columns = vec![
            column("append", name, "append", Unit::BytesPerSecond),
            column("durable append", name, "durable", Unit::BytesPerSecond),
            column("read", name, "read", Unit::BytesPerSecond),
        ];
        (format!("Records of {name}"), columns)
    };
    Work {
        name: "large",
        title: "Large records",
        what: "One thread, one record a call: not synced, then each synced; then read from the start after it was \
               closed and opened again.",
        tables: SIZES.iter().map(|(_, name)| table(name)).collect(),
        takes: files,
        warm: 512,
        most_reps: super::ALL,
        run,
        charts: Vec::new(),
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (size, name) in SIZES {
        let syncs = bench.peer.cannot("append", &Setup::new(size, 0)) == Some("always syncs");
        for (metric, durable) in [("append", false), ("durable", true)] {
            let limits = bench.limits(300, 256 << 20, size);
            let setup = Setup::new(size, limits.most * size as u64);
            let setup = if durable { setup.durable() } else { setup };
            if !bench.can(name, &setup) || (durable && bench.peer.cannot("durable", &setup).is_some()) {
                continue;
            }
            let dir = bench.folder()?;
            let mut payloads = Payloads::new(size);
            let log = bench.peer.open(&dir, &setup)?;
            let (count, time) = append_for(log.writer(0)?.as_mut(), Call::One, &mut payloads, limits, 1)?;
            let start = now();
            log.settle()?;
            let time = time + start.elapsed().as_secs_f64();
            log.close()?;
            if durable || !syncs {
                bench.figure(name, metric, (count * size as u64) as f64 / time);
            }
            if durable || bench.peer.cannot("read", &setup).is_some() {
                bench.verify(&dir, &setup, 0, &[count], &payloads)?;
            } else {
                read(bench, name, &dir, &setup, count, &payloads)?;
            }
            std::fs::remove_dir_all(&dir)?;
        }
    }
    Ok(())
}

fn read(
    bench: &Bench<'_>,
    name: &str,
    dir: &std::path::Path,
    setup: &Setup,
    count: u64,
    payloads: &Payloads,
) -> Result<()> {
    let log = bench.peer.open(dir, setup)?;
    let mut sink = Sink::new(1);
    let start = now();
    {
        let mut reader = log.reader(0)?;
        while reader.read(&mut sink)? {}
    }
    let time = start.elapsed().as_secs_f64();
    log.close()?;
    sink.finish(&[count], payloads)?;
    bench.figure(name, "read", (count * setup.record as u64) as f64 / time);
    Ok(())
}
