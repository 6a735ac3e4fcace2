//! How a member takes up records, and waits for them.
//!
//! ```text
//!   ready:  interrupted? -> mail -> fetch: each partition in its turn, until a chunk is full
//!   poll:   ready -> register for mail, records and commits -> ready, once more -> wait
//! ```
//!
//! Invariants
//! - What comes between the look and the registration is not missed: there is a look behind it.
//! - Partitions take turns; a chunk that is full makes the next one's turn.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::consumer::{Consumer, Membership};
use super::place::Begun;
use crate::consumer::poll::PollSource;
use crate::consumer::records::{Lease, Part, Records};
use crate::env::Clock;
use crate::error::{ErrorKind, Result};
use crate::partition::ReadLimits;

/// Polls that do not wait only look so often at one moment.
const LOOKS: u32 = 1024;

impl<K, V> Consumer<K, V> {
    /// The next records there are, or `None`.
    pub(super) fn fetch(&mut self) -> Result<Option<Records<K, V>>> {
        let count = self.places.len();
        let mut gathered = Records::none(&self.codecs);
        let mut bytes = self.membership.config.max_byte_count();
        let mut records = self.membership.config.max_record_count();
        for step in 0..count {
            let at = (self.turn + step) % count;
            match self.fetch_from(at, bytes, records) {
                Ok(Some(part)) => {
                    bytes = bytes.saturating_sub(part.bytes());
                    records = records.saturating_sub(part.count_hint());
                    gathered.push(part);
                }
                Ok(None) => {}
                Err(error) => {
                    self.turn = at;
                    return if gathered.has_parts() { Ok(Some(gathered)) } else { Err(error) };
                }
            }
            if bytes == 0 || records == 0 {
                self.turn = (at + 1) % count;
                return Ok(Some(gathered));
            }
        }
        self.turn = (self.turn + 1).checked_rem(count).unwrap_or(0);
        Ok(gathered.has_parts().then_some(gathered))
    }

    fn fetch_from(&mut self, at: usize, max_bytes: u64, max_records: u32) -> Result<Option<Part>> {
        let Membership { groups, group, config, listener, .. } = &mut self.membership;
        let place = &mut self.places[at];
        if place.paused || place.leaving {
            return Ok(None);
        }
        match place.begin(groups, group, config.offset_reset_kind())? {
            Begun::Reading => {}
            Begun::NotYet => return Ok(None),
            Begun::Truncated { committed, resumed } => {
                place.sought = true;
                if let Some(listener) = listener {
                    listener.truncated(place.topic_partition(), committed, resumed);
                }
            }
        }
        let limits = ReadLimits { max_bytes, max_records, crc: place.log().crc_check() };
        let mut from = place.cursor.next_offset();
        let mut read = place.cursor.read(u64::MAX, &limits);
        if let Err(error) = read {
            // Retention has passed the position: where the group goes on is for the settings to say.
            if !matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }) {
                return Err(error);
            }
            place.out_of_range(error, config.offset_reset_kind())?;
            from = place.cursor.next_offset();
            read = place.cursor.read(u64::MAX, &limits);
        }
        let Some(chunk) = read? else { return Ok(None) };
        place.leader_epoch = chunk.leader_epoch();
        let lease = Lease { epoch: self.epoch, topic_id: place.topic_id, by: self.reader };
        let part =
            Part::new(place.topic_partition().clone(), chunk, from, place.cursor.next_offset()).leased(lease);
        Ok(Some(part))
    }

    /// Asks to be woken by mail.
    pub(super) fn register_for_mail(&mut self, context: &mut Context<'_>) {
        self.mailbox.arrived().register(&mut self.waiting, context.waker());
    }

    /// Whether records can come, and that somebody waits for them.
    pub(super) fn check_places(&self) -> Result<()> {
        if self.places.is_empty() {
            self.membership.groups.check_any_is_left(&self.membership.request.subscription)?;
        }
        for place in self.places.iter().filter(|place| !place.paused) {
            place.log().check_open()?;
            place.log().want_records();
        }
        Ok(())
    }

    /// Asks to be woken by mail, by records, and by commits that are waited for.
    pub(super) fn register(&mut self, context: &mut Context<'_>) {
        self.register_for_mail(context);
        for place in self.places.iter_mut().filter(|place| !place.paused) {
            if let (Some(end), Some(log)) = (place.pending, self.membership.groups.offsets_log()) {
                if log.poll_acked(end, context, &mut place.pending_key).is_ready() {
                    // It holds by now, or never will: look again.
                    context.waker().wake_by_ref();
                }
            }
            place.cursor.log().await_records(&mut place.waiting, context.waker());
        }
    }

    pub(super) fn stop(&mut self) {
        self.mailbox.set_waiting(false);
        if let Some(key) = self.waiting.take() {
            self.mailbox.arrived().cancel(key);
        }
        let groups = &self.membership.groups;
        self.places.iter_mut().for_each(|place| place.stop_waiting(groups));
    }

    /// What there is to be handed out now: records, or nothing because somebody interrupts.
    fn ready(&mut self) -> Result<Option<Records<K, V>>> {
        loop {
            if self.mailbox.take_interrupt() {
                return Ok(Some(Records::none(&self.codecs)));
            }
            self.read_mail()?;
            match self.fetch() {
                // A partition that has just been lost answers with an error that nobody need see.
                Err(_) if self.mailbox.has_mail() => {}
                fetched => return fetched,
            }
        }
    }
}

impl<K: Send + Sync, V: Send + Sync> PollSource<K, V> for Consumer<K, V> {
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<Result<Records<K, V>>> {
        self.mailbox.polled(self.membership.groups.clock().monotonic());
        self.mailbox.set_waiting(false);
        self.commit_automatically();
        if let Some(records) = self.ready()? {
            return Poll::Ready(Ok(records));
        }
        self.register(context);
        if let Some(records) = self.ready()? {
            return Poll::Ready(Ok(records));
        }
        // Partitions may have come with the last mail.
        self.register(context);
        self.membership.groups.check_open()?;
        self.check_places()?;
        self.mailbox.set_waiting(true);
        Poll::Pending
    }

    fn look(&mut self) -> Option<Result<Records<K, V>>> {
        // The long way takes the logs' locks, which those who send need: once in a tick of the clock is enough, and
        // once in many polls where the clock is moved by hand.
        let now = self.membership.groups.clock().monotonic();
        match &mut self.looked {
            Some((then, looks)) if *then == now && *looks < LOOKS => *looks += 1,
            looked => {
                *looked = Some((now, 0));
                return None;
            }
        }
        self.mailbox.polled(now);
        self.commit_automatically();
        let found = match self.ready() {
            Ok(None) => self.membership.groups.check_open().map(|()| self.no_records()),
            Ok(Some(records)) => Ok(records),
            Err(error) => Err(error),
        };
        Some(found)
    }

    fn stop_waiting(&mut self) {
        self.mailbox.polled(self.membership.groups.clock().monotonic());
        self.stop();
    }

    fn no_records(&self) -> Records<K, V> {
        Records::none(&self.codecs)
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        Some(self.membership.groups.clock().clone())
    }
}
