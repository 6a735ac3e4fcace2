//! The coordinator under drawn schedules: producers that come and go, commits that are delayed, timeouts, markers that
//! come late, flushes in any order, crashes that take what was not flushed. Checked after every step.
//!
//! `SEED=n` runs one schedule.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::coordinator::{Coordinator, Effect, Ended, Holder, Now, Phase};
use super::recovery::LeftOpen;
use crate::format::batch::{Attributes, BatchHeader};
use crate::format::control::TxnOutcome;
use crate::format::transaction_state::{StateKey, TxnState, TxnStatus};
use crate::types::{TopicName, TopicPartition};

const IDS: [&str; 2] = ["one", "two"];
const PARTITIONS: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers that are drawn.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What stands in a partition's log.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// A record of this transaction, by its number.
    Data(Holder, u64),
    Marker(Ended),
}

/// A partition: its log, how much of it is durable, and its producers.
#[derive(Clone, Default)]
struct Pond {
    entries: Vec<Entry>,
    flushed: usize,
    table: crate::partition::ProducerTable,
}

fn header(holder: Holder, sequence: i32, offset: usize) -> BatchHeader {
    BatchHeader {
        base_offset: offset as i64,
        batch_length: 49,
        leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: Attributes::NONE.with_transactional(),
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: holder.producer_id,
        producer_epoch: holder.epoch,
        base_sequence: sequence,
        records_count: 1,
    }
}

impl Pond {
    /// Appends a record; false if the partition refuses it.
    fn append(&mut self, holder: Holder, sequence: i32, txn: u64) -> bool {
        let header = header(holder, sequence, self.entries.len());
        if self.table.admit(&header).is_err() {
            return false;
        }
        self.table.note(&header, 0);
        self.entries.push(Entry::Data(holder, txn));
        true
    }

    /// Appends a marker, if its transaction is open here; answers whether it did.
    fn mark(&mut self, ended: Ended) -> bool {
        let Holder { producer_id, epoch } = ended.holder;
        let open = self
            .table
            .get(producer_id)
            .is_some_and(|known| known.open_transaction().is_some() && known.epoch() == epoch);
        if !open {
            return false;
        }
        self.table.admit_marker(producer_id, epoch).expect("it is open");
        let offset = self.entries.len() as u64;
        let marker = crate::partition::Marker {
            producer_id,
            epoch,
            outcome: ended.outcome,
            coordinator_epoch: 0,
            offset,
        };
        self.table.end(&marker, 0);
        self.entries.push(Entry::Marker(ended));
        true
    }

    /// A crash: what is not durable may be gone.
    fn crash(&mut self, kept: usize) {
        self.entries.truncate(kept);
        self.flushed = kept;
        let entries = std::mem::take(&mut self.entries);
        self.table = Default::default();
        let mut sequences: HashMap<Holder, i32> = HashMap::new();
        for entry in entries {
            match entry {
                Entry::Data(holder, txn) => {
                    let sequence = sequences.entry(holder).or_insert(0);
                    assert!(self.append(holder, *sequence, txn), "it was there");
                    *sequence += 1;
                }
                Entry::Marker(ended) => assert!(self.mark(ended), "it was there"),
            }
        }
    }

    fn stable(&self) -> usize {
        self.table.first_unstable().map_or(self.entries.len(), |first| first as usize)
    }

    /// The transactions that are committed here, each with how many records: those below this offset.
    fn committed(&self, below: usize) -> BTreeMap<u64, usize> {
        let mut ends: HashMap<Holder, TxnOutcome> = HashMap::new();
        for entry in &self.entries {
            if let Entry::Marker(ended) = entry {
                assert!(ends.insert(ended.holder, ended.outcome).is_none(), "a second marker: {ended:?}");
            }
        }
        let mut visible = BTreeMap::new();
        for entry in &self.entries[..below] {
            if let Entry::Data(holder, txn) = entry {
                if ends.get(holder) == Some(&TxnOutcome::Commit) {
                    *visible.entry(*txn).or_insert(0) += 1;
                }
            }
        }
        visible
    }
}

/// Who holds an id, as it sees it.
#[derive(Clone, Debug)]
struct Client {
    id: usize,
    holder: Holder,
    /// The number of its transaction, and the records in each partition.
    open: Option<(u64, BTreeMap<u32, i32>)>,
    /// Its commit waits for flushes, or for its record.
    committing: Option<Option<usize>>,
    /// It has been fenced, or its process is gone.
    over: bool,
}

#[derive(Default)]
struct World {
    coordinator: Coordinator,
    ponds: Vec<Pond>,
    /// The topic of states, and how much of it is durable.
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    flushed: usize,
    clients: Vec<Client>,
    /// Markers that wait to be appended.
    marks: Vec<(String, TopicPartition, Ended)>,
    appended: Vec<(String, TopicPartition, Ended, usize)>,
    now: Duration,
    next_producer: i64,
    next_txn: u64,
    /// What each transaction has sent to each partition.
    sent: BTreeMap<u64, BTreeMap<u32, usize>>,
    /// Those whose commit was acknowledged, or is known to have been refused.
    fates: BTreeMap<u64, bool>,
    committed: u64,
    crashes: u64,
    /// What damaged openings could not tell.
    undecided: usize,
    /// Ids that nobody has used for long.
    forgotten: u64,
    /// Open transactions that were written down.
    noted: u64,
}

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), partition)
}

impl World {
    fn new() -> World {
        let ponds = (0..PARTITIONS).map(|_| Pond::default()).collect();
        World { ponds, ..World::default() }
    }

    /// Both ids have nearly used up their epochs.
    fn grown_old(mut self) -> World {
        for (id, producer_id) in IDS.iter().zip(0..) {
            let state = TxnState {
                producer_id,
                epoch: i16::MAX - 4,
                timeout_ms: 5_000,
                status: TxnStatus::Empty,
                partitions: Vec::new(),
                updated: 0,
                started: -1,
                earlier: Vec::new(),
            };
            self.records.push((StateKey::encode(id), Some(state.encode())));
        }
        self.next_producer = IDS.len() as i64;
        self.flushed = self.records.len();
        for (offset, (key, value)) in (0..).zip(&self.records) {
            assert!(self.coordinator.replay(offset, key, value.as_deref()));
        }
        self
    }

    fn clock(&self) -> Now {
        Now { monotonic: self.now, wall: self.now.as_millis() as i64 }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write { id, state } => {
                    self.records.push((StateKey::encode(&id), Some(state.encode())));
                }
                Effect::Forget { id } => {
                    self.records.push((StateKey::encode(&id), None));
                    self.forgotten += 1;
                }
                Effect::Mark { id, tp, ended } => self.marks.push((id, tp, ended)),
            }
        }
    }

    fn take(&mut self, id: usize) {
        let (now, next) = (self.clock(), self.next_producer);
        let mut effects = Vec::new();
        let taken = self.coordinator.init(IDS[id], TIMEOUT, now, || Ok(next), &mut effects);
        let Ok(holder) = taken else { return };
        if holder.producer_id == next {
            self.next_producer += 1;
        }
        for client in self.clients.iter_mut().filter(|client| client.id == id && !client.over) {
            client.over = true;
            if let Some((txn, _)) = client.open.take() {
                self.fates.insert(txn, false);
            }
        }
        self.carry_out(effects);
        // Taking an id waits for its record, and for the markers of what it aborts.
        self.flushed = self.records.len();
        self.append_marks(usize::MAX);
        self.clients.push(Client { id, holder, open: None, committing: None, over: false });
    }

    fn append_marks(&mut self, most: usize) {
        for _ in 0..most.min(self.marks.len()) {
            let (id, tp, ended) = self.marks.remove(0);
            let pond = &mut self.ponds[tp.partition() as usize];
            if pond.mark(ended) {
                let end = pond.entries.len();
                self.appended.push((id, tp, ended, end));
            } else {
                self.coordinator.marked(&id, &tp, ended);
            }
        }
    }

    fn collect(&mut self) {
        let World { coordinator, ponds, appended, .. } = self;
        appended.retain(|(id, tp, ended, end)| {
            let durable = ponds[tp.partition() as usize].flushed >= *end;
            if durable {
                coordinator.marked(id, tp, *ended);
            }
            !durable
        });
    }

    fn begin(&mut self, at: usize) {
        // A marker of the last transaction that could not be appended yet refuses the records of this one.
        let (now, next) = (self.clock(), self.next_producer);
        let client = &mut self.clients[at];
        if client.open.is_some() || client.committing.is_some() {
            return;
        }
        match self.coordinator.begin(IDS[client.id], client.holder, now, || Ok(next)) {
            Ok(holder) => {
                assert!(!client.over);
                if holder.producer_id == next {
                    self.next_producer += 1;
                }
                client.holder = holder;
                client.open = Some((self.next_txn, BTreeMap::new()));
                self.next_txn += 1;
            }
            Err(_) => assert!(client.over, "{client:?}"),
        }
    }

    fn send(&mut self, at: usize, partition: u32) {
        let client = &mut self.clients[at];
        // A zombie goes on with what it knows: the coordinator must refuse it.
        if client.committing.is_some() {
            return;
        }
        let touched = self.coordinator.touch(IDS[client.id], client.holder, &tp(partition));
        if client.over {
            assert!(touched.is_err(), "a fenced producer got something in");
            // Even if it had asked before: the partition refuses it once the marker is there.
            return;
        }
        let Some((txn, sequences)) = &mut client.open else { return };
        if touched.is_err() {
            self.fates.insert(*txn, false);
            client.open = None;
            return;
        }
        let sequence = sequences.entry(partition).or_insert(0);
        if self.ponds[partition as usize].append(client.holder, *sequence, *txn) {
            *sequence += 1;
            *self.sent.entry(*txn).or_default().entry(partition).or_insert(0) += 1;
        } else {
            // The last transaction's marker is not there yet: this one fails, and is aborted.
            self.abort(at);
        }
    }

    fn abort(&mut self, at: usize) {
        let now = self.clock();
        let client = &mut self.clients[at];
        if client.committing.is_some() {
            return;
        }
        let Some((txn, _)) = client.open.take() else { return };
        let mut effects = Vec::new();
        if let Some(holder) = self.coordinator.abort(IDS[client.id], client.holder, now, &mut effects) {
            client.holder = holder;
        }
        self.fates.insert(txn, false);
        self.carry_out(effects);
    }

    fn commit(&mut self, at: usize) {
        if self.clients[at].open.is_some() && self.clients[at].committing.is_none() {
            self.clients[at].committing = Some(None);
        }
    }

    /// One step of a commit that is on its way.
    fn advance(&mut self, at: usize) {
        let now = self.clock();
        let client = self.clients[at].clone();
        let (Some(step), Some((txn, sequences))) = (client.committing, client.open) else {
            self.clients[at].committing = None;
            return;
        };
        let id = IDS[client.id];
        let mut effects = Vec::new();
        match step {
            None => {
                for partition in sequences.keys() {
                    let pond = &mut self.ponds[*partition as usize];
                    pond.flushed = pond.entries.len();
                }
                self.collect();
                match self.coordinator.commit(id, client.holder, now, &mut effects) {
                    Ok(true) => {
                        self.carry_out(effects);
                        self.clients[at].committing = Some(Some(self.records.len()));
                    }
                    Ok(false) => self.ended(at, txn, true, client.holder),
                    Err(_) => self.ended(at, txn, false, client.holder),
                }
            }
            Some(end) if self.flushed >= end => {
                let holder = self.coordinator.decided(id, client.holder, &mut effects);
                let holder = holder.expect("it was being decided");
                self.carry_out(effects);
                self.ended(at, txn, true, holder);
            }
            Some(_) => {}
        }
    }

    fn ended(&mut self, at: usize, txn: u64, committed: bool, holder: Holder) {
        let client = &mut self.clients[at];
        (client.open, client.committing, client.holder) = (None, None, holder);
        self.fates.insert(txn, committed);
        self.committed += u64::from(committed);
    }

    fn is_busy(&self, id: &str, holder: Holder) -> bool {
        let mine = |client: &Client| IDS[client.id] == id && client.holder == holder;
        self.clients.iter().any(|client| mine(client) && client.committing.is_some())
    }

    fn tick(&mut self) {
        let now = self.clock();
        for (id, holder) in self.coordinator.unnoted(now) {
            if !self.is_busy(&id, holder) {
                let note = self.coordinator.note(&id, holder, now).expect("it is open");
                self.carry_out(vec![note]);
                self.noted += 1;
            }
        }
        for (id, holder) in self.coordinator.overdue(now) {
            if self.is_busy(&id, holder) {
                continue;
            }
            let mut effects = Vec::new();
            let next = self.coordinator.abort(&id, holder, now, &mut effects).expect("it is overdue");
            self.carry_out(effects);
            let mine = |client: &&mut Client| IDS[client.id] == id && client.holder == holder;
            if let Some(client) = self.clients.iter_mut().find(mine) {
                client.holder = next;
                if let Some((txn, _)) = client.open.take() {
                    self.fates.insert(txn, false);
                }
            }
        }
    }

    /// Ids without a client are forgotten, if nothing of them is left to be done.
    fn expire(&mut self) {
        let World { coordinator, clients, .. } = self;
        let held = |id: &str| clients.iter().any(|client| IDS[client.id] == id && !client.over);
        let mut effects = Vec::new();
        coordinator.expire(self.now.as_millis() as i64 - 1_000, held, &mut effects);
        self.carry_out(effects);
    }

    /// The process, or the power, is gone: of what was not flushed any prefix is kept.
    fn crash(&mut self, draw: &mut Draw) {
        self.crashes += 1;
        for pond in &mut self.ponds {
            let loose = pond.entries.len() - pond.flushed;
            let kept = pond.flushed + draw.below(loose as u64 + 1) as usize;
            pond.crash(kept);
        }
        let loose = self.records.len() - self.flushed;
        let kept = self.flushed + draw.below(loose as u64 + 1) as usize;
        self.records.truncate(kept);
        self.flushed = kept;
        (self.marks, self.appended, self.clients) = (Vec::new(), Vec::new(), Vec::new());
        self.coordinator = Coordinator::default();
        for (offset, (key, value)) in (0..).zip(&self.records) {
            assert!(self.coordinator.replay(offset, key, value.as_deref()));
        }
        let (mut open, mut epochs) = (Vec::new(), BTreeMap::new());
        for (partition, pond) in (0..).zip(&self.ponds) {
            for (_, producer_id, epoch) in pond.table.open_transactions() {
                open.push(LeftOpen { tp: tp(partition), holder: Holder { producer_id, epoch } });
            }
            for (id, known) in pond.table.all() {
                let epoch = epochs.entry(id).or_insert(known.epoch());
                *epoch = known.epoch().max(*epoch);
            }
        }
        let mut effects = Vec::new();
        self.open_damaged(&open, &epochs, draw);
        let undecided = self.coordinator.opened(&open, &epochs, 0, &mut effects);
        assert!(undecided.is_empty());
        self.coordinator.end_noted(0, self.clock(), &mut effects);
        self.carry_out(effects);
        self.append_marks(usize::MAX);
        for pond in &self.ponds {
            assert_eq!(pond.table.first_unstable(), None, "something hangs after an opening");
        }
        assert_eq!(self.said_to_be_open(), 0, "nothing is open after an opening");
    }

    /// With some records unread, everything is ended as it would be with all of them, or undecided.
    fn open_damaged(&mut self, open: &[LeftOpen], epochs: &BTreeMap<i64, i16>, draw: &mut Draw) {
        let whole = {
            let mut effects = Vec::new();
            self.coordinator.clone().opened(open, epochs, 0, &mut effects);
            effects
        };
        let from = draw.below(self.records.len() as u64 + 1);
        let unread = from + draw.below(self.records.len() as u64 + 1 - from);
        let mut damaged = Coordinator::default();
        for (offset, (key, value)) in (0..).zip(&self.records) {
            if offset < from || offset >= unread {
                assert!(damaged.replay(offset, key, value.as_deref()));
            }
        }
        let mut effects = Vec::new();
        let undecided = damaged.opened(open, epochs, if from < unread { unread } else { 0 }, &mut effects);
        assert_eq!(undecided.len() + effects.len(), open.len());
        let outcome = |effect: &Effect| match effect {
            Effect::Mark { tp, ended, .. } => (tp.clone(), *ended),
            Effect::Write { .. } | Effect::Forget { .. } => panic!("an opening writes nothing"),
        };
        let whole: Vec<_> = whole.iter().map(outcome).collect();
        for effect in &effects {
            assert!(whole.contains(&outcome(effect)), "{effect:?} without the records {from}..{unread}");
        }
        self.undecided += undecided.len();
    }

    /// How many ids have a transaction open, as who looks from outside is told.
    fn said_to_be_open(&self) -> usize {
        let last: HashMap<_, _> = self.records.iter().map(|(key, value)| (key, value.as_deref())).collect();
        let states = last.values().filter_map(|value| TxnState::decode((*value)?).ok());
        states.filter(|state| state.status == TxnStatus::Ongoing).count()
    }

    /// All or nothing, once the markers are there; nothing acknowledged is missing, nothing refused is seen.
    fn check(&self, settled: bool) {
        // What lies behind an open transaction is seen when that has ended: whatever it is.
        let visible = self.ponds.iter().map(|pond| pond.committed(pond.stable()));
        let seen: BTreeSet<u64> = visible.flat_map(BTreeMap::into_keys).collect();
        let all: Vec<_> = self.ponds.iter().map(|pond| pond.committed(pond.entries.len())).collect();
        for txn in seen.iter().chain(self.fates.iter().filter(|(_, done)| **done).map(|(txn, _)| txn)) {
            let sent = self.sent.get(txn).cloned().unwrap_or_default();
            if seen.contains(txn) {
                assert_ne!(self.fates.get(txn), Some(&false), "transaction {txn} was refused, and is seen");
            }
            if !settled {
                continue;
            }
            for (partition, of) in (0..).zip(&all) {
                let (found, wanted) = (of.get(txn).copied(), sent.get(&partition).copied());
                assert_eq!(found, wanted, "transaction {txn} in partition {partition}");
            }
        }
    }

    fn step(&mut self, draw: &mut Draw) {
        let client = draw.below(self.clients.len().max(1) as u64) as usize;
        let there = client < self.clients.len();
        match draw.below(100) {
            0..5 => self.take(draw.below(2) as usize),
            5..20 if there => self.begin(client),
            20..50 if there => self.send(client, draw.below(u64::from(PARTITIONS)) as u32),
            50..58 if there => self.commit(client),
            58..62 if there => self.abort(client),
            62..76 if there => self.advance(client),
            76..84 => self.append_marks(1 + draw.below(3) as usize),
            84..88 => self.flushed = self.records.len(),
            88..92 => {
                let pond = &mut self.ponds[draw.below(u64::from(PARTITIONS)) as usize];
                pond.flushed = pond.entries.len();
            }
            92..94 => self.collect(),
            94..98 => {
                self.now += Duration::from_millis(500 + draw.below(2_000));
                self.tick();
            }
            98 => self.crash(draw),
            _ => self.expire(),
        }
    }
}

fn run(seed: u64) -> [u64; 5] {
    let mut world = if seed % 3 == 0 { World::new().grown_old() } else { World::new() };
    let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..300 {
        world.step(&mut draw);
        world.check(world.marks.is_empty());
    }
    // Time passes, everything is carried out: nothing is open, nothing hangs.
    for _ in 0..20 {
        world.flushed = world.records.len();
        (0..world.clients.len()).for_each(|client| world.advance(client));
        world.append_marks(usize::MAX);
    }
    world.now += TIMEOUT * 2;
    world.tick();
    world.append_marks(usize::MAX);
    for pond in &mut world.ponds {
        assert_eq!(pond.table.first_unstable(), None, "the last stable offset stands still");
        pond.flushed = pond.entries.len();
    }
    world.collect();
    assert!(world.coordinator.unmarked().is_empty(), "{:?}", world.coordinator.unmarked());
    world.check(true);
    assert_eq!(world.said_to_be_open(), 0, "what was noted is said to have ended");
    world.crash(&mut draw);
    world.check(true);
    [world.committed, world.crashes, world.undecided as u64, world.forgotten, world.noted]
}

#[test]
fn transactions_are_atomic_under_any_schedule() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let mut all = [0; 5];
    for seed in 0..3_000 {
        let ran = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("SEED={seed}"));
        all.iter_mut().zip(ran).for_each(|(sum, more)| *sum += more);
    }
    let [committed, crashes, undecided, forgotten, noted] = all;
    assert!(noted > 2_000, "{noted} noted");
    assert!(forgotten > 500, "{forgotten} forgotten");
    assert!(undecided > 1_000, "{undecided} undecided");
    assert!(committed > 4_000 && crashes > 8_000, "{committed} committed, {crashes} crashes");
}

fn now() -> Now {
    Now { monotonic: Duration::from_secs(1), wall: 1_000 }
}

#[test]
fn the_states_of_kafka_are_written() {
    let mut coordinator = Coordinator::default();
    let mut out = Vec::new();
    let holder = coordinator.init("one", TIMEOUT, now(), || Ok(1000), &mut out).unwrap();
    let status = |effect: &Effect| match effect {
        Effect::Write { state, .. } => (state.status, state.epoch, state.partitions.len()),
        Effect::Mark { .. } | Effect::Forget { .. } => panic!("{effect:?}"),
    };
    assert_eq!(status(&out[0]), (TxnStatus::Empty, 0, 0));
    out.clear();
    let holder = coordinator.begin("one", holder, now(), || Ok(1)).unwrap();
    coordinator.touch("one", holder, &tp(1)).unwrap();
    assert!(coordinator.commit("one", holder, now(), &mut out).unwrap());
    assert_eq!(status(&out[0]), (TxnStatus::PrepareCommit, 0, 1));
    assert!(matches!(coordinator.get("one").unwrap().phase, Phase::Deciding { .. }));
    let holder = coordinator.decided("one", holder, &mut out).unwrap();
    assert_eq!(holder, Holder { producer_id: 1000, epoch: 1 });
    out.clear();
    let holder = coordinator.begin("one", holder, now(), || Ok(1)).unwrap();
    coordinator.touch("one", holder, &tp(2)).unwrap();
    coordinator.abort("one", holder, now(), &mut out).unwrap();
    assert!(matches!(out[0], Effect::Mark { .. }));
    let Effect::Write { state, .. } = &out[1] else { panic!("{out:?}") };
    assert_eq!((state.status, state.epoch), (TxnStatus::CompleteAbort, 1));
    assert_eq!(state.earlier[0].partitions, [("t".to_owned(), vec![1])], "its marker may not be durable");
}

#[test]
fn epochs_that_are_used_up_go_on_with_another_producer_id() {
    let mut coordinator = Coordinator::default();
    let mut out = Vec::new();
    let mut holder = coordinator.init("one", TIMEOUT, now(), || Ok(1), &mut out).unwrap();
    let mut ids = BTreeSet::new();
    for n in 0..33_000 {
        holder = coordinator.begin("one", holder, now(), || Ok(2)).unwrap();
        assert!(ids.insert(holder), "{holder:?} was given twice");
        coordinator.touch("one", holder, &tp(0)).unwrap();
        holder = coordinator.abort("one", holder, now(), &mut out).unwrap();
        let ended =
            Ended { holder: Holder { epoch: holder.epoch - 1, ..holder }, outcome: TxnOutcome::Abort };
        coordinator.marked("one", &tp(0), ended);
        out.clear();
        assert!(n < 32_766 || holder.producer_id == 2);
    }
}

/// However many transactions are open, and whenever they began: one look a second.
#[test]
fn open_transactions_are_looked_at_together() {
    let mut coordinator = Coordinator::default();
    let at = |millis: u64| Now { monotonic: Duration::from_millis(millis), wall: 0 };
    for n in 0..500 {
        let id = format!("id-{n}");
        let timeout = Duration::from_secs(60);
        let holder = coordinator.init(&id, timeout, at(0), || Ok(n), &mut Vec::new()).unwrap();
        let holder = coordinator.begin(&id, holder, at(2 * n as u64), || Ok(n)).unwrap();
        coordinator.touch(&id, holder, &tp(0)).unwrap();
    }
    let (mut noted, mut looks) = (0, 0);
    while let Some(due) = coordinator.next_due().filter(|due| *due <= Duration::from_secs(10)) {
        let now = Now { monotonic: due, wall: 0 };
        for (id, holder) in coordinator.unnoted(now) {
            noted += usize::from(coordinator.note(&id, holder, now).is_some());
        }
        if looks == 2 {
            assert_eq!(noted, 500, "within two seconds");
        }
        looks += 1;
    }
    assert_eq!((noted, looks), (500, 10));
}
