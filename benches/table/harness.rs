//! Parent and child: the parent counts repetitions and prints, the child measures one row once.

use std::collections::BTreeMap;
use std::process::Command;

use crate::Options;
use crate::common::Result;
use crate::common::machine::{median, prewarm};
use crate::row::{Bench, Figures, Row};

/// Made resident before each measurement.
const PREWARMED_MEGABYTES: usize = 1024;

/// Measures one row once, in this process, and prints the figures for the parent.
pub(crate) fn measure(row: &Row, options: &Options) -> Result<()> {
    prewarm(&options.dir, PREWARMED_MEGABYTES)?;
    let figures = (row.run)(&Bench { dir: &options.dir, ours_first: options.ours_first })?;
    println!("figure ours {}", figures.ours);
    if let Some(bound) = figures.bound {
        println!("figure bound {bound}");
    }
    for (name, figure) in figures.notes {
        println!("note {name}={figure}");
    }
    Ok(())
}

/// Measures all rows that are asked for, and prints the table.
pub(crate) fn table(rows: &[Row], options: &Options) -> Result<()> {
    let wanted = |row: &&Row| {
        options.only.is_empty() || options.only.iter().any(|part| row.name.contains(part.as_str()))
    };
    let rows: Vec<&Row> = rows.iter().filter(wanted).collect();
    let mut measured: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for repetition in 0..options.reps {
        for row in &rows {
            eprint!("\r{}/{} {:60}", repetition + 1, options.reps, row.name);
            match child(row, options, repetition % 2 == 0) {
                Ok(figures) => measured.entry(row.name).or_default().push(figures),
                Err(error) => eprintln!("\r{}: {error:#}", row.name),
            }
        }
    }
    eprintln!("\r{:70}", "");
    println!("| row | unit | millpond | bound | ratio | target | reached |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        print_row(row, measured.get(row.name).map_or(&[], Vec::as_slice));
    }
    Ok(())
}

fn child(row: &Row, options: &Options, ours_first: bool) -> Result<Figures> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", row.name, "--dir"]).arg(dir.path());
    if ours_first {
        command.arg("--ours-first");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    let mut figures = Figures { ours: f64::NAN, ..Figures::default() };
    for line in String::from_utf8(output.stdout)?.lines() {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("figure"), Some("ours"), Some(figure)) => figures.ours = figure.parse()?,
            (Some("figure"), Some("bound"), Some(figure)) => figures.bound = Some(figure.parse()?),
            (Some("note"), ..) => note(&mut figures, line)?,
            _ => {}
        }
    }
    Ok(figures)
}

fn note(figures: &mut Figures, line: &str) -> Result<()> {
    let (name, figure) = line["note ".len()..].rsplit_once('=').ok_or("a note without a figure")?;
    figures.notes.push((name.to_owned(), figure.parse()?));
    Ok(())
}

fn print_row(row: &Row, measured: &[Figures]) {
    if measured.is_empty() {
        println!("| {} | {} | failed | | | {} | no |", row.name, row.unit, row.target);
        return;
    }
    let of = |figure: fn(&Figures) -> f64| -> Vec<f64> { measured.iter().map(figure).collect() };
    let all = of(|figures| figures.ours);
    let ours = median(&all);
    let (least, most) = all.iter().fold((f64::MAX, f64::MIN), |(l, m), &x| (l.min(x), m.max(x)));
    let bound = median(&of(|figures| figures.bound.unwrap_or(f64::NAN)));
    let ratio = median(&of(|figures| figures.ours / figures.bound.unwrap_or(f64::NAN)));
    let reached = if row.target.is_reached(ours, bound, ratio) { "yes" } else { "**no**" };
    let or_none = |figure: f64| if figure.is_nan() { "-".to_owned() } else { format!("{figure:.2}") };
    println!(
        "| {} | {} | {ours:.2} ({least:.2}..{most:.2}){} | {} | {} | {} | {reached} |",
        row.name,
        row.unit,
        notes(measured),
        or_none(bound),
        or_none(ratio),
        row.target,
    );
}

/// The medians of what is to be printed beside the figure.
fn notes(measured: &[Figures]) -> String {
    let Some(first) = measured.first() else { return String::new() };
    let mut text = String::new();
    for (at, (name, _)) in first.notes.iter().enumerate() {
        let all: Vec<f64> =
            measured.iter().filter_map(|f| f.notes.get(at)).map(|(_, figure)| *figure).collect();
        text.push_str(&format!("; {name} {:.2}", median(&all)));
    }
    text
}
