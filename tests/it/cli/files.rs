//! `dump`, `verify` and `repair`: the files themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tool::{Done, Tool, example, feed};

const LOG: &str = "t-0/00000000000000000000.log";

fn dump(path: &Path) -> Done {
    feed(Command::new(example("millpond")).arg("dump").arg(path), b"")
}

/// A directory that was closed, with batches of one record each.
fn closed(lines: &[&str]) -> Tool {
    let tool = Tool::new();
    tool.run("create --topic t").ok();
    for line in lines {
        tool.produce("--topic t --key-column 1", format!("{line}\n").as_bytes());
    }
    tool
}

/// A directory whose program was killed after these records had been acknowledged.
fn killed(settings: &str, lines: &[&str]) -> Tool {
    let tool = Tool::new();
    let mut child = tool.spawn(&format!("produce --topic t {settings} --acks-to -"));
    let mut input = child.stdin.take().unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap());
    for line in lines {
        writeln!(input, "{line}").unwrap();
        acks.read_line(&mut String::new()).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    tool
}

/// Every file, with its bytes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Runs a command that must leave every byte as it is.
fn run_without_a_trace(tool: &Tool, arguments: &str) -> Done {
    let before = snapshot(&tool.data());
    let done = tool.run(arguments);
    assert_eq!(before, snapshot(&tool.data()), "{arguments} changed something");
    done
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn dump_prints_batches_and_records() {
    let tool = closed(&["k,one", "l,two"]);
    let done = dump(&tool.data().join(LOG)).ok();
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines.len(), 5, "{}", done.text());
    assert!(lines[0].starts_with("Dumping ") && lines[0].ends_with(LOG));
    let first = "baseOffset: 0 lastOffset: 0 count: 1 baseSequence: -1 lastSequence: -1 producerId: -1 \
                 producerEpoch: -1 partitionLeaderEpoch: 0 isTransactional: false isControl: false \
                 deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: ";
    assert!(lines[1].starts_with(first), "{}", lines[1]);
    assert!(lines[1].contains(" magic: 2 compresscodec: none crc: ") && lines[1].ends_with(" isvalid: true"));
    assert!(lines[2].starts_with("| offset: 0 CreateTime: "), "{}", lines[2]);
    assert!(lines[2].ends_with(" keySize: 1 valueSize: 5 sequence: -1 headerKeys: [] key: k payload: k,one"));
    assert!(lines[3].starts_with("baseOffset: 1 lastOffset: 1 count: 1 "));
    assert!(lines[4].ends_with("key: l payload: l,two"));
}

#[test]
fn dump_shows_what_is_damaged() {
    let tool = closed(&["k,one", "l,two"]);
    let path = tool.data().join(LOG);
    let whole = fs::read(&path).unwrap();
    let batch = whole.len() / 2;

    flip_byte(&path, batch - 3);
    let done = dump(&path);
    assert_eq!(done.code, 1);
    assert!(
        done.text().contains("isvalid: false") && done.text().contains("isvalid: true"),
        "{}",
        done.text()
    );

    // Not a batch at all: what comes before it is shown.
    flip_byte(&path, batch + 16);
    let done = dump(&path).failed(1, &format!("damaged at byte {batch}"));
    assert!(done.text().contains("baseOffset: 0"), "{}", done.text());

    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    dump(&path).failed(1, &format!("damaged at byte {batch}"));
    fs::write(&path, &whole[..batch + 20]).unwrap();
    dump(&path).failed(1, &format!("damaged at byte {batch}"));
    fs::write(&path, []).unwrap();
    assert_eq!(dump(&path).ok().text().lines().count(), 1);
}

#[test]
fn dump_says_what_a_file_is_that_something_left_behind() {
    let tool = closed(&["k,one"]);
    let log = tool.data().join(LOG);
    let left = log.with_extension("log.swap");
    fs::copy(&log, &left).unwrap();
    let done = dump(&left).ok();
    let text = done.text();
    assert!(text.contains("of a compacted segment, whole: the next opening"), "{text}");
    assert!(text.contains("baseOffset: 0"), "{text}");
    assert!(!dump(&log).ok().text().contains("opening"));
    let done = tool.run("verify");
    assert!(done.text().contains("not decided on: the next opening deletes it"), "{done:?}");
    tool.produce("--topic t", b"after\n");
    assert!(!left.exists());
}

#[test]
fn dump_reads_a_file_that_is_in_use() {
    let tool = killed("--durability memory", &["a", "b"]);
    let done = dump(&tool.data().join(LOG)).ok();
    assert!(done.text().contains("position: 0 ") && done.text().contains("not sealed"), "{}", done.text());
}

#[test]
fn verify_is_clean_after_a_clean_close() {
    let tool = closed(&["k,one", "l,two"]);
    let done = run_without_a_trace(&tool, "verify").ok();
    assert_eq!(done.text(), "clean: 1 partitions, 2 batches, 2 records, 148 bytes\n");
    let tool = Tool::new();
    tool.run("create --topic t --partitions 3").ok();
    run_without_a_trace(&tool, "verify").ok();
}

#[test]
fn verify_finds_what_the_next_opening_settles() {
    // An open batch that a kill left; the commands that only look leave it so.
    let tool = killed("--durability memory", &["a", "b"]);
    let done = run_without_a_trace(&tool, "verify");
    assert_eq!((done.code, done.err.as_str()), (1, ""), "{}", done.text());
    assert!(done.text().contains("t-0"), "{}", done.text());
    run_without_a_trace(&tool, "topics").ok();
    run_without_a_trace(&tool, "describe").ok();
    tool.produce("--topic t", b"");
    run_without_a_trace(&tool, "verify").ok();
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 2);

    // A batch that a power cut tore: the next opening cuts it.
    let tool = killed("--durability sync", &["a", "b"]);
    let path = tool.data().join(LOG);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&[0x55; 100]).unwrap();
    drop(file);
    let done = run_without_a_trace(&tool, "verify");
    assert_eq!((done.code, done.err.as_str()), (1, ""), "{}", done.text());
    tool.produce("--topic t", b"");
    tool.run("verify").ok();
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 2);
}

#[test]
fn verify_names_file_and_position_of_damage_and_repair_cuts_it() {
    let tool = closed(&["k,one", "l,two", "m,three"]);
    let path = tool.data().join(LOG);
    let second = fs::read(&path).unwrap().len() / 3;
    flip_byte(&path, second + 70);
    let done = run_without_a_trace(&tool, "verify");
    assert_eq!(done.code, 2, "{done:?}");
    let said = format!("{}{}", done.text(), done.err);
    assert!(said.contains(LOG) && said.contains("byte "), "{said}");

    let done = tool.run("repair").ok();
    assert!(done.text().contains("t-0"), "{}", done.text());
    tool.run("verify").ok();
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 1);
    tool.produce("--topic t", b"after\n");
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 2);
}

#[test]
fn repair_of_a_clean_directory_drops_nothing() {
    let tool = closed(&["k,one"]);
    let done = tool.run("repair").ok();
    assert!(done.text().contains("nothing"), "{}", done.text());
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 1);
}

#[test]
fn beside_a_live_broker_looking_works_and_writing_is_refused() {
    let tool = Tool::new();
    let mut child = tool.spawn("produce --topic t --durability memory --acks-to -");
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "one").unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap());
    acks.read_line(&mut String::new()).unwrap();

    assert_eq!(tool.run("topics").ok().text(), "t\n");
    assert!(tool.run("describe").ok().text().contains("durability=memory"));
    dump(&tool.data().join(LOG)).ok();
    let done = tool.run("verify");
    assert!(matches!(done.code, 0 | 1), "{done:?}");
    assert!(done.text().contains("live"), "{}", done.text());
    for command in ["produce --topic t", "create --topic u", "delete --topic t", "repair"] {
        tool.run(command).failed(1, "");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 1);
    tool.run("verify").ok();
}

#[test]
fn what_can_be_read_beside_a_damaged_partition_is_printed() {
    let tool = Tool::new();
    tool.run("create --topic t --partitions 3").ok();
    let lines: String = (0..60).map(|n| format!("{n},v\n")).collect();
    tool.produce("--topic t --key-column 1", lines.as_bytes());
    tool.run("reset-offsets --group g --topic t --to 0").ok();
    flip_byte(&tool.data().join("t-1/00000000000000000000.log"), 70);

    for (arguments, start) in [
        ("lag", "g\tt\t"),
        ("lag --group g", "g\tt\t"),
        ("groups --group g", "  t-"),
        ("describe --topic t", "  partition "),
    ] {
        let done = run_without_a_trace(&tool, arguments);
        assert_eq!(done.code, 1, "{arguments}: {}", done.err);
        let numbers: Vec<_> = done.text().lines().filter_map(|line| line.strip_prefix(start)).collect();
        assert!(
            numbers.len() == 2 && numbers[0].starts_with('0') && numbers[1].starts_with('2'),
            "{numbers:?}"
        );
        assert!(done.err.starts_with("millpond: t-1: damaged at byte 0"), "{}", done.err);
        assert!(done.err.contains("verify") && done.err.lines().count() == 1, "{}", done.err);
    }
}
