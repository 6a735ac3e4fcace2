//! A program that is killed while it writes, again and again on one directory.
//!
//! ```text
//!   produce --> SIGKILL --> verify (0 or 1) --> consume, which opens and closes: every acknowledged record is
//!                                             there --> verify (0)
//! ```
//!
//! Invariant: at `memory` the death of a process loses nothing that was acknowledged.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::process::Stdio;

use super::tool::Tool;

const CYCLES: usize = 20;
const MOST_LINES: u64 = 6_000;

/// Where each record lies, and what it holds.
type Stored = HashMap<(u32, u64), String>;

#[test]
fn nothing_acknowledged_is_lost_to_kills() {
    let seed = std::env::var("MILLPOND_SEED").map_or(0x006d_696c_6c70_6f6e, |seed| seed.parse().unwrap());
    println!("MILLPOND_SEED={seed}");
    let mut random = Random(seed | 1);
    let tool = Tool::new();
    let small = "--set segment_size=256KiB --set batch_size=4KiB";
    tool.run(&format!("create --topic t --partitions 3 --durability memory {small}")).ok();

    let mut acknowledged = HashSet::new();
    let mut sent = HashSet::new();
    let mut unsettled = 0;
    for cycle in 0..CYCLES {
        let lines = kill_while_producing(&tool, cycle, &mut random, &mut sent);
        let new = read_acks(&tool);
        let found = tool.run("verify");
        assert!(matches!(found.code, 0 | 1), "cycle {cycle}: {found:?}");
        unsettled += found.code;

        println!(
            "cycle {cycle}: killed after {lines} lines, {} acknowledged, verify {}",
            new.len(),
            found.code
        );
        acknowledged.extend(new);
        let stored = read_all(&tool);
        let missing = acknowledged.iter().find(|place| !stored.contains_key(place));
        assert!(missing.is_none(), "cycle {cycle}: {missing:?} was acknowledged and is gone");
        check_contents(&stored, &sent);
        tool.run("verify").ok();
    }
    assert!(acknowledged.len() > CYCLES, "only {} records were acknowledged", acknowledged.len());
    assert!(unsettled > 0, "no kill left anything to settle: it came too late each time");
}

/// Kills the tool after some lines have gone into the pipe that it reads; how many it took up is chance.
fn kill_while_producing(tool: &Tool, cycle: usize, random: &mut Random, sent: &mut HashSet<String>) -> u64 {
    let mut command = tool.command("produce --topic t --acks-to acks");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = BufWriter::new(child.stdin.take().unwrap());
    let lines = random.below(MOST_LINES);
    for n in 0..lines {
        let line = format!("{cycle}-{n} {}", "x".repeat(random.below(200) as usize));
        writeln!(input, "{line}").unwrap();
        sent.insert(line);
    }
    // What waits in the buffer goes out before the kill; the pipe stays open, so the tool never ends by itself.
    input.flush().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was to die by the signal");
    lines
}

/// The places acknowledged; a line without its end was never written.
fn read_acks(tool: &Tool) -> Vec<(u32, u64)> {
    let path = tool.beside("acks");
    // Killed before it made the file.
    let text = fs::read_to_string(&path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let place = |line: &str| {
        let mut words = line.trim_end().split(' ');
        assert_eq!(words.next(), Some("acked"));
        (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap())
    };
    let places = whole.map(place).collect();
    File::create(path).unwrap();
    places
}

fn read_all(tool: &Tool) -> Stored {
    let read = tool.run("consume --topic t").ok();
    let record = |line: &str| {
        let column: Vec<&str> = line.split('\t').collect();
        ((column[0].parse().unwrap(), column[1].parse().unwrap()), column[4].to_owned())
    };
    read.text().lines().map(record).collect()
}

/// Offsets have no gaps, and every record is one that was sent, and stands there once.
fn check_contents(stored: &Stored, sent: &HashSet<String>) {
    for partition in 0..3 {
        let count = stored.keys().filter(|(number, _)| *number == partition).count() as u64;
        assert!((0..count).all(|offset| stored.contains_key(&(partition, offset))), "partition {partition}");
    }
    let mut seen = HashSet::new();
    for (place, value) in stored {
        assert!(sent.contains(value), "{place:?} holds what was never sent: {value}");
        assert!(seen.insert(value), "{place:?} holds what stands elsewhere: {value}");
    }
}

/// Numbers by chance (xorshift64*), the same ones for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}
