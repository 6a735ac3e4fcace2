//! Running the examples as processes of their own.
//!
//! Invariant: the examples have the features of this test and are no older: the first test of a build asks cargo, which
//! builds what is not there or was built with others.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use tempfile::TempDir;

/// What a process left.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) code: i32,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
}

impl Done {
    /// Its standard output, which is text.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// It went well.
    #[track_caller]
    pub(super) fn ok(self) -> Done {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", String::from_utf8_lossy(&self.out));
        self
    }

    /// It ended with this code and one line that holds these words.
    #[track_caller]
    pub(super) fn failed(self, code: i32, words: &str) -> Done {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("millpond: ") && self.err.contains(words), "{}", self.err);
        self
    }
}

/// A data directory, and the tool that works on it.
#[derive(Debug)]
pub(super) struct Tool {
    home: TempDir,
}

impl Tool {
    /// On a directory that does not exist yet.
    pub(super) fn new() -> Tool {
        Tool { home: tempfile::tempdir().unwrap() }
    }

    /// A path beside the data.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.beside("data")
    }

    /// `millpond COMMAND --data DIR ARGUMENTS`, the arguments written with spaces between them.
    pub(super) fn command(&self, arguments: &str) -> Command {
        let mut words = arguments.split(' ').filter(|word| !word.is_empty());
        let mut command = Command::new(example("millpond"));
        command.args(words.next()).arg("--data").arg(self.data()).args(words).current_dir(self.home.path());
        command
    }

    /// Runs a command that reads nothing.
    pub(super) fn run(&self, arguments: &str) -> Done {
        self.run_with(arguments, b"")
    }

    /// Runs a command that reads `input`.
    pub(super) fn run_with(&self, arguments: &str, input: &[u8]) -> Done {
        feed(&mut self.command(arguments), input)
    }

    /// Publishes lines to a topic.
    pub(super) fn produce(&self, arguments: &str, input: &[u8]) {
        self.run_with(&format!("produce {arguments}"), input).ok();
    }

    /// Starts a command whose three streams are pipes.
    pub(super) fn spawn(&self, arguments: &str) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Runs a command on `input`.
pub(super) fn feed(command: &mut Command, input: &[u8]) -> Done {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // Who does not read all of it closes the pipe.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    done(output)
}

fn done(output: Output) -> Done {
    let err = String::from_utf8(output.stderr).unwrap();
    // -1: killed by a signal.
    Done { code: output.status.code().unwrap_or(-1), out: output.stdout, err }
}

/// Where the example of this name has been built.
pub(super) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap().join("examples");
        let (mark, wanted) = (folder.join(".built-for-tests"), wanted(&test));
        if std::fs::read_to_string(&mark).ok().as_ref() != Some(&wanted) {
            build(&folder);
            std::fs::write(&mark, wanted).unwrap();
        }
        folder
    });
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// This build of the tests, and its features.
fn wanted(test: &Path) -> String {
    let built = std::fs::metadata(test).and_then(|test| test.modified()).unwrap();
    format!("{} {built:?} {}", test.display(), features().join(","))
}

/// The features that these tests are built with: of the examples they expect the same.
fn features() -> Vec<&'static str> {
    ALL.into_iter().filter_map(|(name, on)| on.then_some(name)).collect()
}

const ALL: [(&str, bool); 11] = [
    ("serde", cfg!(feature = "serde")),
    ("json", cfg!(feature = "json")),
    ("bincode", cfg!(feature = "bincode")),
    ("gzip", cfg!(feature = "gzip")),
    ("snappy", cfg!(feature = "snappy")),
    ("lz4", cfg!(feature = "lz4")),
    ("zstd", cfg!(feature = "zstd")),
    ("stream", cfg!(feature = "stream")),
    ("metrics", cfg!(feature = "metrics")),
    ("tracing", cfg!(feature = "tracing")),
    ("testing", cfg!(feature = "testing")),
];

/// Builds the examples into `folder`, which lies in the folder of a profile; what is there and fresh stays.
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let target = folder.parent().and_then(Path::parent).unwrap();
    command.args(["build", "--quiet", "--examples", "--no-default-features"]).arg("--target-dir").arg(target);
    command.arg(format!("--features={}", features().join(","))).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success(), "the examples could not be built");
}

#[test]
fn every_feature_is_handed_on_to_the_examples() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let section = manifest.split("\n[features]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let named = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let named: Vec<_> = named.filter(|name| *name != "default" && !name.starts_with('#')).collect();
    assert_eq!(ALL.map(|(name, _)| name).to_vec(), named);
}
