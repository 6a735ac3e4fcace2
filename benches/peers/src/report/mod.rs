//! Tables and pictures of the rows, written where they are read.
//!
//! ```text
//!   rows.tsv --> BENCHMARKS.md, between two marks: conditions, who is who, a section for each workload
//!            --> docs/plots/*.svg
//! ```
//!
//! Invariant: what stands outside the marks was written by hand, and is left alone.

mod bars;
mod lines;
mod svg;
mod table;

use std::fmt::Write as _;
use std::path::Path;

pub use table::in_unit;

use crate::options::{Options, repository};
use crate::peer::{Facts, Kind};
use crate::rows::{self, Row};
use crate::work::{ChartKind, Work};
use crate::{Result, peers, work};

const BEGIN: &str = "<!-- peers: begin. Written by benches/peers; changes here are lost. -->";
const END: &str = "<!-- peers: end -->";

/// Prints the tables of some rows.
pub fn print(rows: &[Row]) {
    for work in work::all() {
        let of_work: Vec<&Row> = rows.iter().filter(|row| row.work == work.name).collect();
        if !of_work.is_empty() {
            println!("\n### {}\n\n{}", work.title, table::of(&work, &of_work));
        }
    }
}

/// Writes tables and pictures of all rows that are kept.
pub fn write(options: &Options) -> Result<()> {
    if options.dry || options.quick {
        return Ok(());
    }
    let (conditions, rows) = rows::load(&rows::path())?;
    let plots = repository().join("docs/plots");
    let mut text = format!("{conditions}\n\n{}", who_is_who());
    for work in work::all() {
        let of_work: Vec<&Row> = rows.iter().filter(|row| row.work == work.name).collect();
        if !of_work.is_empty() {
            section(&mut text, &work, &of_work, &plots)?;
        }
    }
    between_marks(&repository().join("BENCHMARKS.md"), text.trim_end())
}

fn section(text: &mut String, work: &Work, rows: &[&Row], plots: &Path) -> Result<()> {
    write!(text, "\n### {}\n\n{} (`-- {}`)\n\n{}", work.title, work.what, work.name, table::of(work, rows))?;
    for chart in &work.charts {
        let drawing = match chart.kind {
            ChartKind::Bars { point, metric, unit } => bars::draw(chart.title, rows, point, metric, unit),
            ChartKind::Lines { metric, x, y, unit } => lines::draw(chart.title, rows, metric, (x, y), unit),
        };
        std::fs::write(plots.join(format!("{}.svg", chart.file)), drawing)?;
        writeln!(text, "![{}](docs/plots/{}.svg)", chart.title, chart.file)?;
    }
    Ok(())
}

/// Names, versions, and what each does and does not.
fn who_is_who() -> String {
    let mut text = String::from(
        "| | version | without a sync, an acknowledged record survives | checksums | notes |\n|---|---|---|---|---|\n",
    );
    for peer in peers::all() {
        let Facts { name, package, keeps, checks, notes, .. } = peer.facts();
        let _ = writeln!(text, "| {name} | {} | {keeps} | {checks} | {notes} |", version(package));
    }
    text.push_str(
        "\n*In italics*: rings, channels and raw loops, which do less. *millpond / best durable peer* compares \
         medians with the best of those that keep records in files (in times, less is better).\n",
    );
    text
}

/// As it was built, from the lock file.
fn version(package: &str) -> &'static str {
    let mut entries = include_str!("../../Cargo.lock").split("[[package]]\n");
    let name = format!("name = \"{package}\"\n");
    let entry = entries.find_map(|entry| entry.strip_prefix(name.as_str()));
    let line = entry.and_then(|entry| entry.lines().next()).unwrap_or_default();
    line.trim_start_matches("version = ").trim_matches('"')
}

/// How a peer is drawn: ours stands out, what does less steps back.
fn color(facts: &Facts) -> &'static str {
    match facts.kind {
        Kind::Millpond => "#0969da",
        Kind::Durable => "#57606a",
        Kind::Ring | Kind::Channel => "#bf8700",
        Kind::Bound => "#afb8c1",
    }
}

fn between_marks(path: &Path, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let (before, after) = match (old.split_once(BEGIN), old.split_once(END)) {
        (Some((before, _)), Some((_, after))) => (before.to_owned(), after.to_owned()),
        _ => (format!("{}\n\n## Beside its peers\n\n", old.trim_end()), "\n".to_owned()),
    };
    Ok(std::fs::write(path, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?)
}
