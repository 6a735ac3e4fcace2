//! `top`: what happens in a directory, on the whole screen.
//!
//! ```text
//!   look -> Board -> draw -> a key, or the interval is over -> look ...        q, Esc, Ctrl-C: the end
//!   no terminal, or --once:  look, an interval later look again, print one frame
//! ```
//!
//! Invariants: nothing is written and no lock is taken; the terminal is left as it was found, whatever ends it.

mod frame;

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use frame::Board;
use millpond::broker::Watch;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::data::observe;
use crate::failure::{DONE, Failure, Outcome, all_but};
use crate::pace::Stopwatch;

/// Show topics, rates, groups and lag, live; beside a running program or not. q ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one frame as text, as is done without a terminal.
    #[arg(long)]
    once: bool,
    /// How often to look, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=3_600_000))]
    interval: u64,
}

/// How wide text is printed.
const WIDTH: u16 = 120;

impl Top {
    /// Shows it.
    pub(crate) fn run(self) -> Outcome {
        let mut watch = observe(&self.data)?.watch();
        if self.once || !stdout().is_terminal() {
            return self.print(&mut watch);
        }
        let mut terminal = ratatui::try_init()
            .map_err(|e| Failure::failed(format!("could not set up the terminal: {e}")))?;
        let shown = self.show(&mut watch, &mut terminal);
        ratatui::restore();
        shown
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval)
    }

    fn print(&self, watch: &mut Watch) -> Outcome {
        let before = watch.look()?;
        let since = Stopwatch::start();
        since.wait_until(self.interval());
        let now = watch.look()?;
        let board = Board::of(&self.data.display().to_string(), &now, Some(&before));
        stdout().write_all(board.text(WIDTH).as_bytes()).map_err(|e| Failure::output(&e))?;
        Ok(all_but(now.unreadable()))
    }

    fn show(&self, watch: &mut Watch, terminal: &mut DefaultTerminal) -> Outcome {
        let data = self.data.display().to_string();
        let mut before = None;
        loop {
            let now = watch.look()?;
            let board = Board::of(&data, &now, before.as_ref());
            let drawn = Stopwatch::start();
            loop {
                terminal.draw(|frame| board.draw(frame)).map_err(|e| Failure::output(&e))?;
                let left = self.interval().saturating_sub(drawn.elapsed());
                if left.is_zero() {
                    break;
                }
                if is_end(left)? {
                    return Ok(DONE);
                }
            }
            before = Some(now);
        }
    }
}

/// Waits for a key; answers whether it is one that ends this.
fn is_end(longest: Duration) -> Outcome<bool> {
    let failed = |e| Failure::failed(format!("could not read the keyboard: {e}"));
    if !event::poll(longest).map_err(failed)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read().map_err(failed)? else { return Ok(false) };
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let ends = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || interrupted;
    Ok(key.kind == KeyEventKind::Press && ends)
}
