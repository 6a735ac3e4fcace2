//! Four times as much data as memory: a process in a control group of its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bench, Call, Unit, Work, append_for, column, one_table};
use crate::Result;
use crate::machine::now;
use crate::parent::child_command;
use crate::payloads::Payloads;
use crate::peer::Setup;
use crate::sink::Sink;

const SIZE: usize = 1024;
const BYTES: u64 = 1 << 30;
const MEMORY: u64 = 256 << 20;
/// Tells the child which group to join.
const GROUP: &str = "MILLPOND_PEERS_GROUP";

pub fn work() -> Work {
    Work {
        name: "small-memory",
        title: "More data than memory",
        what: "A process limited to 256 MiB by a control group (page cache included) writes 1 GiB of 1 KiB \
               records in batches of 100, nothing synced, reads all of it, then single records by random \
               offsets for a second.",
        tables: one_table([
            column("append", "limited", "append", Unit::Rate),
            column("read", "limited", "read", Unit::Rate),
            column("random", "limited", "random", Unit::Rate),
        ]),
        takes: |facts| super::files(facts) && !facts.name.starts_with("raw"),
        warm: 0,
        most_reps: 2,
        run,
        charts: Vec::new(),
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    if bench.part.is_some() {
        return limited(bench);
    }
    if !bench.can("limited", &Setup::new(SIZE, BYTES)) {
        return Ok(());
    }
    let group = match Group::create() {
        Ok(group) => group,
        Err(error) => {
            eprintln!("SKIPPED small-memory: no control group can be made here: {error}");
            bench.why("limited", "SKIPPED: no right to limit memory");
            return Ok(());
        }
    };
    let mut command = child_command("small-memory", bench.peer.facts().name, bench.dir, bench.quick)?;
    let output = command.args(["--part", "limited"]).env(GROUP, group.processes()).output()?;
    let text = String::from_utf8(output.stdout)?;
    print!("{text}");
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bench.why("limited", errors.lines().last().unwrap_or("killed: out of memory"));
    }
    Ok(())
}

/// A group that holds the memory of whoever joins it down, and goes with this value.
struct Group(PathBuf);

impl Group {
    fn create() -> Result<Group> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let own =
            |part: &str| text.lines().find_map(|line| line.split_once(part).map(|(_, path)| path.to_owned()));
        let name = format!("millpond-peers-{}", std::process::id());
        let (root, path, limit) = match own(":memory:") {
            Some(path) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            None => ("/sys/fs/cgroup", own("0::").ok_or("no control groups")?, "memory.max"),
        };
        let folder = Path::new(root).join(path.trim_start_matches('/')).join(name);
        fs::create_dir(&folder)?;
        let group = Group(folder);
        fs::write(group.0.join(limit), MEMORY.to_string())?;
        Ok(group)
    }

    fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group of a process that has ended is empty, if not at once.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            crate::machine::pause(std::time::Duration::from_millis(20));
        }
    }
}

fn limited(bench: &Bench<'_>) -> Result<()> {
    let group = std::env::var_os(GROUP).ok_or("no group")?;
    fs::write(group, std::process::id().to_string())?;
    let limits = bench.limits(8000, BYTES, SIZE);
    let setup = Setup { memory: MEMORY, ..Setup::new(SIZE, limits.most * SIZE as u64) };
    let dir = bench.folder()?;
    let log = bench.peer.open(&dir, &setup)?;
    let mut payloads = Payloads::new(SIZE);
    let (count, time) = append_for(log.writer(0)?.as_mut(), Call::Batch(100), &mut payloads, limits, 100)?;
    log.close()?;
    bench.figure("limited", "append", count as f64 / time);

    let log = bench.peer.open(&dir, &setup)?;
    let mut sink = Sink::new(1);
    let start = now();
    {
        let mut reader = log.reader(0)?;
        while reader.read(&mut sink)? {}
    }
    bench.figure("limited", "read", count as f64 / start.elapsed().as_secs_f64());
    sink.finish(&[count], &payloads)?;
    if bench.peer.cannot("random", &setup).is_none() {
        let mut reader = log.reader(0)?;
        bench.figure("limited", "random", super::random::rate(bench, count, reader.as_mut())?);
    }
    log.close()
}
