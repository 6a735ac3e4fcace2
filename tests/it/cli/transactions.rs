//! Transactions on the command line, and the examples about them.

use std::process::Command;
use std::time::Duration;

use millpond::config::{Background, BrokerConfig};
use millpond::env::Environment;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

use super::tool::{Tool, example, feed};

#[test]
fn what_a_crash_left_open_is_listed_and_ended() {
    let tool = Tool::new();
    let home = tempfile::tempdir().unwrap();
    // A directory as a program leaves it that dies in the midst of a transaction.
    let lived = home.path().join("lived");
    let broker = Broker::open(&lived).unwrap();
    let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let mut producer = broker.transactional("mover").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("kept")).unwrap();
    txn.commit().wait().unwrap();
    let large = "x".repeat(700_000);
    let mut txn = producer.begin().unwrap();
    for _ in 0..3 {
        txn.send(&topic, Record::new(&large)).unwrap();
    }
    copy(&lived, &tool.data());
    txn.abort();

    let open = tool.run("txns").ok();
    assert!(open.text().starts_with("t-0 transactionalId: mover producerId: "), "{}", open.text());
    assert!(open.text().contains(" startOffset: 2 "), "{}", open.text());
    let producers = tool.run("producers --topic t").ok();
    assert!(producers.text().contains("currentTransactionStartOffset: 2"), "{}", producers.text());
    let ended = tool.run("abort-txn --id mover").ok();
    assert_eq!(ended.text(), "ended the transaction of mover in t-0\n");
    assert_eq!(tool.run("txns").ok().text(), "");
    let none = tool.run("abort-txn --id mover");
    assert_eq!((none.code, none.text()), (1, "mover has no transaction open\n"));

    let folder = tool.data().join("t-0");
    let dump =
        |file: &str| feed(Command::new(example("millpond")).arg("dump").arg(folder.join(file)), b"").ok();
    let log = dump("00000000000000000000.log");
    assert!(log.text().contains("endTxnMarker: COMMIT coordinatorEpoch: "));
    assert!(log.text().contains("endTxnMarker: ABORT coordinatorEpoch: "));
    let aborted = dump("00000000000000000000.txnindex");
    assert!(
        aborted.text().contains("firstOffset: 2 lastOffset: 4 lastStableOffset: 5"),
        "{}",
        aborted.text()
    );
}

#[test]
fn a_small_open_transaction_is_listed_beside_its_program_and_after_it() {
    let tool = Tool::new();
    let sim = SimEnvironment::new(1);
    let manual = BrokerConfig::new().background(Background::Manual);
    let environment = Environment::system();
    // The disk is real, the clock is not.
    let environment = Environment::new(
        environment.files().clone(),
        sim.environment().clock().clone(),
        environment.random().clone(),
    );
    let open = || Broker::builder(tool.data()).environment(environment.clone()).config(manual.clone()).open();
    let broker = open().unwrap();
    for topic in ["t", "u"] {
        broker.create_topic(topic, TopicConfig::new().durability(Durability::Memory)).unwrap();
    }
    let mut producer = broker.transactional("mover").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send("t", Record::new("small")).unwrap();
    let tick = || {
        sim.clock().advance(Duration::from_millis(1_000));
        broker.tick().unwrap();
    };
    let listed = || tool.run("txns").ok().text().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(listed(), <[&str; 0]>::default(), "most are over by then");
    tick();
    tick();
    let open_now = listed();
    assert_eq!(open_now.len(), 1, "{open_now:?}");
    assert!(open_now[0].starts_with("t-0 transactionalId: mover producerId: "), "{open_now:?}");
    assert!(open_now[0].contains(" startOffset: none "), "{open_now:?}");
    txn.send("u", Record::new("small")).unwrap();
    tick();
    tick();
    assert_eq!(listed().len(), 2);
    txn.commit().wait().unwrap();
    tick();
    assert_eq!(listed(), <[&str; 0]>::default());

    // Its program dies.
    let mut txn = producer.begin().unwrap();
    txn.send("u", Record::new("small")).unwrap();
    tick();
    tick();
    let after = Tool::new();
    copy(&tool.data(), &after.data());
    let open_still = after.run("txns").ok();
    assert!(open_still.text().starts_with("u-0 transactionalId: mover "), "{}", open_still.text());
    assert_eq!(after.run("abort-txn --id mover").ok().text(), "ended the transaction of mover in u-0\n");
    assert_eq!(after.run("txns").ok().text(), "");
    txn.abort();
    tick();
    assert_eq!(listed(), <[&str; 0]>::default());
}

#[test]
fn what_damage_hides_is_listed_and_settled() {
    let tool = Tool::new();
    let (disk, [first, second]) = crate::transaction_ends::crashed();
    let damaged = crate::transaction_ends::damaged(&disk, 2);
    for file in damaged.disk().files() {
        let path = tool.data().join(file.strip_prefix("/data").unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, damaged.disk().read_file(&file).unwrap()).unwrap();
    }
    let open = tool.run("txns").failed(1, "__transaction_state-0");
    for producer in [first, second] {
        assert!(open.text().contains(&format!(" producerId: {producer} ")), "{}", open.text());
    }
    let listed = tool.run("settle-txns");
    assert_eq!((listed.code, listed.text().lines().count()), (1, 2));
    assert!(listed.text().lines().all(|line| line.starts_with("undecided ")), "{}", listed.text());
    let committed = tool.run(&format!("settle-txns --producer {first} --to commit"));
    assert_eq!(committed.code, 1, "one is left");
    assert!(committed.text().contains(&format!("committed producerId: {first} ")), "{}", committed.text());
    assert!(committed.text().contains(&format!("undecided producerId: {second} ")), "{}", committed.text());
    let aborted = tool.run("settle-txns --to abort").ok();
    assert!(aborted.text().starts_with(&format!("aborted producerId: {second} ")), "{}", aborted.text());
    assert_eq!(tool.run("settle-txns").ok().text(), "");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn killed_twenty_times_it_still_counts_exactly_once() {
    let run = feed(&mut Command::new(example("exactly_once")), b"").ok();
    let mut said = run.text().lines();
    let killed = said.next().unwrap();
    let times: u32 = killed.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(times, 20, "{killed}");
    let compared =
        "8832 records, the same as of an undisturbed run: nothing is missing, nothing is there twice";
    assert_eq!(said.next().unwrap(), compared);
}

#[test]
fn writers_in_conflict_take_nothing_twice() {
    let run = feed(&mut Command::new(example("event_sourcing")), b"").ok();
    let last = run.text().lines().last().unwrap();
    assert!(last.contains(": 100 - 9") || last.contains(": 100 - 100"), "{last}");
}
