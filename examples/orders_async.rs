//! `orders_threads` with tasks: places 200 orders, and bills all there are in two tasks of the same group.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::{process, time::Duration};

use millpond::prelude::*;

const ORDERS: TopicDef<Utf8, Utf8> = TopicDef::new("orders").partitions(4);

async fn bill(broker: Broker) -> millpond::Result<()> {
    let mut consumer = broker.group("billing")?.join(&ORDERS)?;
    while let Ok(records) = tokio::time::timeout(Duration::from_secs(1), consumer.poll()).await {
        let records = records?;
        for order in &records {
            println!("billed {}", order.value()?);
        }
        match consumer.commit(&records).await {
            Err(error) if error.kind() == ErrorKind::Rebalanced => {} // others bill them again
            committed => committed?,
        }
    }
    consumer.close().await // nothing came for a while
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::open(std::env::args().nth(1).unwrap_or_else(|| "orders-data".into()))?;
    let workers = [tokio::spawn(bill(broker.clone())), tokio::spawn(bill(broker.clone()))];
    let orders = broker.topic(&ORDERS)?.producer()?;
    for order in (0..200).map(|number| format!("{}-{number}", process::id())) {
        orders.send(Record::new(&order).key(&order))?.await?;
        println!("placed {order}");
    }
    for worker in workers {
        worker.await??;
    }
    Ok(broker.close().await?)
}
