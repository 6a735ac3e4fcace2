//! `consume --group`, `groups`, `lag`, `reset-offsets`, `delete-group`, `delete-offsets` and `top`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use millpond::prelude::*;

use super::tool::{Done, Tool};

/// Lines 0..n, each of which goes to the partition that its key says.
fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.map(|n| format!("{n}\tv{n}\n")).collect::<String>().into_bytes()
}

fn values(done: &Done) -> BTreeSet<String> {
    done.text().lines().map(|line| line.split('\t').next_back().unwrap().to_owned()).collect()
}

fn expected(numbers: std::ops::Range<u32>) -> BTreeSet<String> {
    numbers.map(|n| format!("v{n}")).collect()
}

/// A consumer of a group ends well, and says on standard error which partitions its workers had.
#[track_caller]
fn shared(done: Done) -> Done {
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.err.lines().all(|line| line.starts_with("millpond: worker ")), "{}", done.err);
    done
}

fn tool() -> Tool {
    let tool = Tool::new();
    tool.run("create --topic t --partitions 3 --durability memory").ok();
    tool
}

const PRODUCE: &str = "--topic t --key-column 1 --delimiter \t";

#[test]
fn a_group_goes_on_where_it_has_printed() {
    let tool = tool();
    tool.produce(PRODUCE, &lines(0..50));
    let first = shared(tool.run("consume --topic t --group g --max 20"));
    let rest = shared(tool.run("consume --topic t --group g"));
    assert_eq!((first.text().lines().count(), rest.text().lines().count()), (20, 30), "each once");
    let (mut seen, rest) = (values(&first), values(&rest));
    seen.extend(rest);
    assert_eq!(seen, expected(0..50));
    assert_eq!(shared(tool.run("consume --topic t --group g")).text(), "");

    tool.produce(PRODUCE, &lines(50..80));
    let shared_by_four = shared(tool.run("consume --topic t --group g --workers 4"));
    assert_eq!(values(&shared_by_four), expected(50..80));
    assert!(shared_by_four.err.contains("t-0"), "{}", shared_by_four.err);
    assert_eq!(shared(tool.run("consume --topic t --group late --from latest")).text(), "");
    assert_eq!(shared(tool.run("consume --topic t --group other --output json")).text().lines().count(), 80);
}

#[test]
fn groups_and_their_lag_are_listed_and_described() {
    let tool = tool();
    assert_eq!(tool.run("groups").ok().text(), "");
    assert_eq!(tool.run("lag").ok().text(), "");
    tool.produce("--topic t", b"a\nb\nc\n");
    shared(tool.run("consume --topic t --group g"));
    shared(tool.run("consume --topic t --group h --max 1"));
    assert_eq!(tool.run("groups").ok().text(), "g\nh\n");
    let described = tool.run("groups --group h").ok();
    assert!(described.text().starts_with("h no members epoch="), "{}", described.text());
    assert!(described.text().contains("committed=1"), "{}", described.text());
    let lag = |arguments: &str| {
        let done = tool.run(&format!("lag{arguments}")).ok();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            assert_eq!(cells.len(), 7, "{line}");
            cells[5].parse::<u64>().unwrap()
        };
        done.text().lines().map(row).sum::<u64>()
    };
    assert_eq!((lag(" --group g"), lag("")), (0, lag(" --group h")));
    tool.produce("--topic t --partitions 3", b"d\ne\n");
    assert_eq!(lag(" --group g"), 2);
    tool.run("groups --group nobody").failed(1, "nobody");
    tool.run("lag --group nobody").failed(1, "nobody");
}

#[test]
fn offsets_are_reset_as_planned() {
    let tool = Tool::new();
    tool.run("create --topic t").ok();
    tool.produce("--topic t", b"a\nb\nc\nd\ne\n");
    let reset = |arguments: &str| {
        let done = tool.run(&format!("reset-offsets --group g --topic t {arguments}")).ok();
        done.text().to_owned()
    };
    assert_eq!(reset("--to latest --dry-run"), "t-0\t-\t5\n");
    assert_eq!(tool.run("groups").ok().text(), "", "a dry run makes no group");
    assert_eq!(reset("--to 2"), "t-0\t-\t2\n");
    assert_eq!(reset("--shift-by 2 --dry-run"), "t-0\t2\t4\n");
    assert_eq!(reset("--shift-by -1"), "t-0\t2\t1\n");
    assert_eq!(reset("--shift-by 100"), "t-0\t1\t5\n");
    assert_eq!(reset("--to last:2"), "t-0\t5\t3\n");
    assert_eq!(reset("--to @0"), "t-0\t3\t0\n");
    assert_eq!(reset("--partition 0 --to 4"), "t-0\t0\t4\n");
    assert_eq!(values(&shared(tool.run("consume --topic t --group g"))), BTreeSet::from(["e".to_owned()]));
    assert_eq!(reset("--to earliest"), "t-0\t5\t0\n");
    assert_eq!(shared(tool.run("consume --topic t --group g")).text().lines().count(), 5);

    tool.run("reset-offsets --group g --topic t --to 6").failed(1, "ends before 5");
    tool.run("reset-offsets --group g --topic u --to 0").failed(1, "u");
    tool.run("reset-offsets --group g --topic t --partition 1 --to 0").failed(1, "1");

    tool.run("delete-offsets --group g --topic t").ok();
    assert_eq!(tool.run("lag").ok().text(), "");
    tool.run("delete-offsets --group g --topic t").failed(1, "g");
    reset("--to latest");
    tool.run("delete-group --group g").ok();
    assert_eq!(tool.run("groups").ok().text(), "");
    tool.run("delete-group --group g").failed(1, "g");
}

#[test]
fn a_command_line_for_groups_without_sense_is_64() {
    let tool = tool();
    let wrong = [
        ("consume --topic t --workers 2", "--group"),
        ("consume --topic t --group g --workers 0", "workers"),
        ("consume --topic t --group g --partition 1", "partition"),
        ("consume --topic t --group g --from 7", "reset-offsets"),
        ("reset-offsets --group g --topic t", "--to"),
        ("reset-offsets --group g --topic t --to 1 --shift-by 1", "--shift-by"),
        ("reset-offsets --group g --topic t --to noon", "noon"),
        ("top --interval 1", "interval"),
    ];
    for (arguments, words) in wrong {
        tool.run(arguments).failed(64, words);
    }
    let long = "g".repeat(256);
    for command in ["groups --group", "lag --group", "delete-group --group", "consume --topic t --group"] {
        tool.run(&format!("{command} {long}")).failed(64, "group");
    }
    tool.run("consume --topic u --group g").failed(1, "u");
}

/// Ctrl-C, as a terminal sends it.
#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[cfg(unix)]
#[test]
fn an_interrupted_consumer_commits_and_closes_in_order() {
    let tool = tool();
    tool.produce(PRODUCE, &lines(0..30));
    let mut child = tool.spawn("consume --topic t --group g --workers 2 --follow");
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while seen.len() < 30 {
        seen.insert(out.next().unwrap().unwrap().split('\t').next_back().unwrap().to_owned());
    }
    // Beside it: it has the directory, and can be looked at.
    tool.run("consume --topic t --group g").failed(1, "open");
    assert_eq!(tool.run("groups").ok().text(), "g\n");
    let top = tool.run("top --once --interval 50").ok();
    assert!(top.text().contains("(in use)") && top.text().contains("t-2"), "{}", top.text());
    interrupt(&child);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    assert!(err.lines().all(|line| line.starts_with("millpond: worker ")), "{err}");
    assert!(out.next().is_none());

    assert!(Broker::open(tool.data()).unwrap().recovery().was_clean());
    assert_eq!(
        shared(tool.run("consume --topic t --group g")).text(),
        "",
        "all that was printed is committed"
    );
}

#[test]
fn top_shows_topics_groups_and_lag() {
    let tool = tool();
    tool.produce(PRODUCE, &lines(0..40));
    shared(tool.run("consume --topic t --group readers --max 15"));
    let top = tool.run("top --interval 50").ok();
    for words in ["not open", "1 topic, 1 group", "TOPIC", "GROUP", "readers", "t-0", "40", "none"] {
        assert!(top.text().contains(words), "{words}: {}", top.text());
    }
    tool.run("top --once --interval 50").ok();
}
