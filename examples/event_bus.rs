//! An event bus inside one program: typed events, and subscribers that each have their own way with them.
//!
//! ```text
//!                     +--> audit    (group, two threads): every event once it is durable; goes on after a restart
//!   events (topic) ---+--> screen   (reader from the latest on): what happens while it looks, without a position
//!                     +--> late     (reader from the earliest on): comes when all is over, and sees all
//!
//!   clicks (volatile) -----> counter  (group): no disk, senders wait for it where 256 KiB are full
//! ```
//!
//! `cargo run --release --features json --example event_bus [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond::config::Volatile;
use millpond::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Event {
    SignedUp { user: u64 },
    Ordered { user: u64, cents: u64 },
}

const EVENTS: TopicDef<Utf8, Json<Event>> = TopicDef::new("events").partitions(4);
const COUNT: u64 = 2_000;

/// In memory only, and never more of it than this.
const CLICKS: TopicDef<Utf8, Utf8> = TopicDef::new("clicks").settings(in_memory);
const MANY: u64 = 20_000;

fn in_memory() -> TopicConfig {
    TopicConfig::new().volatile(Volatile::senders_wait(ByteSize::kib(256)))
}

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> AnyResult<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "event-bus-data".into());
    let broker = Broker::open(&dir)?;
    let events = broker.topic(&EVENTS)?;
    let before: u64 = events.partitions()?.iter().map(|partition| partition.log_end_offset().get()).sum();

    let mut screen = events.read(Start::Latest)?; // subscribes here: nothing from now on is missed
    let audited = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut consumer = broker.group("audit")?.join(&EVENTS)?;
        let stop = consumer.interrupter();
        let audited = &audited;
        let audit = scope.spawn(move || {
            // Same user in order, different users at once; committed below the lowest unfinished event.
            consumer.for_each_concurrent(2, |record| {
                let _event: Event = record.value()?;
                audited.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        });
        let published = publish(&events);
        wait_for_audit(&broker)?;
        stop.interrupt();
        audit.join().map_err(|_| "the audit panicked")??;
        published
    })?;
    println!("published {COUNT} events, the audit has seen {}", audited.into_inner());

    let (mut sign_ups, mut cents) = (0, 0);
    while let Some(records) = screen.next()? {
        for record in &records {
            match record.value()? {
                Event::SignedUp { .. } => sign_ups += 1,
                Event::Ordered { cents: more, .. } => cents += more,
            }
        }
    }
    println!("on the screen: {sign_ups} sign-ups, orders of {}.{:02}", cents / 100, cents % 100);

    let mut late = events.read(Start::Earliest)?; // replay: the log keeps what nobody has deleted
    let mut seen = 0;
    while let Some(records) = late.next()? {
        seen += records.iter().count() as u64;
    }
    assert_eq!(seen, before + COUNT);
    println!("who came late has seen {seen}, {before} of them from before");
    drop((screen, late, events));
    println!("counted {} clicks, of which nothing is on the disk", count_clicks(&broker)?);
    broker.close().wait()?;
    Ok(())
}

/// Publishes without waiting for each event. Where there is no room, it waits: nothing is dropped.
fn publish(events: &Topic<Utf8, Json<Event>>) -> AnyResult<()> {
    let producer = events.producer()?;
    for number in 0..COUNT {
        let user = number % 50;
        let event = match number {
            0..50 => Event::SignedUp { user },
            _ => Event::Ordered { user, cents: 100 + number },
        };
        let key = user.to_string();
        loop {
            match producer.try_send(Record::new(&event).key(&key)) {
                Err(error) if error.kind() == ErrorKind::Backpressure => producer.ready().wait()?,
                sent => break drop(sent?),
            }
        }
    }
    producer.flush().wait()?; // all are on the device
    Ok(())
}

/// Sends far more than there is memory for: the sender waits for what the group has done with.
fn count_clicks(broker: &Broker) -> AnyResult<u64> {
    let clicks = broker.topic(&CLICKS)?;
    let mut counter = broker.group("counter")?.join(&CLICKS)?;
    let producer = clicks.producer()?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || -> AnyResult<()> {
            for number in 0..MANY {
                drop(producer.send(Record::new(&format!("button {number} of a page with many")))?);
            }
            Ok(producer.flush().wait()?)
        });
        let mut seen = 0;
        while seen < MANY {
            let records = counter.poll().wait()?;
            seen += records.iter().count() as u64;
            drop(counter.commit(&records)); // from here on these may go
        }
        sender.join().map_err(|_| "the sender panicked")??;
        Ok(seen)
    })
}

/// Waits until the group has committed all there is.
fn wait_for_audit(broker: &Broker) -> AnyResult<()> {
    let (done, pause) = std::sync::mpsc::channel::<()>();
    while broker.group("audit")?.lag()?.iter().any(|lag| lag.records() > 0) {
        let _ = pause.recv_timeout(Duration::from_millis(10));
    }
    drop(done);
    Ok(())
}
