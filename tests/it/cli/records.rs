//! `produce` and `consume`: records in and out.

use std::io::{BufRead, BufReader, Read, Write};

use super::tool::Tool;

/// The columns of what `consume` printed, without the timestamps.
fn places(text: &str) -> Vec<(String, String, String, String)> {
    let row = |line: &str| {
        let column: Vec<String> = line.splitn(5, '\t').map(str::to_owned).collect();
        assert!(column[2].parse::<i64>().unwrap() > 1_600_000_000_000, "{line}");
        (column[0].clone(), column[1].clone(), column[3].clone(), column[4].clone())
    };
    text.lines().map(row).collect()
}

fn row(partition: &str, offset: &str, key: &str, value: &str) -> (String, String, String, String) {
    (partition.into(), offset.into(), key.into(), value.into())
}

#[test]
fn a_line_is_a_record() {
    let tool = Tool::new();
    let done = tool.run_with("produce --topic t", b"one\ntwo\r\n\nfo\tur\nlast").ok();
    assert!(done.text().starts_with("5 records, 20 bytes in "), "{}", done.text());
    assert!(done.text().ends_with(" records/s\n") && done.text().lines().count() == 1);
    let read = tool.run("consume --topic t").ok();
    let values = ["one", "two", "", "fo\tur", "last"];
    let expected: Vec<_> = (0..5).map(|n| row("0", &n.to_string(), "", values[n])).collect();
    assert_eq!(places(read.text()), expected);
}

#[test]
fn bytes_go_through_as_they_are() {
    let tool = Tool::new();
    tool.produce("--topic t --key-column 1", b"\xff\xfe,\x00\x01\n");
    let read = tool.run("consume --topic t").ok();
    assert!(read.out.ends_with(b"\t\xff\xfe\t\xff\xfe,\x00\x01\n"), "{:?}", read.out);

    let json = tool.run("consume --topic t --output json").ok();
    let record: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(record["key"], serde_json::json!({"base64": "//4="}));
    assert_eq!(record["value"], serde_json::json!({"base64": "//4sAAE="}));
}

#[test]
fn a_file_is_read_as_a_stream_is() {
    let tool = Tool::new();
    let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(tool.beside("lines.txt"), &lines).unwrap();
    tool.run("produce --topic t --durability memory lines.txt").ok();
    let read = tool.run("consume --topic t").ok();
    let values: String = places(read.text()).into_iter().map(|(_, _, _, value)| value + "\n").collect();
    assert_eq!(values, lines);
}

#[test]
fn keys_are_columns_that_count_from_one() {
    let tool = Tool::new();
    tool.produce("--topic t --partitions 4 --key-column 2", b"a,k1,x\nb,k2,x\nc,k1\n");
    let mut found = places(tool.run("consume --topic t").ok().text());
    found.sort_by(|a, b| a.3.cmp(&b.3));
    assert_eq!(found.iter().map(|row| row.2.as_str()).collect::<Vec<_>>(), ["k1", "k2", "k1"]);
    assert_eq!(found[0].0, found[2].0, "one key, one partition");
    assert_eq!(found[2].3, "c,k1", "the value is the whole line");

    tool.produce("--topic tabs --key-column 1 --delimiter \\t", b"k\tv\n");
    assert_eq!(places(tool.run("consume --topic tabs").ok().text())[0].2, "k");
    tool.produce("--topic wide --key-column 2 --delimiter ::", b"a::b::c\n");
    assert_eq!(places(tool.run("consume --topic wide").ok().text())[0].2, "b");

    // What comes before the line that is wrong is stored.
    let few = tool.run_with("produce --topic few --key-column 2", b"a,b\nonly one\nc,d\n");
    few.failed(1, "line 2 has 1 columns");
    assert_eq!(tool.run("consume --topic few").ok().text().lines().count(), 1);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_never_held() {
    let tool = Tool::new();
    let mut input = b"short\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', 5 << 20));
    tool.run_with("produce --topic t", &input).failed(1, "line 2 is longer");
    // A record is more than its value: this one fits the line's limit and not the topic's.
    let line = vec![b'x'; 1 << 20];
    tool.run_with("produce --topic t", &line).failed(1, "line 1: ");
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 1);
}

#[test]
fn every_record_is_acknowledged_once() {
    let tool = Tool::new();
    let lines: String = (0..5_000).map(|n| format!("k{},{n}\n", n % 100)).collect();
    for durability in ["memory", "sync", "interval:50ms"] {
        let arguments =
            format!("produce --topic {} --partitions 3 --durability {durability}", &durability[..4]);
        let done =
            tool.run_with(&format!("{arguments} --key-column 1 --acks-to acks"), lines.as_bytes()).ok();
        assert!(done.text().starts_with("5000 records"));
        let acks = std::fs::read_to_string(tool.beside("acks")).unwrap();
        let mut next = [0u64; 3];
        for line in acks.lines() {
            let mut words = line.strip_prefix("acked ").unwrap().split(' ');
            let partition: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(words.next().unwrap().parse(), Ok(next[partition]), "{durability}: {line}");
            next[partition] += 1;
        }
        assert_eq!(next.iter().sum::<u64>(), 5_000);
    }
}

#[test]
fn acknowledgements_come_while_the_stream_is_open() {
    for durability in ["memory", "sync", "interval:1h"] {
        let tool = Tool::new();
        let mut child = tool.spawn(&format!("produce --topic t --durability {durability} --acks-to -"));
        let mut input = child.stdin.take().unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap());
        for n in 0..3 {
            writeln!(input, "line {n}").unwrap();
            let mut line = String::new();
            acks.read_line(&mut line).unwrap();
            assert_eq!(line, format!("acked 0 {n}\n"));
        }
        drop(input);
        let mut rest = String::new();
        acks.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "standard output holds acknowledgements only");
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        let totals = String::from_utf8(done.stderr).unwrap();
        assert!(totals.starts_with("millpond: 3 records, "), "{totals}");
    }
}

#[test]
fn a_rate_is_kept() {
    let tool = Tool::new();
    let done = tool.run_with("produce --topic t --durability memory --rate 50", &b"x\n".repeat(11)).ok();
    let seconds: f64 = done.text().split(" in ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(seconds >= 0.2, "{}", done.text());
}

#[test]
fn consume_begins_and_ends_where_it_is_told() {
    let tool = Tool::new();
    let lines: String = (0..100).map(|n| format!("{n}\n")).collect();
    tool.produce("--topic t --durability memory", lines.as_bytes());
    let offsets = |arguments: &str| -> Vec<u64> {
        let read = tool.run(&format!("consume --topic t {arguments}")).ok();
        read.text().lines().map(|line| line.split('\t').nth(1).unwrap().parse().unwrap()).collect()
    };
    let range = |from: u64, to: u64| (from..to).collect::<Vec<_>>();
    assert_eq!(offsets("--from earliest"), range(0, 100));
    assert_eq!(offsets("--from latest"), range(0, 0));
    assert_eq!(offsets("--from 97"), range(97, 100));
    assert_eq!(offsets("--from 100"), range(0, 0));
    assert_eq!(offsets("--from last:5"), range(95, 100));
    assert_eq!(offsets("--from last:500 --partition 0"), range(0, 100));
    assert_eq!(offsets("--from @0"), range(0, 100));
    assert_eq!(offsets("--from @4000000000000"), range(0, 0));
    assert_eq!(offsets("--max 3"), range(0, 3));
    assert_eq!(offsets("--max 0"), range(0, 0));
    assert_eq!(offsets("--from 10 --max 2 --partition 0"), range(10, 12));
    tool.run("consume --topic t --from 101").failed(1, "ends before 100");
}

#[test]
fn json_is_an_object_a_line() {
    let tool = Tool::new();
    tool.produce("--topic t --key-column 1", b"\"q\",\\ \x01\n");
    tool.produce("--topic t", b"no key\n");
    let read = tool.run("consume --topic t --output json").ok();
    let records: Vec<serde_json::Value> =
        read.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records[0]["partition"], 0);
    assert_eq!(records[0]["offset"], 0);
    assert!(records[0]["timestamp"].as_i64().unwrap() > 0);
    assert_eq!(records[0]["key"], "\"q\"");
    assert_eq!(records[0]["value"], "\"q\",\\ \u{1}");
    assert_eq!(records[0]["headers"], serde_json::json!([]));
    assert!(records[1]["key"].is_null());
}

#[test]
fn a_closed_pipe_ends_consume_quietly() {
    let tool = Tool::new();
    tool.produce("--topic t --durability memory", &b"some line of text\n".repeat(100_000));
    let mut child = tool.spawn("consume --topic t");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr), (Some(0), Vec::new()));
    tool.run("verify").ok();
}

#[test]
fn consume_follows_a_program_that_writes() {
    let tool = Tool::new();
    let mut writer = tool.spawn("produce --topic t --durability memory --acks-to -");
    let mut input = writer.stdin.take().unwrap();
    let mut acks = BufReader::new(writer.stdout.take().unwrap());
    let mut send = |value: &str| {
        writeln!(input, "{value}").unwrap();
        acks.read_line(&mut String::new()).unwrap();
    };
    send("before");
    // Beside a program that has the directory open, what is published is printed, and that is all there is.
    assert_eq!(places(tool.run("consume --topic t").ok().text()), [row("0", "0", "", "before")]);

    let mut reader = tool.spawn("consume --topic t --follow --max 3");
    let mut out = BufReader::new(reader.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        places(&line).remove(0).3
    };
    assert_eq!(next(), "before");
    send("during");
    assert_eq!(next(), "during");
    send("last");
    assert_eq!(next(), "last");
    assert!(reader.wait().unwrap().success(), "--max ends it");
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn who_follows_a_topic_hears_that_it_is_deleted() {
    let tool = Tool::new();
    tool.produce("--topic t", b"one\n");
    let mut following = tool.spawn("consume --topic t --follow");
    let mut first = String::new();
    let mut out = BufReader::new(following.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.ends_with("\tone\n"), "{first}");
    tool.run("delete --topic t").ok();
    let ended = following.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), told.as_str()), (Some(1), "millpond: topic t has been deleted\n"));
}
