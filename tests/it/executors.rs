//! Operations under executors that know nothing of each other, or of us: whichever polls, and with
//! whichever waker last, is woken; who stops waiting loses nothing.
//!
//! The broker's own threads do the work here, on the real file system; nothing waits by the clock but the
//! timeouts themselves.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig, ProducerConfig};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

/// A long time: a test that needs it has failed.
const LONG: Duration = Duration::from_secs(60);
const LEVELS: [Durability; 3] =
    [Durability::Memory, Durability::Interval(Duration::from_millis(20)), Durability::Sync];

fn with_topic<T>(durability: Durability, test: impl FnOnce(&Broker, &Topic) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let config = TopicConfig::new().durability(durability).linger(LONG);
    let topic = broker.create_topic("clicks", config).unwrap();
    let result = test(&broker, &topic);
    broker.close().wait().unwrap();
    result
}

/// A broker whose work is done when the test says so.
fn by_hand(durability: Durability) -> (SimEnvironment, Broker, Topic) {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let config = TopicConfig::new().durability(durability).linger(LONG);
    let topic = broker.create_topic("clicks", config).unwrap();
    (sim, broker, topic)
}

/// A program that uses every operation there is.
async fn program(topic: Topic) -> millpond::Result<usize> {
    let producer = topic.producer()?;
    producer.ready().await?;
    let mut deliveries = Vec::new();
    for n in 0..50 {
        deliveries.push(producer.send(Record::new(&format!("{n}")).key("k"))?);
    }
    for (n, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await?.offset().get(), n as u64);
    }
    let batches = producer.send_batch((0..50).map(|_| Record::new("batched")))?.await?;
    assert_eq!(batches.iter().map(|batch| batch.count()).sum::<u32>(), 50);
    producer.flush().await?;
    let mut reader = topic.read(Start::Earliest)?;
    let mut seen = 0;
    while seen < 100 {
        seen += reader.poll().await?.iter().count();
    }
    producer.close().await?;
    Ok(seen)
}

#[test]
fn one_program_runs_under_two_executors() {
    for durability in LEVELS {
        let seen = with_topic(durability, |_, topic| pollster::block_on(program(topic.clone())));
        assert_eq!(seen.unwrap(), 100, "pollster, {durability}");
        let seen = with_topic(durability, |_, topic| futures_executor::block_on(program(topic.clone())));
        assert_eq!(seen.unwrap(), 100, "futures-executor, {durability}");
    }
}

#[test]
fn tasks_of_one_thread_wait_for_each_other() {
    use futures_executor::LocalPool;
    for durability in LEVELS {
        with_topic(durability, |_, topic| {
            let mut pool = LocalPool::new();
            let mut reader = topic.read(Start::Earliest).unwrap();
            let producer = topic.producer().unwrap();
            // The reader waits first; the only thread there is goes on with the sender.
            let seen = pool.run_until(both(
                async move {
                    let mut seen = 0;
                    while seen < 200 {
                        seen += reader.poll().await.unwrap().iter().count();
                    }
                    seen
                },
                async move {
                    for n in 0..200 {
                        let delivery = producer.send(Record::new(&format!("{n}"))).unwrap();
                        if n % 10 == 0 {
                            delivery.await.unwrap();
                        }
                    }
                    producer.flush().await.unwrap();
                },
            ));
            assert_eq!(seen, 200);
        });
    }
}

/// Polls both until both are done; answers what the first one gave.
async fn both<A: Future, B: Future>(a: A, b: B) -> A::Output {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, false);
    std::future::poll_fn(move |context| {
        if first.is_none() {
            if let Poll::Ready(output) = a.as_mut().poll(context) {
                first = Some(output);
            }
        }
        second = second || b.as_mut().poll(context).is_ready();
        match first.take().filter(|_| second) {
            Some(output) => Poll::Ready(output),
            None => Poll::Pending,
        }
    })
    .await
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Arc<Counting>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (_sim, broker, topic) = by_hand(Durability::Sync);
    let producer = topic.producer().unwrap();
    let mut delivery = producer.send(Record::new("x")).unwrap();
    let (first, second) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    assert!(poll_once(&mut delivery, &first).is_pending());
    assert!(poll_once(&mut delivery, &first).is_pending(), "polling again changes nothing");
    assert!(poll_once(&mut delivery, &second).is_pending());
    broker.tick().unwrap();
    assert!(second.0.load(Ordering::SeqCst) > 0, "the task that polled last is woken");
    match poll_once(&mut delivery, &second) {
        Poll::Ready(metadata) => assert_eq!(metadata.unwrap().offset(), Offset::ZERO),
        Poll::Pending => panic!("the flush is done"),
    }
}

#[test]
fn a_dropped_operation_takes_its_waker_along_and_nothing_else() {
    let (_sim, broker, topic) = by_hand(Durability::Sync);
    let producer = topic.producer().unwrap();
    let waker = Arc::new(Counting::default());
    let mut delivery = producer.send(Record::new("x")).unwrap();
    assert!(poll_once(&mut delivery, &waker).is_pending());
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut poll = reader.poll();
    assert!(poll_once(&mut poll, &waker).is_pending());
    let mut flush = producer.flush();
    assert!(poll_once(&mut flush, &waker).is_pending());
    drop((delivery, poll, flush));
    assert_eq!(Arc::strong_count(&waker), 1, "nobody holds the waker of a task that is gone");
    broker.tick().unwrap();
    assert_eq!(waker.0.load(Ordering::SeqCst), 0, "nobody is woken in vain");
    // What the operations stood for went on.
    assert_eq!(topic.partition(0).unwrap().flushed_offset().get(), 1);
    let records = reader.poll().wait().unwrap();
    assert_eq!(records.iter().count(), 1, "a dropped poll has taken nothing");
}

#[test]
fn a_poll_dropped_after_it_was_woken_takes_nothing() {
    let (_sim, broker, topic) = by_hand(Durability::Memory);
    let producer = topic.producer().unwrap();
    let waker = Arc::new(Counting::default());
    let mut reader = topic.read(Start::Earliest).unwrap();
    for round in 0..5 {
        let mut poll = reader.poll();
        assert!(poll_once(&mut poll, &waker).is_pending());
        producer.send(Record::new("x")).unwrap().wait().unwrap();
        assert!(waker.0.load(Ordering::SeqCst) > round, "woken by the record");
        drop(poll); // a select took the other branch
        assert_eq!(reader.position(0).unwrap().get(), round as u64);
        let records = futures_executor::block_on(reader.poll()).unwrap();
        let offsets: Vec<u64> = records.iter().map(|record| record.offset().get()).collect();
        assert_eq!(offsets, [round as u64]);
    }
    broker.close().wait().unwrap();
}

#[test]
fn who_ran_out_of_time_waits_again() {
    with_topic(Durability::Memory, |_, topic| {
        let mut reader = topic.read(Start::Earliest).unwrap();
        let nothing = reader.poll().wait_timeout(Duration::from_millis(5)).unwrap();
        assert!(nothing.is_empty());
        let mut poll = reader.poll();
        assert!(poll.wait_timeout(Duration::ZERO).unwrap().is_empty());
        topic.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
        assert_eq!(poll.wait_timeout(LONG).unwrap().iter().count(), 1, "the same operation, again");
    });
}

#[test]
fn a_delivery_that_timed_out_is_awaited_afterwards() {
    // Another thread leads a flush that hangs until the disk has room: the deliveries behind it time out.
    let (sim, _broker, topic) = by_hand(Durability::Sync);
    let producer = topic.producer().unwrap();
    sim.disk().set_capacity(Some(sim.disk().used()));
    let mut delivery = producer.send(Record::new("x")).unwrap();
    let error = delivery.wait_timeout(Duration::from_millis(1)).unwrap_err();
    assert!(error.is_retriable(), "{error}");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    sim.disk().set_capacity(None);
    assert_eq!(futures_executor::block_on(helped(&_broker, delivery)).unwrap().offset(), Offset::ZERO);
}

/// Awaits an operation while the broker's upkeep is done by hand.
async fn helped<F: Future + Unpin>(broker: &Broker, mut operation: F) -> F::Output {
    std::future::poll_fn(|context| {
        let polled = Pin::new(&mut operation).poll(context);
        if polled.is_pending() {
            broker.tick().unwrap();
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

#[test]
fn an_operation_moves_from_a_thread_to_a_task_and_back() {
    with_topic(Durability::Sync, |_, topic| {
        let producer = topic.producer().unwrap();
        let mut delivery = producer.send(Record::new("x")).unwrap();
        // A look from a task, then waiting in another thread.
        let waker = Arc::new(Counting::default());
        let answer = poll_once(&mut delivery, &waker);
        let metadata = match answer {
            Poll::Ready(metadata) => metadata,
            Poll::Pending => thread::spawn(move || delivery.wait()).join().unwrap(),
        };
        assert_eq!(metadata.unwrap().offset(), Offset::ZERO);
    });
}

#[test]
fn many_tasks_share_one_flush() {
    let (sim, broker, topic) = by_hand(Durability::Sync);
    let producer = topic.producer().unwrap();
    let wakers: Vec<_> = (0..50).map(|_| Arc::new(Counting::default())).collect();
    let mut deliveries: Vec<_> = (0..50).map(|_| producer.send(Record::new("x")).unwrap()).collect();
    for (delivery, waker) in deliveries.iter_mut().zip(&wakers) {
        assert!(poll_once(delivery, waker).is_pending());
    }
    let before = sim.disk().calls_of(millpond::testing::Op::Sync);
    broker.tick().unwrap();
    assert_eq!(sim.disk().calls_of(millpond::testing::Op::Sync) - before, 1, "one sync serves all");
    for (n, (mut delivery, waker)) in deliveries.into_iter().zip(&wakers).enumerate() {
        assert!(waker.0.load(Ordering::SeqCst) > 0, "task {n} is woken");
        let Poll::Ready(metadata) = poll_once(&mut delivery, waker) else { panic!("task {n} is served") };
        assert_eq!(metadata.unwrap().offset().get(), n as u64);
    }
}

#[test]
fn closing_wakes_whoever_waits() {
    for durability in LEVELS {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path()).unwrap();
        let topic = broker.create_topic("clicks", TopicConfig::new().durability(durability)).unwrap();
        let mut readers = Vec::new();
        for _ in 0..4 {
            let mut reader = topic.read(Start::Latest).unwrap();
            readers.push(thread::spawn(move || pollster::block_on(reader.poll()).map(|_| ())));
        }
        let closing = broker.close();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
        futures_executor::block_on(closing).unwrap();
        pollster::block_on(broker.close()).unwrap();
    }
}

#[test]
fn a_task_that_found_no_room_is_woken_when_there_is_some() {
    let sim = SimEnvironment::new(2);
    let config =
        BrokerConfig::new().background(Background::Manual).buffer_memory(ByteSize::kib(64)).max_block(LONG);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let topic = broker.create_topic("clicks", TopicConfig::new().linger(LONG)).unwrap();
    let config = ProducerConfig::new().max_block(Duration::ZERO);
    let producer = topic.producer_builder().config(config).build().unwrap();
    let value = vec![7; 20 << 10];
    // A full disk keeps what is staged in memory.
    sim.disk().set_capacity(Some(sim.disk().used()));
    let refused = loop {
        match producer.try_send(Record::new(&value)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Backpressure);
    assert!(refused.is_retriable());
    let mut ready = producer.ready();
    let waker = Arc::new(Counting::default());
    assert!(poll_once(&mut ready, &waker).is_pending());
    sim.disk().set_capacity(None);
    sim.clock().advance(Duration::from_secs(120));
    broker.tick().unwrap();
    assert!(waker.0.load(Ordering::SeqCst) > 0, "room has come");
    futures_executor::block_on(ready).unwrap();
    producer.try_send(Record::new(&value)).unwrap().wait().unwrap();
}

#[test]
fn the_result_of_an_operation_is_given_once() {
    let mut finished = millpond::Operation::finished(Ok(7));
    let waker = Arc::new(Counting::default());
    assert!(matches!(poll_once(&mut finished, &waker), Poll::Ready(Ok(7))));
    let Poll::Ready(again) = poll_once(&mut finished, &waker) else { panic!("it does not hang") };
    assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[cfg(feature = "stream")]
#[test]
fn a_reader_is_a_stream() {
    let (_sim, _broker, topic) = by_hand(Durability::Memory);
    let producer = topic.producer().unwrap();
    for n in 0..10 {
        producer.send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
    }
    let ten = Offset::new(10).unwrap();
    let reader = topic.partition(0).unwrap().read(Offset::ZERO..ten).unwrap();
    let chunks = futures_executor::block_on_stream(reader);
    let seen: usize = chunks.map(|records| records.unwrap().iter().count()).sum();
    assert_eq!(seen, 10, "the stream ends where the range does");
}
