//! yaque: a queue on the disk for one sender and one receiver.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use yaque::{QueueIter, Receiver, Sender, TryRecvError};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Yaque;

struct Open {
    senders: Vec<Arc<Mutex<Sender>>>,
    folders: Vec<PathBuf>,
    tail: bool,
}

struct Append(Arc<Mutex<Sender>>);

/// Takes records away, as they come.
struct Receive(Receiver);

/// Reads what is there, and leaves it.
struct Iterate(QueueIter);

impl Peer for Yaque {
    fn facts(&self) -> Facts {
        Facts {
            name: "yaque",
            package: "yaque",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "parity of the length only",
            notes: "no sync, no offsets; one sender, one receiver, who takes records away",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match work {
            "durable" => Some("no sync"),
            "random" => Some("no offsets"),
            "topics" => Some("no topics"),
            "codecs" => Some("no compression"),
            _ if setup.record >= 1 << 26 => Some("64 MiB is too large"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let folders = (0..setup.logs).map(|log| folder(dir, log)).collect::<Result<Vec<_>>>()?;
        let open = |folder: &PathBuf| -> Result<_> { Ok(Arc::new(Mutex::new(Sender::open(folder)?))) };
        let senders = folders.iter().map(open).collect::<Result<_>>()?;
        Ok(Box::new(Open { senders, folders, tail: setup.tail }))
    }

    fn before_reopening(&self, dir: &Path) -> Result<()> {
        // A killed process leaves its lock files behind.
        Ok(yaque::recovery::recover(folder(dir, 0)?)?)
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append(Arc::clone(&self.senders[log as usize]))))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let folder = &self.folders[log as usize];
        Ok(match self.tail {
            true => Box::new(Receive(Receiver::open(folder)?)),
            false => Box::new(Iterate(QueueIter::open(folder)?)),
        })
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sender.try_send(record).map_err(|error| format!("{error:?}"))?)
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sender.try_send_batch(batch).map_err(|error| format!("{error:?}"))?)
    }
}

impl Reader for Receive {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        match self.0.try_recv_batch_up_to(1024) {
            Ok(batch) => {
                batch.iter().for_each(|record| sink.see(record));
                batch.commit()?;
                Ok(true)
            }
            Err(TryRecvError::QueueEmpty) => Ok(false),
            Err(TryRecvError::Io(error)) => Err(error.into()),
        }
    }

    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let batch = futures::executor::block_on(self.0.recv_batch_up_to(1024))?;
        batch.iter().for_each(|record| sink.see(record));
        Ok(batch.commit()?)
    }

    fn can_wait(&self) -> bool {
        true
    }
}

impl Reader for Iterate {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut any = false;
        for record in self.0.by_ref().take(1024) {
            sink.see(&record?);
            any = true;
        }
        Ok(any)
    }
}
