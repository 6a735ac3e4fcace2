//! How a command ends when it cannot do what it was asked for.
//!
//! ```text
//!   64  the command line, or a setting in it, makes no sense      (sysexits' EX_USAGE)
//!    1  it makes sense and could not be done, or not for all of what was asked (which is printed as far as it goes)
//!    0  nobody reads our output any more: nothing is left to do
//! ```
//!
//! Invariant: what is said is one line, whatever the message came from.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use millpond::ErrorKind;

/// Why a command stopped early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// It could not be done.
    Failed(String),
    /// The reader of our output has gone.
    ClosedPipe,
}

/// A command's exit code, or why it stopped early.
pub(crate) type Outcome<T = u8> = Result<T, Failure>;

/// It was done.
pub(crate) const DONE: u8 = 0;
/// It was not, or what was looked at needs an opening to settle it.
pub(crate) const FAILED: u8 = 1;
/// What was looked at is damaged.
pub(crate) const CORRUPT: u8 = 2;
const USAGE: u8 = 64;

impl Failure {
    /// It could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::Failed(message.into())
    }

    /// What was asked for could not be read.
    pub(crate) fn unreadable(error: &millpond::Error) -> Failure {
        Failure::Failed(advised(error))
    }

    /// An error of the operating system while doing `what` to `path`.
    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::Failed(format!("could not {what} {}: {error}", path.display()))
    }

    /// An error while writing to standard output; it may only be that nobody reads on.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(format!("could not write the output: {error}")),
        }
    }

    /// Says it in one line, and answers the exit code.
    pub(crate) fn report(self) -> u8 {
        match self {
            Failure::Usage(message) => {
                say(message);
                USAGE
            }
            Failure::Failed(message) => {
                say(message);
                FAILED
            }
            Failure::ClosedPipe => DONE,
        }
    }
}

impl From<millpond::Error> for Failure {
    fn from(error: millpond::Error) -> Failure {
        match error.kind() {
            ErrorKind::InvalidConfig | ErrorKind::InvalidArgument => Failure::Usage(format!("{error:#}")),
            _ => Failure::unreadable(&error),
        }
    }
}

/// An error, and what to do about damage.
fn advised(error: &millpond::Error) -> String {
    match error.kind() {
        ErrorKind::Corrupted => format!("{error:#}; verify lists all there is, repair cuts it"),
        _ => format!("{error:#}"),
    }
}

/// What was asked for has been printed, but for what these say could not be read.
pub(crate) fn all_but<'a>(unreadable: impl IntoIterator<Item = &'a millpond::Error>) -> u8 {
    let mut code = DONE;
    for error in unreadable {
        say(advised(error));
        code = FAILED;
    }
    code
}

/// Writes one line to standard error, of an error with all its sources; if that is closed, there is nobody to tell.
pub(crate) fn say(message: impl Display) {
    let words = format!("{message:#}");
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr(), "millpond: {line}");
}
