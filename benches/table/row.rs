//! A row of the table: what is measured, in which unit, and what is to be reached.

use std::path::Path;

use millpond::config::BrokerConfig;
use millpond::prelude::*;

use crate::common::Result;

/// One row.
pub(crate) struct Row {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Unit of both figures.
    pub(crate) unit: &'static str,
    /// What to reach.
    pub(crate) target: Target,
    /// Measures it in an empty directory.
    pub(crate) run: fn(&Bench<'_>) -> Result<Figures>,
}

/// What a row is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At least this ratio to the bound.
    Ratio(f64),
    /// At least this ratio, or at least this figure.
    RatioAnd(f64, f64),
    /// At most this ratio to the bound.
    AtMostRatio(f64),
    /// At least this figure.
    AtLeast(f64),
    /// At most this figure.
    AtMost(f64),
    /// At most this much more than the bound.
    AtMostMore(f64),
}

/// What a row is measured with.
pub(crate) struct Bench<'a> {
    /// An empty directory.
    pub(crate) dir: &'a Path,
    /// Ours first, then the bound.
    pub(crate) ours_first: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Ours.
    pub(crate) ours: f64,
    /// The bound; none where there is nothing to compare with.
    pub(crate) bound: Option<f64>,
    /// More to print beside them.
    pub(crate) notes: Vec<(String, f64)>,
}

impl Target {
    /// Whether it is reached.
    pub(crate) fn is_reached(self, ours: f64, bound: f64, ratio: f64) -> bool {
        match self {
            Target::Ratio(least) => ratio >= least,
            Target::RatioAnd(least, figure) => ratio >= least && ours >= figure,
            Target::AtMostRatio(most) => ratio <= most,
            Target::AtLeast(least) => ours >= least,
            Target::AtMost(most) => ours <= most,
            Target::AtMostMore(more) => ours - bound <= more,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Ratio(least) => write!(f, "ratio >= {least:.2}"),
            Target::RatioAnd(least, figure) => write!(f, "ratio >= {least:.2}, >= {figure}"),
            Target::AtMostRatio(most) => write!(f, "ratio <= {most:.2}"),
            Target::AtLeast(least) => write!(f, ">= {least}"),
            Target::AtMost(most) => write!(f, "<= {most}"),
            Target::AtMostMore(more) => write!(f, "<= bound + {more}"),
        }
    }
}

impl Bench<'_> {
    /// Measures ours and the bound, each in a directory of its own, in the order of this repetition.
    pub(crate) fn both(
        &self,
        ours: impl FnOnce(&Path) -> Result<f64>,
        bound: impl FnOnce(&Path) -> Result<f64>,
    ) -> Result<Figures> {
        let in_own_dir = |name: &str| -> Result<std::path::PathBuf> {
            let dir = self.dir.join(name);
            std::fs::create_dir(&dir)?;
            Ok(dir)
        };
        let (ours_dir, bound_dir) = (in_own_dir("ours")?, in_own_dir("bound")?);
        let figures = if self.ours_first {
            let ours = ours(&ours_dir)?;
            std::fs::remove_dir_all(&ours_dir)?;
            (ours, bound(&bound_dir)?)
        } else {
            let bound = bound(&bound_dir)?;
            std::fs::remove_dir_all(&bound_dir)?;
            (ours(&ours_dir)?, bound)
        };
        Ok(Figures { ours: figures.0, bound: Some(figures.1), notes: Vec::new() })
    }
}

impl Figures {
    /// One figure, without a bound.
    pub(crate) fn alone(ours: f64) -> Figures {
        Figures { ours, bound: None, notes: Vec::new() }
    }

    /// With something to print beside it.
    pub(crate) fn note(mut self, name: &str, figure: f64) -> Figures {
        self.notes.push((name.to_owned(), figure));
        self
    }
}

/// A broker in `dir` with one topic of this level.
pub(crate) fn open(dir: &Path, durability: Durability, partitions: u32) -> Result<(Broker, Topic)> {
    let config = BrokerConfig::new();
    let broker = Broker::builder(dir.join("data")).config(config).open()?;
    let topic = broker.create_topic(
        "bench",
        TopicConfig::new()
            .partitions(partitions)
            .durability(durability)
            .segment_size(ByteSize::mib(1536))
            .retention(Retention::forever()),
    )?;
    Ok((broker, topic))
}
