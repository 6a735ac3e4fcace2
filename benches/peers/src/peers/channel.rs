//! Channels in memory: what is sent is gone with the process, and with its reader.

use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use crossbeam_channel as crossbeam;
use tokio::sync::broadcast;

use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

/// Records that wait in a channel, at most.
const ROOM: usize = 64 << 10;

pub struct Crossbeam;
pub struct Broadcast;

struct OpenCrossbeam(crossbeam::Sender<Vec<u8>>, crossbeam::Receiver<Vec<u8>>);
struct SendCrossbeam(crossbeam::Sender<Vec<u8>>);
struct ReceiveCrossbeam(crossbeam::Receiver<Vec<u8>>);

impl Peer for Crossbeam {
    fn facts(&self) -> Facts {
        Facts {
            name: "crossbeam",
            package: "crossbeam-channel",
            kind: Kind::Channel,
            keeps: "nothing",
            checks: "none",
            notes: "a channel of Vec<u8>, bounded; each record goes to one reader",
        }
    }

    fn open(&self, _: &Path, _: &Setup) -> Result<Box<dyn Log>> {
        let (sender, receiver) = crossbeam::bounded(ROOM);
        Ok(Box::new(OpenCrossbeam(sender, receiver)))
    }
}

impl Log for OpenCrossbeam {
    fn writer(&self, _: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(SendCrossbeam(self.0.clone())))
    }

    fn reader(&self, _: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(ReceiveCrossbeam(self.1.clone())))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for SendCrossbeam {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        Ok(self.0.send(record.to_vec()).map_err(|_| "nobody receives")?)
    }
}

impl Reader for ReceiveCrossbeam {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut any = false;
        for record in self.0.try_iter().take(1024) {
            sink.see(&record);
            any = true;
        }
        Ok(any)
    }

    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        sink.see(&self.0.recv()?);
        self.read(sink).map(drop)
    }

    fn can_wait(&self) -> bool {
        true
    }
}

struct OpenBroadcast(broadcast::Sender<Bytes>, Mutex<Option<broadcast::Receiver<Bytes>>>);
struct SendBroadcast {
    sender: broadcast::Sender<Bytes>,
    sent: u64,
}
struct ReceiveBroadcast(broadcast::Receiver<Bytes>);

impl Peer for Broadcast {
    fn facts(&self) -> Facts {
        Facts {
            name: "broadcast",
            package: "tokio",
            kind: Kind::Channel,
            keeps: "nothing",
            checks: "none",
            notes: "tokio's broadcast channel of Bytes; drops records for a slow reader, so the sender here looks \
                    at the room now and then",
        }
    }

    fn open(&self, _: &Path, _: &Setup) -> Result<Box<dyn Log>> {
        let (sender, receiver) = broadcast::channel(ROOM);
        Ok(Box::new(OpenBroadcast(sender, Mutex::new(Some(receiver)))))
    }
}

impl Log for OpenBroadcast {
    fn writer(&self, _: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(SendBroadcast { sender: self.0.clone(), sent: 0 }))
    }

    fn reader(&self, _: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let mut first = self.1.lock().map_err(|_| "a thread died")?;
        Ok(Box::new(ReceiveBroadcast(first.take().unwrap_or_else(|| self.0.subscribe()))))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for SendBroadcast {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.sent += 1;
        if self.sent % 1024 == 0 {
            while self.sender.len() > ROOM - 2048 {
                std::thread::yield_now();
            }
        }
        self.sender.send(Bytes::copy_from_slice(record)).map_err(|_| "nobody receives")?;
        Ok(())
    }
}

impl Reader for ReceiveBroadcast {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut any = false;
        for _ in 0..1024 {
            match self.0.try_recv() {
                Ok(record) => sink.see(&record),
                Err(broadcast::error::TryRecvError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
            any = true;
        }
        Ok(any)
    }

    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        sink.see(&self.0.blocking_recv()?);
        self.read(sink).map(drop)
    }

    fn can_wait(&self) -> bool {
        true
    }
}
