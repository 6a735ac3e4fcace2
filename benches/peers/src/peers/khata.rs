//! khata-rs: a mapped queue. Batches go to its store, whose batch call the queue's writer does not have.

use std::path::Path;
use std::sync::Mutex;

use khata_rs::{Queue, Store, StoreConfig};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Khata;

struct Open {
    queues: Vec<(Queue, Mutex<()>)>,
    block: usize,
    setup: Setup,
}

struct Append<'a> {
    queue: &'a Queue,
    writer: khata_rs::Writer<'a>,
    /// Made by the first batch.
    store: Option<Store>,
    /// Its writers must not meet: none where there is only one.
    turn: Option<&'a Mutex<()>>,
    block: usize,
    durable: bool,
}

struct Read<'a> {
    queue: &'a Queue,
    reader: khata_rs::Reader<'a>,
}

impl Peer for Khata {
    fn facts(&self) -> Facts {
        Facts {
            name: "khata",
            package: "khata-rs",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "CRC-16 (off by default, on here), never checked by a reader",
            notes: "fixed capacity, sparse file (a full disk is SIGBUS); one writer: where there are more they take turns",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "topics" => Some("no topics"),
            "codecs" => Some("no compression"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let frames = setup.bytes / setup.record as u64 + 1;
        let block = (setup.bytes + frames * 16 + (2 << 20)) as usize;
        let queue = |log| -> Result<_> {
            Ok((Queue::new(folder(dir, log)?).block_size(block).checksums(true).build()?, Mutex::new(())))
        };
        let queues = (0..setup.logs).map(queue).collect::<Result<_>>()?;
        Ok(Box::new(Open { queues, block, setup: setup.clone() }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let (queue, turn) = &self.queues[log as usize];
        let writer = queue.writer()?;
        let turn = self.setup.is_contended().then_some(turn);
        let (block, durable) = (self.block, self.setup.durable);
        Ok(Box::new(Append { queue, writer, store: None, turn, block, durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let queue = &self.queues[log as usize].0;
        // Opened again, it does not find its own files (its names of days are not parsed), until somebody
        // opens the file of today for writing.
        drop(queue.writer()?);
        let mut reader = queue.reader()?;
        reader.rewind()?;
        Ok(Box::new(Read { queue, reader }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Append<'_> {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let _turn = self.turn.map(|turn| turn.lock());
        self.writer.write(record)?;
        if self.durable {
            self.writer.flush()?;
        }
        Ok(())
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let store = match &mut self.store {
            Some(store) => store,
            none => {
                let cycle = self.writer.cycle();
                let path = self.queue.path().join(self.queue.filename_for_cycle(cycle));
                let config = StoreConfig { block_size: self.block, ..StoreConfig::default() };
                none.insert(Store::open(path, cycle, config, false)?)
            }
        };
        store.append_batch(batch)?;
        if self.durable {
            store.flush()?;
        }
        Ok(())
    }
}

impl Reader for Read<'_> {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut any = false;
        for _ in 0..1024 {
            match self.reader.read()? {
                Some(record) => sink.see(record),
                None => break,
            }
            any = true;
        }
        Ok(any)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let cycle = self.queue.current_cycle();
        self.reader.seek(self.queue.roll_cycle().to_index(cycle, offset))?;
        sink.see(self.reader.read()?.ok_or("no record there")?);
        Ok(())
    }
}
