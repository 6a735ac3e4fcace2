//! Tests of the topic manifest.

use super::*;
use crate::ErrorKind;
use crate::codec::Utf8;
use crate::config::Durability;
use crate::env::sim::SimEnvironment;

fn manifest(name: &str) -> TopicManifest {
    let config = TopicConfig::new().partitions(3).durability(Durability::Memory);
    let mut manifest =
        TopicManifest::new(TopicName::new(name).unwrap(), TopicId::from_bytes([9; 16]), config);
    manifest.ready = 2;
    manifest.value_codec = Some(CodecMark::of(&Utf8));
    manifest
}

#[test]
fn a_manifest_reads_back() {
    let sim = SimEnvironment::new(1);
    let environment = sim.environment();
    let (files, dir) = (&**environment.files(), Path::new("/data"));
    files.create_dir(dir).unwrap();
    let long = "x".repeat(249);
    for name in ["clicks", "a.topic", long.as_str()] {
        let written = manifest(name);
        written.store(files, dir).unwrap();
        let path = written.path(dir);
        assert!(path.file_name().unwrap().len() + ".previous.tmp".len() <= 255);
        assert_eq!(TopicManifest::load(files, &path).unwrap(), written);
    }
    assert_eq!(TopicManifest::list(files, dir).unwrap().len(), 3);
    let mut deleting = manifest("clicks");
    deleting.life = TopicLife::Deleting;
    deleting.store(files, dir).unwrap();
    assert_eq!(TopicManifest::load(files, &deleting.path(dir)).unwrap().life, TopicLife::Deleting);
    deleting.remove(files, dir).unwrap();
    deleting.remove(files, dir).unwrap();
    assert_eq!(TopicManifest::list(files, dir).unwrap().len(), 2);
}

#[test]
fn damage_and_newer_versions_are_told_apart() {
    let path = Path::new("/data/clicks.topic");
    let good = manifest("clicks").encode();
    assert!(TopicManifest::of_file(path, &good).is_ok());
    for end in 0..good.len() {
        let error = TopicManifest::of_file(path, &good[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted);
        assert_eq!(error.path(), Some(path));
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(TopicManifest::of_file(path, &bad).unwrap_err().kind(), ErrorKind::Corrupted, "byte {at}");
    }
    let (_, payload) = sealed_file::open(KIND, VERSION, &good).unwrap();
    let newer = sealed_file::seal(KIND, VERSION + 1, payload);
    assert_eq!(TopicManifest::of_file(path, &newer).unwrap_err().kind(), ErrorKind::UnsupportedFormat);
    let elsewhere = Path::new("/data/visits.topic");
    assert_eq!(TopicManifest::of_file(elsewhere, &good).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    let mut writer = Writer::new();
    writer.put_u8(0).put_str("clicks").put_array([0; 16]).put_u32(0).put_u8(0).put_u8(0);
    writer.put_count(1).put_str("tiered_storage").put_str("on");
    let error = TopicManifest::of_file(Path::new("clicks.topic"), &writer.seal(KIND, VERSION)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert!(format!("{error:#}").contains("tiered_storage"), "{error:#}");
}
