//! Readers as streams of chunks.
//!
//! Invariant: a stream ends where the reader's range ends, and nowhere else; after an error the next item
//! is another attempt.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::poll::PollSource;
use super::reader::Reader;
use super::records::Records;
use super::topic_reader::TopicReader;
use crate::error::Result;

/// Chunks of records as they come; ends with the reader's range. (Take the next one with
/// `TryStreamExt::try_next`: `next` is the reader's own.)
impl<K: Send + Sync, V: Send + Sync> Stream for Reader<K, V> {
    type Item = Result<Records<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let records = ready!(self.poll_records(context));
        self.stop_waiting();
        let ended = self.is_finished() && records.as_ref().is_ok_and(|records| !records.has_parts());
        Poll::Ready(if ended { None } else { Some(records) })
    }
}

/// Chunks of records as they come; never ends. (Take the next one with `TryStreamExt::try_next`: `next`
/// is the reader's own.)
impl<K: Send + Sync, V: Send + Sync> Stream for TopicReader<K, V> {
    type Item = Result<Records<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let records = ready!(self.poll_records(context));
        self.stop_waiting();
        Poll::Ready(Some(records))
    }
}
