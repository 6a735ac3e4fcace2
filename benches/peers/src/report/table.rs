//! A table of a workload: a row for each peer, medians with least and most.

use std::fmt::Write as _;

use crate::machine::median;
use crate::peer::{Facts, Kind};
use crate::peers;
use crate::rows::{ALL_POINTS, Row, WHY};
use crate::work::{Column, Unit, Work};

/// Median, least and most of the repetitions of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Figure {
    /// Of the rows of one peer, one point, one metric; none if there are none.
    pub fn of(rows: &[&Row], peer: &str, point: &str, metric: &str) -> Option<Figure> {
        let is_it = |row: &&&Row| row.peer == peer && row.point == point && row.metric == metric;
        let values: Vec<f64> = rows.iter().filter(is_it).map(|row| row.value).collect();
        let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, m), &v| (l.min(v), m.max(v)));
        (!values.is_empty()).then(|| Figure { median: median(&values), least, most })
    }
}

/// The tables of a workload as markdown.
pub fn of(work: &Work, rows: &[&Row]) -> String {
    let mut text = String::new();
    let all: Vec<&Column> = work.tables.iter().flat_map(|(_, columns)| columns).collect();
    let (inside, outside): (Vec<Facts>, Vec<Facts>) = peers::all()
        .iter()
        .map(|peer| peer.facts())
        .filter(|facts| rows.iter().any(|row| row.peer == facts.name))
        .partition(|facts| all.iter().any(|column| figure(column, facts.name, rows).is_some()));
    for (caption, columns) in &work.tables {
        if !caption.is_empty() {
            let _ = writeln!(text, "{caption}:\n");
        }
        text.push_str("| |");
        columns.iter().for_each(|column| _ = write!(text, " {} |", column.head));
        text.push_str("\n|---|");
        columns.iter().for_each(|_| text.push_str("---|"));
        text.push('\n');
        for facts in &inside {
            let has_some = columns.iter().any(|column| figure(column, facts.name, rows).is_some());
            if has_some || work.tables.len() == 1 {
                line(&mut text, facts, columns, rows);
            }
        }
        comparison(&mut text, columns, rows);
        text.push('\n');
    }
    if !outside.is_empty() {
        let reason = |facts: &Facts| {
            let first = all.first().map_or("", |column| column.point.as_str());
            format!("{} ({})", facts.name, why(rows, facts.name, first))
        };
        let names: Vec<String> = outside.iter().map(reason).collect();
        let _ = writeln!(text, "Without figures: {}.\n", names.join(", "));
    }
    text
}

fn figure(column: &Column, peer: &str, rows: &[&Row]) -> Option<Figure> {
    Figure::of(rows, peer, &column.point, column.metric)
}

fn line(text: &mut String, facts: &Facts, columns: &[Column], rows: &[&Row]) {
    let name = match facts.kind {
        Kind::Millpond => format!("**{}**", facts.name),
        Kind::Durable => facts.name.to_owned(),
        Kind::Ring | Kind::Channel | Kind::Bound => format!("*{}*", facts.name),
    };
    let _ = write!(text, "| {name} |");
    for column in columns {
        let _ = match figure(column, facts.name, rows) {
            Some(figure) => write!(text, " {} |", figure_text(figure, column.unit)),
            None => write!(text, " {} |", why(rows, facts.name, &column.point)),
        };
    }
    text.push('\n');
}

/// Why a figure is missing: what was said of this point, or of the whole workload.
fn why(rows: &[&Row], peer: &str, point: &str) -> String {
    let reasons = rows.iter().filter(|row| row.peer == peer && row.metric == WHY);
    let told = |of: &str| reasons.clone().find_map(|row| row.point.strip_prefix(of)?.strip_prefix(": "));
    told(point).or_else(|| told(ALL_POINTS)).unwrap_or("-").replace('|', "/")
}

/// Ours beside the best of those that keep records in files.
fn comparison(text: &mut String, columns: &[Column], rows: &[&Row]) {
    let mut any = false;
    let mut line = String::from("| millpond / best durable peer |");
    for column in columns {
        let best = best_peer(column, rows);
        let ours = Figure::of(rows, "millpond", &column.point, column.metric);
        match (ours, best) {
            (Some(ours), Some((name, best))) if !matches!(column.unit, Unit::Count | Unit::Size) => {
                any = true;
                let _ = write!(line, " {:.2} ({name}) |", ours.median / best);
            }
            _ => line.push_str(" |"),
        }
    }
    if any {
        text.push_str(&line);
        text.push('\n');
    }
}

/// Name and median of the best durable peer of a column.
pub fn best_peer(column: &Column, rows: &[&Row]) -> Option<(&'static str, f64)> {
    let all = peers::all();
    let durable = all.iter().map(|peer| peer.facts()).filter(|facts| facts.kind == Kind::Durable);
    let figures = durable.filter_map(|facts| {
        Figure::of(rows, facts.name, &column.point, column.metric).map(|figure| (facts.name, figure.median))
    });
    let is_more_better = matches!(column.unit, Unit::Rate | Unit::BytesPerSecond);
    match is_more_better {
        true => figures.max_by(|a, b| a.1.total_cmp(&b.1)),
        false => figures.min_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

fn figure_text(figure: Figure, unit: Unit) -> String {
    let Figure { median, least, most } = figure;
    match least == most {
        true => in_unit(median, unit),
        false => format!("{} [{}..{}]", in_unit(median, unit), in_unit(least, unit), in_unit(most, unit)),
    }
}

/// A figure in three digits or so.
pub fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate | Unit::Count => short(value, 1000.0, ["", "k", "M", "G"]),
        Unit::BytesPerSecond => format!("{}B/s", short(value, 1000.0, ["", "k", "M", "G"])),
        Unit::Bytes | Unit::Size => format!("{}B", short(value, 1024.0, ["", "Ki", "Mi", "Gi"])),
        Unit::Micros => short(value, 1000.0, [" us", " ms", " s", " ks"]),
        Unit::Millis => short(value, 1000.0, [" ms", " s", " ks", " Ms"]),
        Unit::Ratio => format!("{value:.2}"),
    }
}

fn short(value: f64, step: f64, words: [&str; 4]) -> String {
    let mut value = value;
    let mut at = 0;
    while value >= step && at + 1 < words.len() {
        value /= step;
        at += 1;
    }
    let digits = match value {
        v if v == 0.0 || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let space = if step == 1024.0 { " " } else { "" };
    format!("{value:.digits$}{space}{}", words[at])
}
