//! Reading what is in the page cache, every byte of it.

use millpond::config::{CrcCheck, ReaderConfig};
use millpond::prelude::*;

use crate::common::payload::{Payloads, sum_of_words};
use crate::common::{Result, machine::seconds, verify};
use crate::row::{Bench, Figures, Row, Target, open};

/// How often the log is read; the first time does not count.
const PASSES: u32 = 3;

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    let unit = "M records/s";
    vec![
        Row {
            name: "read 100 B, CRC checked before",
            unit,
            target: Target::AtLeast(50.0),
            run: |bench| read(bench, 100, 4_000_000, CrcCheck::Once),
        },
        Row {
            name: "read 1 KiB, CRC checked before",
            unit,
            target: Target::Ratio(0.8),
            run: |bench| read(bench, 1024, 500_000, CrcCheck::Once),
        },
        Row {
            name: "read 100 B with CRC",
            unit,
            target: Target::Ratio(0.5),
            run: |bench| read(bench, 100, 4_000_000, CrcCheck::Always),
        },
        Row {
            name: "read 1 KiB with CRC",
            unit,
            target: Target::Ratio(0.8),
            run: |bench| read(bench, 1024, 500_000, CrcCheck::Always),
        },
    ]
}

fn read(bench: &Bench<'_>, size: usize, count: u64, crc: CrcCheck) -> Result<Figures> {
    let (broker, topic) = open(bench.dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(size);
    for n in 0..count {
        drop(producer.send(Record::new(payloads.stamped(n)))?);
    }
    verify::partition(&topic, 0, count, &payloads)?;
    // Its file is complete and closed; the pages stay in the cache.
    broker.close().wait()?;
    drop((producer, topic, broker));

    let (mut ours, mut bound) = (0.0, 0.0);
    let path = bench.dir.join("data").join("bench-0").join("00000000000000000000.log");
    let file = std::fs::File::open(path)?;
    // SAFETY: the file is this benchmark's own, and nothing is cut from it while it is mapped.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    let broker = Broker::open(bench.dir.join("data"))?;
    let topic = broker.topic("bench")?;
    for pass in 0..=PASSES {
        for mine in [bench.ours_first, !bench.ours_first] {
            let (time, ()) = seconds(|| match mine {
                true => read_through(&topic, count, payloads.sum(count), crc),
                false => sum_map(&map, crc),
            })?;
            if pass > 0 {
                *(if mine { &mut ours } else { &mut bound }) += time;
            }
        }
    }
    let rate = |time: f64| (count * u64::from(PASSES)) as f64 / time / 1e6;
    Ok(Figures { ours: rate(ours), bound: Some(rate(bound)), notes: Vec::new() })
}

/// Reads all records and sums every byte.
fn read_through(topic: &Topic, count: u64, expected: u64, crc: CrcCheck) -> Result<()> {
    let config = ReaderConfig::new().crc_check(crc);
    let mut reader = topic.partition(0)?.reader_builder().config(config).start(Start::Earliest).build()?;
    let (mut seen, mut sum) = (0_u64, 0_u64);
    while let Some(records) = reader.next()? {
        for record in &records {
            seen += 1;
            sum = sum.wrapping_add(sum_of_words(record.value()?.unwrap_or_default()));
        }
    }
    std::hint::black_box(expected);
    std::hint::black_box(sum);
    if seen == count { Ok(()) } else { Err(format!("{seen} of {count} records").into()) }
}

/// The bound: the sum over the file, with its CRC in pieces as large as batches.
fn sum_map(map: &[u8], crc: CrcCheck) -> Result<()> {
    let mut sum = 0_u64;
    for piece in map.chunks(64 << 10) {
        if crc == CrcCheck::Always {
            std::hint::black_box(crc32c::crc32c(piece));
        }
        sum = sum.wrapping_add(sum_of_words(piece));
    }
    std::hint::black_box(sum);
    Ok(())
}
