//! An account as the list of its events: whoever changes it has read all of them, or is refused and reads on.
//!
//! ```text
//!   writer:  read the events up to version n -> decide -> append, if the log still ends at n
//!                     ^                                        | UnexpectedOffset: somebody was faster
//!                     +----------------------------------------+
//! ```
//!
//! `cargo run --release --example event_sourcing`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::thread;

use millpond::codec::U64;
use millpond::prelude::*;

// The key says what happened, the value how much.
const ACCOUNT: TopicDef<Utf8, U64> = TopicDef::new("account-42");
const OPENING: u64 = 100;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the events up to a version make of the account.
#[derive(Debug, Default)]
struct Account {
    version: Offset,
    balance: u64,
}

impl Account {
    /// Reads what has happened since.
    fn catch_up(&mut self, log: &Partition<Utf8, U64>) -> millpond::Result<()> {
        let mut reader = log.read(self.version..)?;
        while let Some(events) = reader.next()? {
            for event in &events {
                match event.key()? {
                    "deposited" => self.balance += event.value()?,
                    _ => self.balance -= event.value()?,
                }
                self.version = event.offset().next();
            }
        }
        Ok(())
    }
}

/// What a writer has met.
#[derive(Debug, Default)]
struct Met {
    withdrawn: u64,
    refused: u64,
    conflicts: u64,
}

/// Withdraws until there is nothing left. It never takes what another one has taken first.
fn withdraw(log: &Partition<Utf8, U64>, amount: u64) -> AnyResult<Met> {
    let (mut account, mut met) = (Account::default(), Met::default());
    while met.refused == 0 {
        account.catch_up(log)?;
        if account.balance < amount {
            met.refused += 1;
            continue;
        }
        thread::yield_now(); // deciding takes a while: the other one may be faster
        match log.append_expecting(account.version, [Record::new(&amount).key("withdrawn")]) {
            Ok(appended) => {
                appended.wait()?;
                met.withdrawn += amount;
            }
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedOffset { .. } => {
                    met.conflicts += 1;
                    // What the other one has appended is there to be read when it is durable.
                    drop(log.read(account.version..)?.poll().wait()?);
                }
                _ => return Err(error.into()),
            },
        }
    }
    Ok(met)
}

fn main() -> AnyResult<()> {
    let dir = std::env::temp_dir().join(format!("event-sourcing-{}", std::process::id()));
    let broker = Broker::open(&dir)?;
    let log = broker.topic(&ACCOUNT)?.partition(0)?;
    log.append_expecting(Offset::ZERO, [Record::new(&OPENING).key("deposited")])?.wait()?;

    let writers = [3, 7].map(|amount| {
        let log = log.clone();
        thread::spawn(move || withdraw(&log, amount))
    });
    let mut withdrawn = 0;
    for writer in writers {
        let met = writer.join().map_err(|_| "a writer panicked")??;
        println!("withdrew {} in conflict with another writer {} times", met.withdrawn, met.conflicts);
        withdrawn += met.withdrawn;
    }
    let mut account = Account::default();
    account.catch_up(&log)?;
    println!("{} events, balance {}: {OPENING} - {withdrawn}", account.version, account.balance);
    if account.balance != OPENING - withdrawn {
        return Err("somebody has taken what was not there".into());
    }
    drop(log);
    broker.close().wait()?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
