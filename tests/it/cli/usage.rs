//! What the tool answers to a command line that makes no sense.

use std::process::Command;

use super::tool::{Tool, example, feed};

fn run(arguments: &[&str]) -> super::tool::Done {
    feed(Command::new(example("millpond")).args(arguments), b"")
}

#[test]
fn help_and_version_are_no_errors() {
    let help = run(&["--help"]).ok();
    let commands =
        ["produce", "consume", "topics", "describe", "create", "delete", "dump", "verify", "repair"];
    let groups = ["groups", "lag", "reset-offsets", "delete-group", "delete-offsets", "top"];
    for command in
        commands.into_iter().chain(groups).chain(["bench", "txns", "producers", "abort-txn", "settle-txns"])
    {
        assert!(help.text().contains(command), "{command}");
        assert!(run(&[command, "--help"]).ok().text().contains("Usage: millpond"), "{command}");
    }
    assert_eq!(run(&["--version"]).ok().text(), concat!("millpond ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_command_line_without_sense_is_64() {
    run(&[]).failed(64, "subcommand");
    run(&["plough"]).failed(64, "plough");
    run(&["produce"]).failed(64, "--data <DIR> --topic <TOPIC>");
    run(&["consume", "--data"]).failed(64, "--data");
    run(&["dump"]).failed(64, "FILE.log");
    let tool = Tool::new();
    let wrong = [
        ("produce --topic t --durability often", "durability"),
        ("produce --topic t --durability interval:0s", "durability"),
        ("produce --topic t --compression rar", "compression"),
        ("produce --topic t --partitions 0", "partitions"),
        ("produce --topic t --partitions many", "many"),
        ("produce --topic t --key-column 0", "key-column"),
        ("produce --topic t --delimiter ;", "--key-column"),
        ("produce --topic t --key-column 1 --delimiter=", "delimiter"),
        ("produce --topic t --rate 0", "rate"),
        ("produce --topic no/slash", "no/slash"),
        ("consume --topic t --from yesterday", "yesterday"),
        ("consume --topic t --from last:few", "last:few"),
        ("consume --topic t --output yaml", "yaml"),
        ("consume --topic ..", ".."),
        ("create --topic t --set retention", "NAME=VALUE"),
        ("create --topic t --set retention=some", "retention"),
        ("create --topic t --set colour=red", "colour"),
        ("create --topic t --set batch_size=1GiB", "batch_size"),
        ("bench --seconds -1", "-1"),
        ("bench --seconds 0", "0.01 to 60"),
    ];
    for (arguments, words) in wrong {
        tool.run(arguments).failed(64, words);
        assert!(!tool.data().exists(), "{arguments} made a directory");
    }
}

#[test]
fn what_is_not_there_is_1_and_is_not_made() {
    let tool = Tool::new();
    let commands = ["consume --topic t", "topics", "describe", "delete --topic t", "verify", "repair"];
    for command in commands {
        tool.run(command).failed(1, "data");
        assert!(!tool.data().exists(), "{command} made a directory");
    }
    tool.run("produce --topic t no-such-file").failed(1, "no-such-file");
    tool.run("produce --topic t .").failed(1, "directory");
    assert!(!tool.data().exists());
    run(&["dump", "no-such.log"]).failed(1, "no-such.log");

    tool.run("create --topic t").ok();
    tool.run("consume --topic u").failed(1, "u");
    tool.run("consume --topic t --partition 1").failed(1, "1");
    tool.run("describe --topic u").failed(1, "u");
    tool.run("delete --topic u").failed(1, "u");
    tool.run("producers --topic u").failed(1, "there is no topic u");
    tool.run("create --topic t").failed(1, "t");
}
