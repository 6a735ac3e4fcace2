//! Places 200 orders, which two threads of a group bill. Kill it at any time and start it, or `orders_async`,
//! on the same directory: every order that was placed is billed, at least once.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::{process, thread, time::Duration};

use millpond::prelude::*;

const ORDERS: TopicDef<Utf8, Utf8> = TopicDef::new("orders").partitions(4);

fn bill(broker: &Broker) -> millpond::Result<()> {
    let mut consumer = broker.group("billing")?.join(&ORDERS)?;
    loop {
        let records = consumer.poll().wait_timeout(Duration::from_secs(1))?;
        if records.is_empty() {
            return consumer.close().wait(); // nothing came for a while
        }
        for order in &records {
            println!("billed {}", order.value()?);
        }
        match consumer.commit(&records).wait() {
            Err(error) if error.kind() == ErrorKind::Rebalanced => {} // others bill them again
            committed => committed?,
        }
    }
}

fn main() -> millpond::Result<()> {
    let broker = Broker::open(std::env::args().nth(1).unwrap_or_else(|| "orders-data".into()))?;
    thread::scope(|scope| {
        let workers = [scope.spawn(|| bill(&broker)), scope.spawn(|| bill(&broker))];
        let orders = broker.topic(&ORDERS)?.producer()?;
        for order in (0..200).map(|number| format!("{}-{number}", process::id())) {
            orders.send(Record::new(&order).key(&order))?.wait()?;
            println!("placed {order}");
        }
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}
