//! What the documentation says about threads and lifetimes, as types: a change that takes it away does not
//! compile.
//!
//! - Handles (broker, topic, partition, producer) go everywhere and are shared: `Send + Sync + 'static`.
//! - Readers, records and their views, too; they have one user at a time where a method takes `&mut self`.
//! - Operations can be awaited in any executor, and moved while they are: `Send + Unpin`.
//! - Errors can be boxed and sent on.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};

use millpond::broker::{
    BrokerBuilder, Finding, ObservedRecords, Observer, PartitionDescription, PartitionRecovery,
    ProducerBuilder, Progress, ReaderBuilder, RecoveryReport, RepairReport, TopicDescription,
    TopicReaderBuilder, Verdict, VerifyReport,
};
use millpond::codec::{Codec, EncodeKey, EncodeValue, I32, I64, NoKey, Tombstone, U32, U64, Unit};
use millpond::config::{
    Background, BrokerConfig, Compression, CrcCheck, Partitioning, ProducerConfig, ReadMode, ReaderConfig,
    TimestampType,
};
use millpond::consumer::{OwnedRecord, PollRecords, RecordView, RecordsIter};
use millpond::env::{Clock, DirLock, Environment, File, FileSystem, Random};
use millpond::prelude::*;
use millpond::producer::{BatchDelivery, BatchMetadata, Delivery, Flush, RecordMetadata};
use millpond::testing::{ManualClock, SeededRandom, SimDisk, SimEnvironment};
use millpond::topic::{HashKey, Partitioner, RoundRobin, Sticky};
use millpond::types::Headers;
use millpond::{
    Error, ErrorKind, LeaderEpoch, Operation, ProducerEpoch, ProducerId, TopicId, TopicName, TopicPartition,
};

const fn shared<T: Send + Sync + 'static>() {}
const fn cloned<T: Clone + Send + Sync + Debug + 'static>() {}
const fn value<T: Copy + Eq + Hash + Send + Sync + Unpin + Debug + 'static>() {}
const fn lent<T: Send + Sync + Unpin + Debug>() {}
const fn moved<T: Send + Unpin + Debug>() {}
const fn operation<T: Future<Output = millpond::Result<R>> + Send + Unpin + Debug, R>() {}
const fn object<T: ?Sized + Send + Sync>() {}

/// A codec without any guarantee but the ones that the trait asks for.
struct Bare;

const HANDLES: () = {
    cloned::<Broker>();
    cloned::<Topic>();
    cloned::<Topic<Utf8, U64>>();
    cloned::<Partition>();
    cloned::<Partition<Utf8, U64>>();
    shared::<Producer>();
    shared::<Producer<Utf8, U64>>();
    shared::<Topic<Bare, Bare>>();
    shared::<BrokerBuilder>();
    shared::<ProducerBuilder>();
    shared::<ReaderBuilder>();
    shared::<TopicReaderBuilder>();
    shared::<RecoveryReport>();
    shared::<Progress>();
    cloned::<PartitionRecovery>();
    cloned::<TopicDescription>();
    cloned::<PartitionDescription>();
    shared::<Observer>();
    shared::<ObservedRecords>();
    shared::<VerifyReport>();
    shared::<Finding>();
    shared::<Verdict>();
    shared::<RepairReport>();
};

const READERS_AND_VIEWS: () = {
    shared::<Reader>();
    shared::<Reader<Utf8, U64>>();
    shared::<TopicReader>();
    lent::<Reader>();
    lent::<TopicReader>();
    shared::<Records>();
    lent::<Records>();
    lent::<RecordView<'static>>();
    lent::<RecordsIter<'static>>();
    cloned::<OwnedRecord>();
    cloned::<Headers>();
};

const OPERATIONS: () = {
    operation::<Delivery, RecordMetadata>();
    operation::<BatchDelivery, Vec<BatchMetadata>>();
    operation::<Flush, ()>();
    operation::<Operation<()>, ()>();
    operation::<Operation<Vec<u8>>, Vec<u8>>();
    operation::<PollRecords<'static>, Records>();
    operation::<PollRecords<'static, Utf8, U64>, Records<Utf8, U64>>();
    moved::<Operation<()>>();
    shared::<Delivery>();
    cloned::<RecordMetadata>();
    cloned::<BatchMetadata>();
    #[cfg(feature = "stream")]
    moved::<millpond::producer::RecordSink<'static, &'static [u8]>>();
};

const ERRORS: () = {
    const fn error<T: std::error::Error + Send + Sync + Unpin + Display + 'static>() {}
    const fn kind<T: Copy + Eq + Debug + Send + Sync + 'static>() {}
    error::<Error>();
    kind::<ErrorKind>();
    // One word, so that a result stays small.
    assert!(size_of::<Error>() == size_of::<usize>());
};

const WORDS: () = {
    value::<Offset>();
    value::<Timestamp>();
    value::<ByteSize>();
    value::<TopicId>();
    value::<LeaderEpoch>();
    value::<ProducerId>();
    value::<ProducerEpoch>();
    value::<Durability>();
    value::<Acks>();
    value::<Compression>();
    value::<CrcCheck>();
    value::<ReadMode>();
    value::<Background>();
    value::<Partitioning>();
    value::<TimestampType>();
    value::<Start>();
    value::<Retention>();
    cloned::<TopicName>();
    cloned::<TopicPartition>();
    cloned::<TopicConfig>();
    cloned::<BrokerConfig>();
    cloned::<ProducerConfig>();
    cloned::<ReaderConfig>();
    cloned::<TopicDef<Utf8, U64>>();
    value::<NoKey>();
    value::<Tombstone>();
};

const COMPONENTS: () = {
    object::<dyn Clock>();
    object::<dyn Random>();
    object::<dyn FileSystem>();
    object::<dyn File>();
    object::<dyn DirLock>();
    object::<dyn Partitioner>();
    cloned::<Environment>();
    cloned::<SimEnvironment>();
    shared::<SimDisk>();
    cloned::<ManualClock>();
    cloned::<SeededRandom>();
    shared::<HashKey>();
    shared::<Sticky>();
    shared::<RoundRobin>();
};

/// What a codec takes and gives.
const CODECS: () = {
    const fn codec<T: Codec + Default + Copy + Debug>() {}
    const fn takes<V: EncodeValue<C>, C>() {}
    const fn takes_key<K: EncodeKey<C>, C>() {}
    codec::<Raw>();
    codec::<Utf8>();
    codec::<Unit>();
    codec::<U32>();
    codec::<U64>();
    codec::<I32>();
    codec::<I64>();
    takes::<&[u8], Raw>();
    takes::<&[u8; 3], Raw>();
    takes::<&Vec<u8>, Raw>();
    takes::<&str, Raw>();
    takes::<&String, Utf8>();
    takes::<&u64, U64>();
    takes::<Tombstone, U64>();
    takes_key::<NoKey, U64>();
    takes_key::<&str, Utf8>();
};

/// A record borrows what is sent: it may be made of anything, and goes where that goes.
const RECORDS: () = {
    lent::<Record<'static, &'static [u8], &'static str>>();
    moved::<Record<'static, &'static [u8]>>();
    cloned::<Record<'static, &'static [u8], NoKey>>();
};

/// A panic elsewhere leaves handles usable; they can be carried through `catch_unwind`.
#[test]
fn a_panic_beside_a_handle_does_not_spoil_it() {
    fn safe<T: UnwindSafe + RefUnwindSafe>() {}
    safe::<Offset>();
    safe::<TopicConfig>();
    safe::<ErrorKind>();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("clicks", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let sender = std::thread::spawn({
        let producer = producer.clone();
        move || {
            producer.send(Record::new("before")).unwrap().wait().unwrap();
            panic!("a bug of the program");
        }
    });
    assert!(sender.join().is_err());
    assert_eq!(producer.send(Record::new("after")).unwrap().wait().unwrap().offset().get(), 1);
    let () = (HANDLES, READERS_AND_VIEWS, OPERATIONS, ERRORS, WORDS, COMPONENTS, CODECS, RECORDS).0;
}
