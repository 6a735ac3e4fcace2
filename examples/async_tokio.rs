//! Tasks under tokio: a producer that waits for room, a consumer of a group that is a stream, and a reader.
//!
//! `cargo run --release --example async_tokio [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use futures_util::TryStreamExt;
use millpond::prelude::*;

const COUNT: usize = 1_000;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> AnyResult<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "async-tokio-data".into());
    let broker = Broker::open(&dir)?;
    const TICKS: TopicDef<Raw, Utf8> = TopicDef::new("ticks").partitions(2);
    let ticks = broker.topic(&TICKS)?;

    let counting = tokio::spawn(count(broker.clone()));
    let producer = ticks.producer()?;
    for number in 0..COUNT {
        let text = format!("tick {number}");
        loop {
            match producer.try_send(Record::new(text.as_str())) {
                Err(error) if error.kind() == ErrorKind::Backpressure => producer.ready().await?,
                sent => break drop(sent?), // whether it is durable is told by the flush
            }
        }
    }
    producer.flush().await?;
    println!("{COUNT} ticks are durable");
    println!("the group has counted {}", counting.await??);

    // Without a group, and without waiting: what there is.
    let mut reader = ticks.read(Start::Last(1))?;
    while let Some(records) = reader.next()? {
        for record in &records {
            println!("the last one of partition {} is {:?}", record.partition(), record.value()?);
        }
    }
    drop((reader, producer, ticks));
    broker.close().await?;
    Ok(())
}

/// A member of a group, as a stream; a `select!` may drop the wait at any time, and no record is lost.
async fn count(broker: Broker) -> AnyResult<usize> {
    let mut consumer = broker.group("counters")?.join("ticks")?;
    let mut seen = 0;
    while seen < COUNT {
        let Some(records) = consumer.try_next().await? else { break };
        seen += records.iter().count();
        consumer.commit(&records).await?;
    }
    Ok(seen)
}
