//! A partition that is abandoned under those who wait.

use super::harness::*;
use crate::config::Durability;
use crate::error::ErrorKind;
use crate::format::batch::{BatchBuilder, BatchSpec};
use crate::partition::Found;

/// The look at the partition and the flush are two steps: it may be deleted between them.
#[test]
fn a_flush_of_what_was_thrown_away_ends() {
    let machine = Machine::new(settings(Durability::Sync));
    let opened = machine.open(Found::New).unwrap();
    opened.send_many(3);
    opened.log.flush().unwrap();
    opened.send_many(2);
    opened.log.abandon();
    assert_eq!(opened.log.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(opened.log.wait_acked(5).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(opened.log.flushed(), 3);
    opened.assert_holds(0, 3);
}

/// Who has met a full segment rolls a moment later: the folder may be another topic's by then, with a segment of that
/// very name.
#[test]
fn nothing_is_rolled_once_the_topic_is_deleted() {
    let machine = Machine::new(settings(Durability::Memory));
    let opened = machine.open(Found::New).unwrap();
    opened.send_many(3);
    opened.log.abandon();
    opened.log.leave_folder();
    let segments = opened.log.segment_count();
    assert_eq!(opened.log.roll(0).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(opened.log.segment_count(), segments);
}

/// Epochs are written down by the name of the folder, which may be another topic's by then.
#[test]
fn no_epoch_is_written_down_once_the_topic_is_deleted() {
    let machine = Machine::new(settings(Durability::Memory));
    let opened = machine.open(Found::New).unwrap();
    opened.send_many(3);
    let mut builder = BatchBuilder::new(BatchSpec { leader_epoch: 7, ..BatchSpec::default() });
    builder.append(1, None, Some(b"of the next leader"), &[]);
    let batch = builder.finish(3, None).unwrap();
    let epochs = || machine.disk().read_file(&opened.log.dir.join("leader-epoch-checkpoint")).unwrap();
    let before = epochs();
    opened.log.delete();
    opened.log.leave_folder();
    assert_eq!(opened.log.append_follower(&batch).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(epochs(), before);
}
