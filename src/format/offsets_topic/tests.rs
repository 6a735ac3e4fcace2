//! Records of the offsets topic: bytes put together by hand from Kafka's schemas, round trips, hostile bytes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::format::FormatError;
use crate::types::TopicId;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

#[test]
fn keys_are_kafkas() {
    // type 1, "g1", "t0", partition 3
    let bytes = hex("0001 0002 6731 0002 7430 00000003");
    let key = OffsetsKey::Offset { group: "g1".into(), topic: "t0".into(), partition: 3 };
    assert_eq!(OffsetsKey::decode(&bytes).unwrap(), key);
    assert_eq!(key.encode(), bytes);
    assert_eq!(
        OffsetsKey::decode(&hex("0000 0002 6731 0002 7430 00000003")).unwrap(),
        key,
        "type 0 is the same"
    );
    let member = OffsetsKey::Current { group: "g".into(), member: "m1".into() };
    assert_eq!(member.encode(), hex("0008 0001 67 0002 6d31"));
    assert_eq!(OffsetsKey::decode(&hex("0002 0001 67")).unwrap(), OffsetsKey::Other(2));
    assert_eq!(
        OffsetsKey::decode(&hex("0001 0002 6731 0002 7430 ffffffff")).unwrap_err(),
        FormatError::BadCount
    );
    assert_eq!(OffsetsKey::decode(&hex("0003 0001 67 00")).unwrap_err(), FormatError::Trailing);
}

#[test]
fn offsets_of_every_version_are_read() {
    let check = |text: &str, leader_epoch: i32, topic_id: Option<TopicId>| {
        let expected = OffsetCommit {
            offset: 42,
            leader_epoch,
            metadata: "hi".into(),
            commit_timestamp: 1000,
            topic_id,
        };
        assert_eq!(OffsetCommit::decode(&hex(text)).unwrap(), expected, "{text}");
    };
    let offset = "000000000000002a";
    let time = "00000000000003e8";
    check(&format!("0000 {offset} 0002 6869 {time}"), -1, None);
    check(&format!("0001 {offset} 0002 6869 {time} ffffffffffffffff"), -1, None);
    check(&format!("0002 {offset} 0002 6869 {time}"), -1, None);
    check(&format!("0003 {offset} 00000007 0002 6869 {time}"), 7, None);
    check(&format!("0004 {offset} 00000007 03 6869 {time} 00"), 7, None);
    let with_id = format!("0004 {offset} 00000007 03 6869 {time} 01 00 10 {}", "05".repeat(16));
    check(&with_id, 7, Some(id(5)));
    assert_eq!(OffsetCommit::decode(&hex(&with_id)).unwrap().encode(), hex(&with_id));
    let zero_id = format!("0004 {offset} 00000007 03 6869 {time} 01 00 10 {}", "00".repeat(16));
    check(&zero_id, 7, None);
    let newer = OffsetCommit::decode(&hex(&format!("0005 {offset}"))).unwrap_err();
    assert_eq!(newer, FormatError::NewerVersion { found: 5, known: 4 });
    let negative = OffsetCommit::decode(&hex(&format!("0003 {} 00000007 0000 {time}", "ff".repeat(8))));
    assert_eq!(negative.unwrap_err(), FormatError::BadOffset(-1));
}

#[test]
fn members_are_kafkas() {
    // Kafka's own fields, with its tag 0 (the classic member's metadata), which we skip.
    let bytes = hex("0000 03 6931 00 02 63 02 68 02 03 7430 00 00007530 00 01 00 01 00");
    let member = MemberMetadata::decode(&bytes).unwrap();
    let expected = MemberMetadata {
        instance_id: Some("i1".into()),
        client_id: "c".into(),
        client_host: "h".into(),
        topics: vec!["t0".into()],
        rebalance_timeout_ms: 30_000,
        expires_at: -1,
        session_timeout_ms: -1,
        ..MemberMetadata::default()
    };
    assert_eq!(member, expected);
    let current = hex(&format!(
        "0000 00000005 00000004 01 02 {} 03 00000000 00000002 01 00 09 03 00000003 00000005 01 00",
        "09".repeat(16)
    ));
    let decoded = CurrentAssignment::decode(&current).unwrap();
    let assigned = vec![TopicPartitions { topic: id(9), partitions: vec![0, 2], epochs: vec![3, 5] }];
    let expected = CurrentAssignment {
        epoch: 5,
        previous_epoch: 4,
        state: MemberState::UnrevokedPartitions,
        assigned,
        pending_revocation: Vec::new(),
    };
    assert_eq!(decoded, expected);
    assert_eq!(decoded.encode(), current);
    assert_eq!(GroupMetadata { epoch: 7, empty_since: -1 }.encode(), hex("0000 00000007 00"));
    assert_eq!(
        TargetMetadata::decode(&hex("0000 00000007 01 00 01 aa")).unwrap(),
        TargetMetadata { epoch: 7 }
    );
}

#[test]
fn counts_are_not_believed() {
    // An array of 2^28 topics in a value of a few bytes.
    assert_eq!(TargetAssignment::decode(&hex("0000 ff ff ff 7f 00")).unwrap_err(), FormatError::Truncated);
    assert_eq!(TargetAssignment::decode(&hex("0000 ff ff ff ff ff 01")).unwrap_err(), FormatError::BadVarint);
    assert_eq!(
        OffsetsKey::decode(&hex("0003 ffff")).unwrap_err(),
        FormatError::BadLength { what: "string", length: -1 }
    );
    // Tags out of order.
    assert_eq!(
        GroupMetadata::decode(&hex("0000 00000007 02 05 00 05 00")).unwrap_err(),
        FormatError::BadCount
    );
}

fn word() -> impl Strategy<Value = String> {
    "[a-z.\u{e4}\u{1f30a}]{0,12}"
}

fn partitions() -> impl Strategy<Value = Vec<TopicPartitions>> {
    let topic = (any::<[u8; 16]>(), vec((0..i32::MAX as u32, any::<i32>()), 0..5), any::<bool>());
    let topic = topic.prop_map(|(id, pairs, with_epochs)| TopicPartitions {
        topic: TopicId::from_bytes(id),
        partitions: pairs.iter().map(|pair| pair.0).collect(),
        epochs: if with_epochs { pairs.iter().map(|pair| pair.1).collect() } else { Vec::new() },
    });
    vec(topic, 0..4)
}

proptest! {
    #[test]
    fn keys_come_back(group in word(), other in word(), partition in 0..i32::MAX as u32) {
        for key in [
            OffsetsKey::Offset { group: group.clone(), topic: other.clone(), partition },
            OffsetsKey::Group { group: group.clone() },
            OffsetsKey::Member { group: group.clone(), member: other.clone() },
            OffsetsKey::Target { group: group.clone() },
            OffsetsKey::MemberTarget { group: group.clone(), member: other.clone() },
            OffsetsKey::Current { group, member: other },
        ] {
            prop_assert_eq!(OffsetsKey::decode(&key.encode()).unwrap(), key);
        }
    }

    #[test]
    fn offsets_come_back(
        offset in 0..i64::MAX,
        leader_epoch in any::<i32>(),
        metadata in word(),
        commit_timestamp in any::<i64>(),
        topic_id in option::of(1..255_u8),
    ) {
        let topic_id = topic_id.map(id);
        let commit = OffsetCommit { offset, leader_epoch, metadata, commit_timestamp, topic_id };
        prop_assert_eq!(OffsetCommit::decode(&commit.encode()).unwrap(), commit);
    }

    #[test]
    fn members_come_back(
        texts in (option::of(word()), option::of(word()), word(), word(), option::of(word()), option::of(word())),
        topics in vec(word(), 0..5),
        rebalance_timeout_ms in any::<i32>(),
        expires_at in -1..i64::MAX,
        session_timeout_ms in -1..i64::MAX,
    ) {
        let (instance_id, rack_id, client_id, client_host, pattern, assignor) = texts;
        let member = MemberMetadata {
            instance_id, rack_id, client_id, client_host, topics, pattern, rebalance_timeout_ms, assignor,
            expires_at, session_timeout_ms,
        };
        prop_assert_eq!(MemberMetadata::decode(&member.encode()).unwrap(), member);
        let group = GroupMetadata { epoch: rebalance_timeout_ms, empty_since: expires_at };
        prop_assert_eq!(GroupMetadata::decode(&group.encode()).unwrap(), group);
    }

    #[test]
    fn assignments_come_back(epoch in any::<i32>(), assigned in partitions(), pending in partitions()) {
        let target = TargetAssignment { partitions: assigned.clone() };
        prop_assert_eq!(TargetAssignment::decode(&target.encode()).unwrap(), target);
        let current = CurrentAssignment {
            epoch, previous_epoch: epoch.wrapping_sub(1), state: MemberState::UnreleasedPartitions,
            assigned, pending_revocation: pending,
        };
        // A topic without partitions has no epochs to say.
        prop_assert_eq!(CurrentAssignment::decode(&current.encode()).unwrap(), current);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..64), kind in 0..12_i16) {
        let mut bytes = bytes;
        let _ = OffsetsKey::decode(&bytes);
        if bytes.len() >= 2 {
            bytes[..2].copy_from_slice(&kind.to_be_bytes());
            let _ = OffsetsKey::decode(&bytes);
            let _ = OffsetCommit::decode(&bytes);
            bytes[..2].copy_from_slice(&[0, 0]);
        }
        let _ = MemberMetadata::decode(&bytes);
        let _ = GroupMetadata::decode(&bytes);
        let _ = CurrentAssignment::decode(&bytes);
        let _ = TargetAssignment::decode(&bytes);
        let _ = TargetMetadata::decode(&bytes);
    }

    #[test]
    fn cut_values_are_truncated(metadata in word(), at in 0..40_usize) {
        let commit =
            OffsetCommit { offset: 1, leader_epoch: 2, metadata, commit_timestamp: 3, topic_id: Some(id(4)) };
        let bytes = commit.encode();
        let at = at.min(bytes.len() - 1);
        prop_assert_eq!(OffsetCommit::decode(&bytes[..at]).unwrap_err(), FormatError::Truncated);
    }
}
