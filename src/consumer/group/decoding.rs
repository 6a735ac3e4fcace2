//! Decoding the records that a consumer has polled, with the choice what becomes of bad ones.
//!
//! Invariant: where decoding stops, the position is the record's, and no record behind it in what was polled
//! counts as handed out.

use super::consumer::Consumer;
use crate::codec::Codec;
use crate::consumer::record_view::RecordView;
use crate::error::Result;

impl<K, V: Codec> Consumer<K, V> {
    /// The value of a polled record; `None` if it could not be decoded and has been passed over, as
    /// [`Group::undecodable`](crate::broker::Group::undecodable) says. A record without a value cannot be decoded
    /// by a typed codec, either: ask [`is_tombstone`](RecordView::is_tombstone) before, where there may be some.
    ///
    /// By default, or where the dead letter cannot be sent, the error is answered: then the positions go back, this
    /// partition's to the record and those of the partitions behind it to where the poll began, so that
    /// [`commit_all`](Consumer::commit_all) commits what came before, and the next poll hands the record out
    /// again; [`seek`](Consumer::seek) passes it.
    ///
    /// This waits in the thread until a dead letter is as durable as its topic promises.
    ///
    /// ```
    /// use millpond::consumer::Undecodable;
    /// use millpond::prelude::*;
    ///
    /// const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names");
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("names.dead", TopicConfig::new())?;
    /// let raw = broker.create_topic("names", TopicConfig::new())?.producer()?;
    /// raw.send(Record::new(&[0xff]))?;
    /// raw.send(Record::new("Ann"))?.wait()?;
    ///
    /// let bad = Undecodable::divert_to("names.dead")?;
    /// let mut consumer = broker.group("greeters")?.undecodable(bad).join(&NAMES)?;
    /// let records = consumer.poll().wait()?;
    /// let mut names = Vec::new();
    /// for record in &records {
    ///     let Some(name) = consumer.decode(record)? else { continue };
    ///     names.push(name);
    /// }
    /// assert_eq!(names, ["Ann"]);
    /// consumer.commit(&records).wait()?; // the bad one, too: it is in names.dead
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Codec` and `NullValue` where the choice is to stop; those of sending the dead letter; `Corrupted`.
    pub fn decode<'a>(&mut self, record: RecordView<'a, K, V>) -> Result<Option<V::Output<'a>>> {
        let decoded = record.value();
        self.settle(&record, decoded)
    }
}

impl<K: Codec, V> Consumer<K, V> {
    /// The key of a polled record, as [`decode`](Consumer::decode) answers the value.
    ///
    /// # Errors
    /// As [`decode`](Consumer::decode).
    pub fn decode_key<'a>(&mut self, record: RecordView<'a, K, V>) -> Result<Option<K::Output<'a>>> {
        let decoded = record.key();
        self.settle(&record, decoded)
    }
}

impl<K, V> Consumer<K, V> {
    /// How many records have been skipped or sent to the dead letters by this consumer.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.membership.undecodable.passed_over()
    }

    fn settle<T>(&mut self, record: &RecordView<'_, K, V>, decoded: Result<T>) -> Result<Option<T>> {
        let Err(error) = decoded else { return decoded.map(Some) };
        match self.membership.undecodable.pass_over(record, error) {
            Ok(()) => Ok(None),
            Err(error) => {
                self.stay_at(record);
                Err(error)
            }
        }
    }

    /// Goes back to a record that was handed out, and with what was handed out behind it.
    fn stay_at(&mut self, record: &RecordView<'_, K, V>) {
        let (records, here) = record.origin();
        let behind = records.parts().skip_while(|part| !std::ptr::eq(*part, here));
        for part in behind {
            let offset = if std::ptr::eq(part, here) { record.offset().get() } else { part.from() };
            let is_its = |lease: crate::consumer::records::Lease, place: &super::place::Place| {
                place.topic_partition() == part.topic_partition() && place.topic_id == lease.topic_id
            };
            let Some(lease) = part.lease() else { continue };
            let place = self.places.iter_mut().find(|place| is_its(lease, place));
            // Unless more has been polled since, or it was sought elsewhere.
            if let Some(place) = place.filter(|place| place.position() == Some(part.next_offset())) {
                place.go_to(offset);
            }
        }
    }
}
