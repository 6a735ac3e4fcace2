//! How a broker is opened: settings and the parts that a program may replace.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::broker::Broker;
use super::progress::Progress;
use crate::config::BrokerConfig;
use crate::env::{Clock, Environment};
use crate::error::Result;

/// Hears how far an opening has come.
pub(super) type OnRecovery = Box<dyn Fn(&Progress) + Send + Sync>;

/// Opens a broker with settings of your own; made by [`Broker::builder`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::config::BrokerConfig;
///
/// let broker = Broker::builder(dir.path())
///     .config(BrokerConfig::new().buffer_memory(ByteSize::mib(8)))
///     .on_recovery(|at| println!("{}: {} of {} bytes", at.topic_partition(), at.bytes_done(), at.bytes_total()))
///     .open()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is opened before open()"]
pub struct BrokerBuilder {
    pub(super) dir: PathBuf,
    pub(super) config: BrokerConfig,
    pub(super) environment: Environment,
    pub(super) on_recovery: Option<OnRecovery>,
}

impl BrokerBuilder {
    pub(super) fn new(dir: &Path) -> BrokerBuilder {
        BrokerBuilder {
            dir: dir.to_path_buf(),
            config: BrokerConfig::new(),
            environment: Environment::system(),
            on_recovery: None,
        }
    }

    /// The broker's settings.
    pub fn config(mut self, config: BrokerConfig) -> BrokerBuilder {
        self.config = config;
        self
    }

    /// The files, the clock and the randomness; the operating system's by default.
    pub fn environment(mut self, environment: Environment) -> BrokerBuilder {
        self.environment = environment;
        self
    }

    /// The clock alone; call it after [`environment`](BrokerBuilder::environment). Timers of the background
    /// threads run by the real one: with a clock moved by hand take
    /// [`Background::Manual`](crate::config::Background::Manual).
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> BrokerBuilder {
        let (files, random) = (self.environment.files().clone(), self.environment.random().clone());
        self.environment = Environment::new(files, clock, random);
        self
    }

    /// Is told how far a recovery after an unclean end has come. Partitions are recovered by several threads at
    /// once (as many as flush); it is called by one of them at a time.
    pub fn on_recovery(mut self, hear: impl Fn(&Progress) + Send + Sync + 'static) -> BrokerBuilder {
        self.on_recovery = Some(Box::new(hear));
        self
    }

    /// Opens the directory.
    ///
    /// # Errors
    /// As [`Broker::open`]; `InvalidConfig` names a setting that is out of its bounds.
    pub fn open(self) -> Result<Broker> {
        super::open::open(self)
    }
}

impl fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerBuilder")
            .field("dir", &self.dir)
            .field("config", &self.config)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}
