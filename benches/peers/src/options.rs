//! What the command line asks for.

use std::path::{Path, PathBuf};

use crate::Result;

/// How the program is called.
const USAGE: &str = "usage: [all | report | WORKLOAD... PEER...] [--reps N] [--quick] [--dir PATH] [--dry]
  WORKLOAD, PEER  part of the name of a workload or of a peer; millpond is always measured with them
  --reps N        repetitions (3)
  --quick         small amounts, to see whether it works: prints, and keeps nothing
  --dir PATH      where the data goes (the directory for temporary files)
  --dry           print the tables, and keep nothing";

/// The whole command line.
#[derive(Debug, Default)]
pub struct Options {
    /// Names of workloads and peers.
    pub words: Vec<String>,
    /// Everything.
    pub all: bool,
    /// How often each is measured.
    pub reps: usize,
    /// Small amounts.
    pub quick: bool,
    /// Where the data goes.
    pub dir: PathBuf,
    /// Write no report.
    pub dry: bool,
    /// Only write the report again.
    pub report_only: bool,
    /// This process measures one.
    pub child: Option<Child>,
}

/// What a child measures.
#[derive(Clone, Debug)]
pub struct Child {
    /// The workload.
    pub work: String,
    /// The peer.
    pub peer: String,
    /// What it is to do there; none for the workload itself.
    pub part: Option<String>,
}

impl Options {
    /// Of this process.
    pub fn from_arguments() -> Result<Options> {
        let mut options = Options { reps: 3, dir: std::env::temp_dir(), ..Options::default() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value\n{USAGE}"));
            match argument.as_str() {
                "--reps" => options.reps = value()?.parse()?,
                "--dir" => options.dir = value()?.into(),
                "--quick" => options.quick = true,
                "--dry" => options.dry = true,
                "--child" => {
                    let (work, peer) = (value()?, value()?);
                    options.child = Some(Child { work, peer, part: None });
                }
                "--part" => {
                    let part = value()?;
                    options.child.as_mut().ok_or("--part is for children")?.part = Some(part);
                }
                "all" => options.all = true,
                "report" => options.report_only = true,
                other if other.starts_with('-') => return Err(USAGE.into()),
                _ => options.words.push(argument),
            }
        }
        if !options.all && !options.report_only && options.words.is_empty() && options.child.is_none() {
            return Err(USAGE.into());
        }
        Ok(options)
    }

    /// Those of the names that the words ask for; all of them where no word asks for one.
    pub fn select<'a>(&self, names: &[&'a str], everything: &[&str]) -> Vec<&'a str> {
        // The whole name of something means that, and not all that has the name in its own.
        let is_whole = |word: &String| everything.contains(&word.as_str());
        let asked = |name: &&&str| {
            let is_it =
                |word: &String| if is_whole(word) { word == **name } else { name.contains(word.as_str()) };
            self.words.iter().any(is_it)
        };
        let chosen: Vec<&str> = names.iter().filter(asked).copied().collect();
        if self.all || chosen.is_empty() { names.to_vec() } else { chosen }
    }

    /// Every word is part of one of the names.
    pub fn check_words(&self, names: &[&str]) -> Result<()> {
        match self.words.iter().find(|word| !names.iter().any(|name| name.contains(word.as_str()))) {
            Some(word) => {
                Err(format!("no workload and no peer is called {word}; there are: {}", names.join(", "))
                    .into())
            }
            None => Ok(()),
        }
    }
}

/// The repository this program was built in.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
