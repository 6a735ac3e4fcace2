//! A broker, its model beside it, and the steps that both do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReadMode};
use millpond::env::Clock;
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SeededRandom, SimEnvironment, Times};
use millpond::{Error, ErrorKind};

use super::groups::{Committed, Member};
use super::log::Sent;
use super::readers::OpenReader;
use super::topics::Modelled;
use super::transactions::Txn;

/// The calls that fail; the syncs matter most.
const OPS: [Op; 11] = [
    Op::Sync,
    Op::Sync,
    Op::Sync,
    Op::Sync,
    Op::Write,
    Op::Write,
    Op::SyncDir,
    Op::Rename,
    Op::Create,
    Op::Remove,
    Op::SetSize,
];

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// It is full, until this many steps have gone by.
    Full(usize),
    /// A call fails, or has failed; the broker is opened again in so many steps.
    Broken(usize),
}

/// The steps so far, told when the test fails.
pub(super) struct Trace {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\nMILLPOND_SEED={}", self.lines.join("\n"), self.seed);
        }
    }
}

/// Producers, transactional ids and offsets of who is away are forgotten after this time, where they are at all.
pub(super) const EXPIRY: Duration = Duration::from_secs(3_600);

/// A broker on a simulated disk, and what it must show.
pub(super) struct World {
    pub(super) trace: Trace,
    pub(super) sim: SimEnvironment,
    pub(super) random: SeededRandom,
    pub(super) seed: u64,
    pub(super) openings: u64,
    /// `None` only while it is opened again.
    pub(super) broker: Option<Broker>,
    /// By a number that no other has.
    pub(super) topics: BTreeMap<u64, Modelled>,
    /// One that the last step has deleted: a crash in it may leave it.
    pub(super) deleted: Option<(u64, Modelled)>,
    pub(super) next_topic: u64,
    pub(super) records: Vec<Sent>,
    pub(super) txns: Vec<Txn>,
    pub(super) committed: BTreeMap<(String, u64, u32), Committed>,
    pub(super) members: Vec<Member>,
    pub(super) transactional: BTreeMap<usize, TransactionalProducer>,
    pub(super) readers: Vec<OpenReader>,
    pub(super) trouble: Trouble,
    pub(super) steps: usize,
}

pub(super) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let sim = SimEnvironment::new(seed);
        if seed % 8 == 5 {
            sim.disk().distrust_mapped_stores();
        }
        let broker = Some(open(&sim, seed, seed % 5 == 2).unwrap());
        World {
            trace: Trace { seed, lines: Vec::new() },
            sim,
            random: SeededRandom::new(seed),
            seed,
            openings: 1,
            broker,
            topics: BTreeMap::new(),
            deleted: None,
            next_topic: 0,
            records: Vec::new(),
            txns: Vec::new(),
            committed: BTreeMap::new(),
            members: Vec::new(),
            transactional: BTreeMap::new(),
            readers: Vec::new(),
            trouble: Trouble::None,
            steps: 0,
        }
    }

    /// Whether this broker forgets who is away for long.
    pub(super) fn expires(&self) -> bool {
        self.seed % 5 == 2
    }

    /// Runs a program, and ends it in order.
    pub(super) fn run(&mut self, steps: usize) {
        self.create_topic();
        self.create_topic();
        while self.steps < steps {
            self.step(0);
        }
        self.heal();
        self.settle();
        self.reopen_cleanly();
        self.everybody_reads_everything();
        self.audit();
    }

    pub(super) fn broker(&self) -> Broker {
        self.broker.clone().expect("there is one between steps")
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(super) fn one_in(&self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn now(&self) -> i64 {
        self.sim.clock().now().millis()
    }

    pub(super) fn say(&mut self, what: impl Display) {
        let line = format!("{:>3} {what}", self.steps);
        self.trace.lines.push(line);
    }

    /// An error that nothing explains is a failure.
    pub(super) fn bear(&mut self, what: &str, error: &Error, kinds: &[ErrorKind]) {
        self.say(format!("    {what}: {error}"));
        let kind = error.kind();
        let of_the_disk = match self.trouble {
            Trouble::None => false,
            Trouble::Full(_) => {
                matches!(kind, ErrorKind::StorageFull | ErrorKind::Backpressure | ErrorKind::TimedOut)
            }
            Trouble::Broken(_) => matches!(
                kind,
                ErrorKind::Io
                    | ErrorKind::StorageFull
                    | ErrorKind::Poisoned
                    | ErrorKind::Backpressure
                    | ErrorKind::TimedOut
            ),
        };
        assert!(of_the_disk || kinds.contains(&kind), "{what}: {error} ({kind:?})");
    }

    pub(super) fn in_trouble(&self) -> bool {
        self.trouble != Trouble::None
    }

    /// One step; `depth` transactions are open around it.
    pub(super) fn step(&mut self, depth: usize) {
        self.steps += 1;
        self.worsen_or_heal();
        if depth < 2 && self.one_in(7) {
            self.transaction(depth);
        } else if self.one_in(28) && depth < 2 {
            self.reopen();
        } else {
            self.cut_off_sometimes(World::leaf);
        }
        self.look();
    }

    /// A step that opens nothing again.
    fn leaf(&mut self) {
        match self.below(45) {
            0..=4 => self.send(),
            5..=7 => self.send_batch(),
            8..=9 => self.send_named(),
            10 => self.append_expecting(),
            11 => self.flush(),
            12..=15 => self.tick(),
            16 => self.delete_records(),
            17..=18 => self.compact(),
            19 => self.retain(),
            20 => self.alter_topic(),
            21 => self.add_partitions(),
            22 => self.create_topic(),
            23 => self.delete_topic(),
            24..=25 => self.join(),
            26 => self.leave(),
            27..=31 => self.poll(),
            32..=33 => self.commit(),
            34 => self.commit_by_hand(),
            35 => self.seek(),
            36 => self.change_group(),
            37..=38 => self.table(),
            39..=42 => self.read_on(),
            43 => self.observe(),
            _ => self.audit(),
        }
    }

    fn worsen_or_heal(&mut self) {
        match self.trouble {
            Trouble::Full(0) => self.heal(),
            Trouble::Full(left) => self.trouble = Trouble::Full(left - 1),
            Trouble::Broken(0) => self.reopen(),
            Trouble::Broken(left) => self.trouble = Trouble::Broken(left - 1),
            Trouble::None if self.one_in(40) => {
                let pages = self.below(12);
                self.say(format!("the disk is full but for {pages} pages"));
                self.sim.disk().set_capacity(Some(self.sim.disk().used() + pages * 4_096));
                self.trouble = Trouble::Full(1 + self.below(4) as usize);
            }
            Trouble::None if self.one_in(60) => {
                let (nth, op) = (1 + self.below(6), OPS[self.below(OPS.len() as u64) as usize]);
                let times = if self.one_in(4) { Times::Always } else { Times::Once };
                let fault = if self.one_in(4) { Fault::StorageFull } else { Fault::Io };
                self.say(format!("the {nth}th {op:?} fails with {fault:?}, {times:?}"));
                self.sim.disk().inject(Failure::nth(nth, fault).only(op).times(times));
                self.trouble = Trouble::Broken(3 + self.below(6) as usize);
            }
            Trouble::None => {}
        }
    }

    /// The disk has room again.
    pub(super) fn heal(&mut self) {
        if let Trouble::Full(_) = self.trouble {
            self.say("the disk has room again");
            self.sim.disk().set_capacity(None);
            self.trouble = Trouble::None;
        } else if self.in_trouble() {
            self.reopen();
        }
    }

    /// Everything that waits for time is done.
    pub(super) fn settle(&mut self) {
        for _ in 0..3 {
            self.advance(Duration::from_secs(40));
        }
        self.look();
    }

    fn tick(&mut self) {
        let by = match self.below(8) {
            0..=3 => Duration::from_millis(self.below(200)),
            4..=5 => Duration::from_millis(self.below(5_000)),
            6 => Duration::from_secs(self.below(90)),
            _ => Duration::from_secs(self.below(4 * 3_600)),
        };
        self.say(format!("tick {by:?}"));
        self.advance(by);
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.sim.clock().advance(by);
        if let Err(error) = self.broker().tick() {
            self.bear("tick", &error, &[]);
        }
    }
}

/// A broker whose upkeep happens in `tick`; every third one reads by calls.
pub(super) fn open(sim: &SimEnvironment, seed: u64, forgets: bool) -> millpond::Result<Broker> {
    let read_mode = if seed % 3 == 0 { ReadMode::Buffered } else { ReadMode::Mapped };
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .memory_flush_interval(Duration::from_millis(900))
        .checkpoint_interval(Duration::from_millis(500))
        .compaction_interval(Duration::from_secs(15))
        .max_block(Duration::from_millis(20))
        .read_mode(read_mode);
    let config = match forgets {
        true => {
            config.offsets_retention(EXPIRY).producer_expiration(EXPIRY).transactional_id_expiration(EXPIRY)
        }
        false => config,
    };
    let config = if seed % 4 == 1 { config.max_open_segments(16) } else { config };
    Broker::builder("/data").environment(sim.environment()).config(config).open()
}
