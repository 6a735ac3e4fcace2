//! `create`, `topics`, `describe`, `delete`, and what `produce` does to a topic.

use super::tool::Tool;

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let tool = Tool::new();
    tool.run("create --topic clicks --partitions 3 --durability memory --set retention=age:7d").ok();
    tool.run("create --topic audit").ok();
    tool.run("create --topic v --durability memory --set volatile=drop_oldest:1MiB").failed(64, "volatile");
    assert_eq!(tool.run("topics").ok().text(), "audit\nclicks\n");

    tool.produce("--topic clicks", b"a\nb\n");
    let one = tool.run("describe --topic clicks").ok();
    for words in ["clicks", "partitions=3", "durability=memory", "retention=age:7d"] {
        assert!(one.text().contains(words), "{words}: {}", one.text());
    }
    assert!(!one.text().contains("audit"));
    let both = tool.run("describe").ok();
    assert!(both.text().contains("audit") && both.text().contains("durability=sync"), "{}", both.text());

    tool.run("delete --topic clicks").ok();
    assert_eq!(tool.run("topics").ok().text(), "audit\n");
    tool.run("consume --topic clicks").failed(1, "clicks");
}

#[test]
fn producing_creates_a_topic_and_never_changes_one() {
    let tool = Tool::new();
    tool.produce("--topic t --partitions 2 --durability interval:250ms", b"a\n");
    let text = tool.run("describe --topic t").ok();
    assert!(text.text().contains("durability=interval:250ms"), "{}", text.text());

    tool.produce("--topic t --partitions 2 --durability interval:250ms --compression none", b"b\n");
    tool.run_with("produce --topic t --partitions 3", b"c\n").failed(1, "partitions 2, not 3");
    tool.run_with("produce --topic t --durability sync", b"c\n")
        .failed(1, "durability interval:250ms, not sync");
    if cfg!(feature = "lz4") {
        tool.run_with("produce --topic t --compression lz4", b"c\n").failed(1, "compression none, not lz4");
    }
    assert_eq!(tool.run("consume --topic t").ok().text().lines().count(), 2);
}

#[test]
fn a_codec_that_the_build_lacks_is_named() {
    let tool = Tool::new();
    let lacks =
        [("lz4", cfg!(feature = "lz4")), ("zstd", cfg!(feature = "zstd")), ("gzip", cfg!(feature = "gzip"))];
    for (codec, has) in lacks {
        let done = tool.run_with(&format!("produce --topic {codec} --compression {codec}"), b"a\na\na\n");
        if has {
            done.ok();
            let read = tool.run(&format!("consume --topic {codec}")).ok();
            assert_eq!(read.text().lines().count(), 3);
        } else {
            done.failed(64, codec);
        }
    }
}

#[test]
fn topics_are_compacted_and_retained_on_request() {
    let tool = Tool::new();
    tool.run("create --topic prices --durability memory --set cleanup_policy=compact").ok();
    tool.produce("--topic prices --key-column 1 --delimiter =", b"tea=1\njam=2\ntea=3\n");
    let done = tool.run("compact --topic prices").ok();
    assert!(done.text().contains("2 of 3 records"), "{}", done.text());
    let described = tool.run("describe --topic prices").ok();
    assert!(described.text().contains("compacted_to=3"), "{}", described.text());
    let left = tool.run("consume --topic prices").ok();
    let values: Vec<&str> = left.text().lines().filter_map(|line| line.split('\t').next_back()).collect();
    assert_eq!(values, ["jam=2", "tea=3"]);
    tool.run("verify").ok();

    tool.run("create --topic clicks").ok();
    tool.run("compact --topic clicks").failed(64, "cleanup_policy is delete");
    let retained = tool.run("retain").ok();
    assert!(retained.text().contains("topic clicks: 0 bytes in 0 segments deleted"), "{}", retained.text());
}
