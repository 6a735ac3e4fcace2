//! The workloads, one file each: what is done, and which figures come of it.

mod append;
mod batch;
mod codecs;
mod durable;
mod growth;
mod large;
mod latency;
mod opening;
mod producers;
mod random;
mod read;
mod small_memory;
mod tail;
mod topics;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;
use crate::machine::{now, prewarm};
use crate::options::{Child, Options};
use crate::payloads::Payloads;
use crate::peer::{Facts, Kind, Peer, Setup, Writer};
use crate::peers;
use crate::rows::WHY;
use crate::sink::Sink;

/// A workload.
pub struct Work {
    /// On the command line.
    pub name: &'static str,
    /// Above its table.
    pub title: &'static str,
    /// What is done.
    pub what: &'static str,
    /// Its tables: what stands above each, and its columns.
    pub tables: Vec<(String, Vec<Column>)>,
    /// Who takes part.
    pub takes: fn(&Facts) -> bool,
    /// Megabytes made resident before.
    pub warm: usize,
    /// Repetitions, at most: what takes long is done once.
    pub most_reps: usize,
    /// Does it.
    pub run: fn(&Bench<'_>) -> Result<()>,
    /// Pictures of it.
    pub charts: Vec<Chart>,
}

/// A column of a table.
pub struct Column {
    pub head: String,
    pub point: String,
    pub metric: &'static str,
    pub unit: Unit,
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Records a second: more is better.
    Rate,
    /// Bytes a second: more is better.
    BytesPerSecond,
    /// Microseconds: less is better.
    Micros,
    /// Milliseconds: less is better.
    Millis,
    /// Bytes: less is better.
    Bytes,
    /// Bytes of something: neither is better.
    Size,
    /// How often: neither is better.
    Count,
    /// One by the other: less is better.
    Ratio,
}

/// A picture.
pub struct Chart {
    /// Name of its file.
    pub file: &'static str,
    pub title: &'static str,
    pub kind: ChartKind,
}

/// How it is drawn.
pub enum ChartKind {
    /// A bar for each peer.
    Bars { point: &'static str, metric: &'static str, unit: Unit },
    /// A line for each peer: the point is the place on the axis.
    Lines { metric: &'static str, x: &'static str, y: &'static str, unit: Unit },
}

/// A column.
pub fn column(head: &str, point: &str, metric: &'static str, unit: Unit) -> Column {
    Column { head: head.into(), point: point.into(), metric, unit }
}

/// One table, with nothing above it.
pub fn one_table(columns: impl IntoIterator<Item = Column>) -> Vec<(String, Vec<Column>)> {
    vec![(String::new(), columns.into_iter().collect())]
}

/// A picture of bars: records a second.
pub fn bars(file: &'static str, title: &'static str, point: &'static str, metric: &'static str) -> Chart {
    let unit = if metric.starts_with('p') { Unit::Micros } else { Unit::Rate };
    Chart { file, title, kind: ChartKind::Bars { point, metric, unit } }
}

/// All workloads, in the order of the report.
pub fn all() -> Vec<Work> {
    vec![
        append::work(),
        batch::work(),
        durable::work(),
        read::work(),
        random::work(),
        tail::work(),
        latency::work(),
        producers::work(),
        topics::work(),
        topics::footprint(),
        large::work(),
        codecs::work(),
        opening::work(),
        small_memory::work(),
        growth::by_size(),
        growth::by_batch(),
        growth::by_logs(),
        growth::by_length(),
    ]
}

/// Those that keep records in files, and the raw loops.
pub fn files(facts: &Facts) -> bool {
    facts.kind != Kind::Channel && !["handover", "millpond topics"].contains(&facts.name)
}

/// What a workload is done with.
pub struct Bench<'a> {
    pub peer: &'a dyn Peer,
    pub dir: &'a Path,
    pub quick: bool,
    /// What this child is to do, if not the workload itself.
    pub part: Option<&'a str>,
    work: &'static str,
    folders: Cell<u32>,
    /// Figures of what was not yet read back.
    unproved: RefCell<Vec<String>>,
}

/// How long something goes on: until the time is over, or so many records are there.
#[derive(Clone, Copy)]
pub struct Limits {
    pub time: Duration,
    pub most: u64,
}

/// Measures one workload of one peer in this process.
pub fn run_child(child: &Child, options: &Options) -> Result<()> {
    let work = all().into_iter().find(|work| work.name == child.work).ok_or("no such workload")?;
    let peers = peers::all();
    let peer = peers.iter().find(|peer| peer.facts().name == child.peer).ok_or("no such peer")?;
    if child.part.is_none() {
        prewarm(&options.dir, if options.quick { work.warm / 8 } else { work.warm })?;
    }
    let bench = Bench {
        peer: peer.as_ref(),
        dir: &options.dir,
        quick: options.quick,
        part: child.part.as_deref(),
        work: work.name,
        folders: Cell::new(0),
        unproved: RefCell::default(),
    };
    (work.run)(&bench)?;
    bench.prove();
    Ok(())
}

impl Bench<'_> {
    /// For the parent, once what was written has been read back.
    pub fn figure(&self, point: &str, metric: &str, value: f64) {
        self.unproved.borrow_mut().push(format!("figure\t{point}\t{metric}\t{value}"));
    }

    /// What was written is there: the figures count.
    pub fn prove(&self) {
        self.unproved.borrow_mut().drain(..).for_each(|line| println!("{line}"));
    }

    /// Tells the parent why there is no figure.
    pub fn why(&self, point: &str, reason: &str) {
        println!("figure\t{point}: {reason}\t{WHY}\tNaN");
    }

    /// An empty folder.
    pub fn folder(&self) -> Result<PathBuf> {
        self.folders.set(self.folders.get() + 1);
        let folder = self.dir.join(format!("run-{}", self.folders.get()));
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Whether the peer can do this; tells the parent if not.
    pub fn can(&self, point: &str, setup: &Setup) -> bool {
        let reason = self.peer.cannot(self.work, setup);
        if let Some(reason) = reason {
            self.why(point, reason);
        }
        reason.is_none()
    }

    /// Limits of a measurement: so much time, so many bytes of such records.
    pub fn limits(&self, millis: u64, bytes: u64, record: usize) -> Limits {
        let (millis, bytes) = if self.quick { (millis / 5, bytes / 16) } else { (millis, bytes) };
        let most = (bytes.min(self.peer.most_bytes()) / record as u64).max(4);
        Limits { time: Duration::from_millis(millis), most }
    }

    /// Reads a log back from its closed folder and compares.
    pub fn verify(
        &self,
        dir: &Path,
        setup: &Setup,
        log: u32,
        counts: &[u64],
        payloads: &Payloads,
    ) -> Result<()> {
        let mut sink = match payloads.is_stamped() {
            true => Sink::new(counts.len() as u64),
            false => Sink::comparing(payloads),
        };
        self.peer.read_back(dir, setup, log, &mut sink)?;
        sink.finish(counts, payloads)?;
        self.prove();
        Ok(())
    }
}

/// As many repetitions as are asked for.
pub const ALL: usize = usize::MAX;

/// How a writer is called.
#[derive(Clone, Copy)]
pub enum Call {
    /// One record at a time.
    One,
    /// So many at a time.
    Batch(u64),
}

/// Appends a range.
pub fn append(writer: &mut dyn Writer, call: Call, payloads: &mut Payloads, range: Range<u64>) -> Result<()> {
    match call {
        Call::One => writer.append_all(payloads, range),
        Call::Batch(size) => writer.append_batches(payloads, range, size.min(payloads.count())),
    }
}

/// Appends records from number 0 on within limits, looking at the clock once in `step` records; answers
/// how many, and the seconds.
pub fn append_for(
    writer: &mut dyn Writer,
    call: Call,
    payloads: &mut Payloads,
    limits: Limits,
    step: u64,
) -> Result<(u64, f64)> {
    let start = now();
    let mut count = 0;
    while count < limits.most && start.elapsed() < limits.time {
        let end = (count + step).min(limits.most);
        append(writer, call, payloads, count..end)?;
        count = end;
    }
    Ok((count, start.elapsed().as_secs_f64()))
}

/// How many records to write between two looks at the clock.
pub fn step(record: usize, call: Call) -> u64 {
    let few = (64 << 10) / record as u64;
    match call {
        Call::One => few.clamp(1, 256),
        Call::Batch(size) => size,
    }
}
