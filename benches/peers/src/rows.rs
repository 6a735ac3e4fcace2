//! What was measured, one row a figure, kept beside the plots so that tables can be drawn again.
//!
//! ```text
//!   work <tab> peer <tab> point <tab> metric <tab> repetition <tab> value
//! ```
//!
//! A metric of the name [`WHY`] has no figure: its point says why there is none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::options::repository;

/// The metric of a row that tells why nothing was measured.
pub const WHY: &str = "why";

/// Stands for every point, in the row of a peer that failed.
pub const ALL_POINTS: &str = "*";

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub work: String,
    pub peer: String,
    pub point: String,
    pub metric: String,
    pub repetition: usize,
    pub value: f64,
}

/// Where they are kept.
pub fn path() -> PathBuf {
    repository().join("docs/plots/peers.tsv")
}

/// What was said of the conditions, and the rows kept before; nothing if there is no file.
pub fn load(path: &Path) -> Result<(String, Vec<Row>)> {
    if !path.exists() {
        return Ok((String::new(), Vec::new()));
    }
    let text = std::fs::read_to_string(path)?;
    let conditions = text.lines().find_map(|line| line.strip_prefix("# conditions: ")).unwrap_or_default();
    let rows: Result<Vec<Row>> = text.lines().filter(|line| !line.starts_with('#')).map(parse).collect();
    Ok((conditions.to_owned(), rows?))
}

fn parse(line: &str) -> Result<Row> {
    let words: Vec<&str> = line.split('\t').collect();
    let [work, peer, point, metric, repetition, value] = words[..] else {
        return Err(format!("not a row: {line}").into());
    };
    Ok(Row {
        work: work.into(),
        peer: peer.into(),
        point: point.into(),
        metric: metric.into(),
        repetition: repetition.parse()?,
        value: value.parse()?,
    })
}

/// Keeps them, instead of those kept before.
pub fn save(path: &Path, conditions: &str, rows: &[Row]) -> Result<()> {
    let mut text = format!("# conditions: {conditions}\n# work\tpeer\tpoint\tmetric\trepetition\tvalue\n");
    for Row { work, peer, point, metric, repetition, value } in rows {
        writeln!(text, "{work}\t{peer}\t{point}\t{metric}\t{repetition}\t{value}")?;
    }
    std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
    Ok(std::fs::write(path, text)?)
}
