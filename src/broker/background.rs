//! The broker's threads. (A consumer starts workers, too, but they end with its call.)
//!
//! ```text
//!   millpond-flush  x flush_threads   jobs of the service (see `flushers.rs`: as many as have something to do)
//!   millpond-prep   x 1               room ahead of the writers
//!   millpond-timer  x 1               linger, intervals, checkpoints
//!   millpond-clean  x 1               compaction
//! ```
//!
//! Invariants
//! - A thread holds the service, never the broker: the last handle's drop stops them without waiting.
//! - With `Background::Manual` there are none.
//! - Opening, creating and closing many partitions is spread over as many threads as flush, for the time it
//!   takes: they wait for the device, which takes several flushes at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};

use super::service::Service;
use crate::config::{Background, BrokerConfig};
use crate::error::{Error, Result};

/// Threads that serve one broker.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    handles: Vec<JoinHandle<()>>,
    /// Whose flushers come and go.
    service: Option<Arc<Service>>,
}

impl Threads {
    /// Starts them. If one cannot be started, those that could are stopped.
    pub(crate) fn start(service: &Arc<Service>, flushers: u32, dir: &Path) -> Result<Threads> {
        let mut threads = Threads::default();
        let started = threads.start_all(service, flushers);
        started.map_err(|e| {
            service.stop();
            Error::io("start a background thread for", dir, e)
        })?;
        Ok(threads)
    }

    fn start_all(&mut self, service: &Arc<Service>, flushers: u32) -> std::io::Result<()> {
        self.service = Some(service.clone());
        service.flushers().start(service, flushers)?;
        self.spawn("millpond-prep", service, Service::prepare_until_stopped)?;
        self.spawn("millpond-clean", service, Service::clean_until_stopped)?;
        self.spawn("millpond-timer", service, Service::keep_time_until_stopped)
    }

    fn spawn(&mut self, name: &str, service: &Arc<Service>, live: fn(&Service)) -> std::io::Result<()> {
        let service = Arc::clone(service);
        self.handles.push(Builder::new().name(name.to_owned()).spawn(move || live(&service))?);
        Ok(())
    }

    /// Waits for all of them to have left; the service has been stopped.
    pub(crate) fn join(self) {
        let own = std::thread::current().id();
        let flushers = self.service.map_or_else(Vec::new, |service| service.flushers().threads());
        for handle in self.handles.into_iter().chain(flushers) {
            // A flusher that drops the last handle of a broker does not wait for itself.
            if handle.thread().id() != own {
                let _ = handle.join();
            }
        }
    }
}

/// Does `work` with each item, in this thread and up to `threads - 1` others at once; answers in the order of the
/// items.
pub(crate) fn with_each<T: Sync, R: Send>(
    threads: u32,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            done.push((at, work(item)));
        }
        done
    };
    let others = (threads as usize).min(items.len()).saturating_sub(1);
    let mut done = std::thread::scope(|scope| {
        // As many as can be had: without any, all is done here.
        let spawn = |_| Builder::new().name("millpond-open".to_owned()).spawn_scoped(scope, run).ok();
        let helpers: Vec<_> = (0..others).map_while(spawn).collect();
        let mut done = run();
        for helper in helpers {
            match helper.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How many threads do at once what waits for the device, by the broker's settings.
pub(crate) fn waiting_threads_of(config: &BrokerConfig) -> u32 {
    match config.background_kind() {
        Background::Manual => 1,
        Background::Threads => config.flush_thread_count(),
    }
}

/// How many threads do what is to be done at once, by the broker's settings.
pub(crate) fn threads_of(config: &BrokerConfig) -> u32 {
    match config.background_kind() {
        Background::Manual => 1,
        // What there is to be done takes the processor, too.
        Background::Threads => config.flush_thread_count().min(4),
    }
}

/// Does `work` in a thread of its own, or here if none can be had.
pub(crate) fn in_own_thread(name: &str, work: impl FnOnce() + Send + 'static) {
    let work = Arc::new(parking_lot::Mutex::new(Some(work)));
    let same = Arc::clone(&work);
    let run = move || {
        let work = same.lock().take();
        if let Some(work) = work {
            work();
        }
    };
    if Builder::new().name(name.to_owned()).spawn(run).is_err() {
        let work = work.lock().take();
        if let Some(work) = work {
            work();
        }
    }
}
