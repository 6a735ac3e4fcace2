//! Each compression, on real lines and on random bytes.

use super::{Bench, Call, Unit, Work, append_for, column};
use crate::Result;
use crate::machine::{disk_bytes, now};
use crate::options::repository;
use crate::payloads::Payloads;
use crate::peer::{Codec, Setup};
use crate::sink::Sink;

const CODECS: [(Codec, &str); 5] = [
    (Codec::None, "none"),
    (Codec::Snappy, "snappy"),
    (Codec::Lz4, "lz4"),
    (Codec::Zstd, "zstd"),
    (Codec::Gzip, "gzip"),
];
/// As many lines as a batch of 64 KiB takes, or so.
const BATCH: u64 = 700;

pub fn work() -> Work {
    let table = |codec: &str| {
        let columns = ["flights", "random"].iter().flat_map(|data| {
            let point = format!("{codec}, {data}");
            [
                column(&format!("{data}: append"), &point, "append", Unit::BytesPerSecond),
                column(&format!("{data}: read"), &point, "read", Unit::BytesPerSecond),
                column(&format!("{data}: size"), &point, "size", Unit::Ratio),
            ]
        });
        (format!("Codec {codec}"), columns.collect())
    };
    Work {
        name: "codecs",
        title: "Compression",
        what: "Lines of flight records (examples/data/flights.csv, 91 B each in the mean, again and again) and \
               random records of the same size, 700 a batch, one thread, nothing synced, each codec at its \
               default level; then read after closing and opening again. Bytes are those of the records; the \
               size is that of the files by that of the records.",
        tables: CODECS.iter().map(|(_, name)| table(name)).collect(),
        takes: |facts| ["millpond", "kafko"].contains(&facts.name),
        warm: 512,
        most_reps: super::ALL,
        run,
        charts: Vec::new(),
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    let text = std::fs::read_to_string(repository().join("examples/data/flights.csv"))?;
    for (codec, name) in CODECS {
        for (data, payloads) in [("flights", Payloads::lines(&text)), ("random", Payloads::new(91))] {
            one(bench, codec, &format!("{name}, {data}"), payloads)?;
        }
    }
    Ok(())
}

fn one(bench: &Bench<'_>, codec: Codec, point: &str, mut payloads: Payloads) -> Result<()> {
    let limits = bench.limits(300, 256 << 20, 91);
    let setup = Setup { codec, ..Setup::new(128, limits.most * 128) };
    if !bench.can(point, &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let log = bench.peer.open(&dir, &setup)?;
    let call = Call::Batch(BATCH);
    let (count, time) = append_for(log.writer(0)?.as_mut(), call, &mut payloads, limits, BATCH)?;
    let start = now();
    log.settle()?;
    let time = time + start.elapsed().as_secs_f64();
    log.close()?;
    let bytes = payloads.bytes(count) as f64;
    bench.figure(point, "append", bytes / time);
    bench.figure(point, "size", disk_bytes(&dir)? as f64 / bytes);

    let log = bench.peer.open(&dir, &setup)?;
    let mut sink = if payloads.is_stamped() { Sink::new(1) } else { Sink::comparing(&payloads) };
    let start = now();
    {
        let mut reader = log.reader(0)?;
        while reader.read(&mut sink)? {}
    }
    bench.figure(point, "read", bytes / start.elapsed().as_secs_f64());
    log.close()?;
    sink.finish(&[count], &payloads)?;
    Ok(std::fs::remove_dir_all(&dir)?)
}
