//! Counts repetitions, starts children one after the other, and keeps their figures.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::machine::now;
use crate::options::Options;
use crate::peer::{Kind, Peer};
use crate::rows::{self, ALL_POINTS, Row, WHY};
use crate::work::Work;
use crate::{Result, conditions, peers, work};

/// A child that takes longer is ended.
const MOST_TIME: Duration = Duration::from_secs(120);

/// Measures what is asked for, and keeps the rows.
pub fn measure(options: &Options) -> Result<()> {
    let works = work::all();
    let peers = peers::all();
    let names: Vec<&str> = works.iter().map(|work| work.name).collect();
    let peer_names: Vec<&str> = peers.iter().map(|peer| peer.facts().name).collect();
    let everything = [names.clone(), peer_names.clone()].concat();
    options.check_words(&everything)?;
    let chosen = options.select(&names, &everything);
    let chosen_peers: BTreeSet<&str> = options.select(&peer_names, &everything).into_iter().collect();

    let start = now();
    let mut measured = Vec::new();
    for repetition in 0..options.reps {
        let is_due = |work: &&Work| chosen.contains(&work.name) && repetition < work.most_reps;
        for work in works.iter().filter(is_due) {
            let asked = |peer: &&Box<dyn Peer>| {
                let facts = peer.facts();
                facts.kind == Kind::Millpond || chosen_peers.contains(facts.name)
            };
            let mut round: Vec<&dyn Peer> = peers.iter().filter(asked).map(AsRef::as_ref).collect();
            round.retain(|peer| (work.takes)(&peer.facts()));
            let turn = repetition % round.len().max(1);
            round.rotate_left(turn);
            for peer in round {
                let name = peer.facts().name;
                eprintln!(
                    "{:>5.0} s  {}/{}  {:12} {name}",
                    start.elapsed().as_secs_f64(),
                    repetition + 1,
                    options.reps,
                    work.name
                );
                measured.extend(one(work, name, repetition, options));
            }
            if !options.dry && !options.quick {
                keep(&measured, options)?;
            }
        }
    }
    eprintln!("{:>5.0} s  done", start.elapsed().as_secs_f64());
    if options.dry || options.quick {
        crate::report::print(&measured);
    }
    Ok(())
}

/// Keeps these rows instead of older ones of the same workload and peer.
fn keep(measured: &[Row], options: &Options) -> Result<()> {
    let path = rows::path();
    let (_, mut all) = rows::load(&path)?;
    let again: BTreeSet<(&str, &str)> =
        measured.iter().map(|row| (row.work.as_str(), row.peer.as_str())).collect();
    all.retain(|row| !again.contains(&(row.work.as_str(), row.peer.as_str())));
    all.extend_from_slice(measured);
    rows::save(&path, &conditions::text(options), &all)
}

/// The rows of one child; if it fails, one that says so.
fn one(work: &Work, peer: &str, repetition: usize, options: &Options) -> Vec<Row> {
    let row = |point: &str, metric: &str, value| Row {
        work: work.name.into(),
        peer: peer.into(),
        point: point.into(),
        metric: metric.into(),
        repetition,
        value,
    };
    let (output, failure) = match run(work, peer, options) {
        Ok(both) => both,
        Err(error) => (String::new(), Some(error.to_string())),
    };
    let figures = output.lines().filter_map(|line| {
        let mut words = line.strip_prefix("figure\t")?.split('\t');
        let (point, metric, value) = (words.next()?, words.next()?, words.next()?);
        Some(row(point, metric, value.parse().unwrap_or(f64::NAN)))
    });
    let mut all: Vec<Row> = figures.collect();
    if let Some(failure) = failure {
        eprintln!("         {failure}");
        let text = failure.replace(['\t', '\n'], " ");
        all.push(row(&format!("{ALL_POINTS}: {text}"), WHY, f64::NAN));
    }
    all
}

/// What a child printed, and how it failed if it did.
fn run(work: &Work, peer: &str, options: &Options) -> Result<(String, Option<String>)> {
    let dir = tempfile::Builder::new().prefix("millpond-peers-").tempdir_in(&options.dir)?;
    let mut command = child_command(work.name, peer, dir.path(), options.quick)?;
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, errors, is_success) = wait(child)?;
    let last = || {
        let mut lines = errors.lines().rev();
        lines
            .find(|line| !line.starts_with("note:") && !line.trim().is_empty())
            .unwrap_or("it died")
            .to_owned()
    };
    Ok((output, (!is_success).then(last)))
}

/// The command of a child.
pub fn child_command(work: &str, peer: &str, dir: &Path, quick: bool) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", work, peer, "--dir"]).arg(dir);
    if quick {
        command.arg("--quick");
    }
    // walrus takes its settings from here, and prints every append if it is not told to be quiet.
    command.env("WALRUS_QUIET", "1").env("WALRUS_DATA_DIR", dir);
    Ok(command)
}

/// Output, errors and success of a child, which is ended after a while.
fn wait(mut child: Child) -> Result<(String, String, bool)> {
    let (tell, hear) = mpsc::channel();
    let mut errors = child.stderr.take().ok_or("no stderr")?;
    let mut output = child.stdout.take().ok_or("no stdout")?;
    let other = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = errors.read_to_end(&mut text);
        text
    });
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.read_to_end(&mut text);
        let _ = tell.send(text);
    });
    let text = match hear.recv_timeout(MOST_TIME) {
        Ok(text) => text,
        Err(_) => {
            child.kill()?;
            child.wait()?;
            return Err("took too long".into());
        }
    };
    let status = child.wait()?;
    let errors = other.join().map_err(|_| "a thread died")?;
    let as_text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((as_text(text), as_text(errors), status.success()))
}
