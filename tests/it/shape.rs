//! The shape of the repository: layers, headers, lengths, where `unsafe` may stand, what is not written.
//!
//! One test walks all sources and reports every violation at once; the other tests show, on small
//! texts, that each rule bites.
//!
//! ```text
//!   file --lexer--> tokens (no comments, no texts) --rules--> "src/a.rs:12: what is wrong"
//! ```

mod lexer;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use lexer::{tokens, without_tests};

/// A source of the library as the rules see it: its path from the repository's root, and its text.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

#[test]
fn the_repository_keeps_its_shape() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut violations = Vec::new();
    let mut seen = 0;
    for path in files(root, &["src", "tests", "examples", "benches", "fuzz"], "rs") {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        let source = Source { path: &path, text: &text };
        violations.extend(rules::check_text(&source));
        if path.starts_with("src/") {
            violations.extend(check_library_source(&source));
            seen += 1;
        }
    }
    for path in files(root, &[".ci"], "").into_iter().chain(top_level_texts(root)) {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        violations.extend(rules::check_words(&Source { path: &path, text: &text }));
    }
    assert!(seen >= 20, "only {seen} sources were found: the walk is broken");
    assert!(violations.is_empty(), "\n{} violations:\n  {}\n", violations.len(), violations.join("\n  "));
}

fn check_library_source(source: &Source<'_>) -> Vec<String> {
    let all = tokens(source.text);
    let mut violations = rules::check_unsafe(source, &all);
    if !rules::is_test_file(source.path) {
        let shipped = without_tests(&all);
        violations.extend(rules::check_file_length(source));
        violations.extend(rules::check_function_lengths(source, &shipped));
        violations.extend(rules::check_layers(source, &shipped));
    }
    violations
}

/// All files with this extension ("" for any) below the folders, by their paths from the root, sorted.
fn files(root: &Path, folders: &[&str], extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "target" {
                    open.push(path);
                }
            } else if extension.is_empty() || path.extension().is_some_and(|found| found == extension) {
                found.push(path.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

fn top_level_texts(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".md") || name.ends_with(".toml")).collect()
}

/// The lines of the violations that a rule finds in a text standing at `path`.
fn lines(violations: &[String]) -> Vec<usize> {
    let line = |violation: &String| violation.split(':').nth(1).unwrap().parse().unwrap();
    violations.iter().map(line).collect()
}

fn library(path: &str, text: &str) -> Vec<String> {
    check_library_source(&Source { path, text })
}

#[test]
fn upward_and_sideways_names_are_found() {
    let found = library("src/format/batch.rs", "use crate::types::Offset;\nuse crate::partition::Log;\n");
    assert_eq!(found, ["src/format/batch.rs:2: format (layer 3) names partition (layer 5)"]);
    let sideways = library("src/config/topic.rs", "fn f() { crate::codec::Raw; }\n");
    assert_eq!(sideways, ["src/config/topic.rs:1: config (layer 2) names codec (layer 2)"]);
    let own = library("src/config/topic.rs", "use crate::config::Acks;\nuse crate::error::Error;\n");
    assert!(own.is_empty(), "{own:?}");
}

#[test]
fn names_are_found_however_they_are_written() {
    let text = "use crate::{\n    error::Error,\n    types::{Offset, TopicName},\n    broker::{Broker, x::Y},\n    producer,\n};\n";
    assert_eq!(lines(&library("src/format/mod.rs", text)), [4, 5]);
    assert_eq!(lines(&library("src/format/mod.rs", "use super::broker::Broker;")), [1]);
    assert_eq!(lines(&library("src/format/a.rs", "use super::super::broker::Broker;")), [1]);
    assert_eq!(lines(&library("src/format/a.rs", "mod b {\n use super::super::super::broker;\n}")), [2]);
    assert!(library("src/format/a.rs", "use super::broker::Own;").is_empty(), "format's own module broker");
    assert!(library("src/format/a.rs", "mod b { mod c { use super::super::super::x; } }").is_empty());
    assert_eq!(lines(&library("src/types/a.rs", "macro_rules! m { () => { $crate::error::f() } }")), [1]);
    assert_eq!(lines(&library("src/format/a.rs", "\nuse crate::*;")), [2]);
    assert_eq!(lines(&library("src/format/a.rs", "pub(in crate::broker) fn f() {}")), [1]);
}

#[test]
fn the_root_and_unknown_modules_are_not_named() {
    assert_eq!(lines(&library("src/format/a.rs", "use crate::Offset;")), [1]);
    assert_eq!(lines(&library("src/format/a.rs", "use crate::engine::Engine;")), [1]);
    assert_eq!(library("src/engine/a.rs", "use std::fmt;").len(), 1, "a module without a layer");
    assert!(library("src/lib.rs", "pub use crate::broker::Broker;").is_empty());
    assert!(library("src/prelude.rs", "pub use crate::Broker;").is_empty());
}

#[test]
fn comments_texts_and_tests_name_what_they_like() {
    let text = "//! crate::broker\n/* crate::broker /* nested */ crate::broker */\n/// [`x`](crate::broker)\n\
        const A: &str = \"crate::broker \\\" crate::broker\";\nconst B: &str = r#\"crate::broker\"#;\n\
        const C: char = '\"';\nfn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests {\n    use crate::broker::B;\n}\n\
        #[cfg(all(test, loom))]\nuse crate::broker::C;\n";
    let found = library("src/format/a.rs", text);
    assert!(found.is_empty(), "{found:?}");
    assert!(library("src/format/tests.rs", "use crate::broker::B;").is_empty());
    let behind = "#[cfg(test)]\nmod tests;\nuse crate::broker::B;\n";
    assert_eq!(lines(&library("src/format/a.rs", behind)), [3], "what follows the tests is not one of them");
    let field = "struct S {\n    #[cfg(test)]\n    a: u8,\n    b: crate::broker::B,\n}\n";
    assert_eq!(lines(&library("src/format/a.rs", field)), [4]);
    let shipped = "#[cfg(any(test, feature = \"testing\"))]\nuse crate::broker::B;\n#[cfg(not(test))]\nuse crate::broker::C;\n";
    assert_eq!(lines(&library("src/format/a.rs", shipped)), [2, 4]);
}

#[test]
fn unsafe_stands_in_one_file() {
    assert_eq!(lines(&library("src/segment/a.rs", "\nunsafe impl Send for A {}")), [2]);
    assert_eq!(lines(&library("src/segment/tests.rs", "fn f() { unsafe { g() } }")), [1]);
    assert!(library("src/env/map.rs", "fn f() { unsafe { g() } }").is_empty());
    assert!(library("src/segment/a.rs", "#![deny(unsafe_code)]\n// unsafe\n").is_empty());
}

#[test]
fn long_functions_and_files_are_found() {
    let function = |lines: usize| format!("\nfn long() -> [u8; 2] {{\n{}}}\n", "    f();\n".repeat(lines));
    assert!(library("src/format/a.rs", &function(70)).is_empty());
    let found = library("src/format/a.rs", &function(71));
    assert_eq!(found, ["src/format/a.rs:2: function long has 71 lines of code (at most 70)"]);
    let commented = function(70).replace("    f();\n", "    f();\n    // why\n\n");
    assert!(library("src/format/a.rs", &commented).is_empty(), "comments and empty lines do not count");
    let tests = format!("#[cfg(test)]\nmod tests {{{}}}\n", function(71));
    assert!(library("src/format/a.rs", &tests).is_empty());
    assert!(library("src/format/a.rs", &"\n".repeat(800)).is_empty());
    assert_eq!(library("src/format/a.rs", &"\n".repeat(801)).len(), 1);
    assert!(library("src/format/tests.rs", &"\n".repeat(801)).is_empty());
}

#[test]
fn headers_alphabet_and_words_are_checked() {
    let check = |text: &str| lines(&rules::check_text(&Source { path: "src/a.rs", text }));
    assert!(check("//! Purpose.\n").is_empty());
    assert_eq!(check("use std::fmt;\n//! Too late.\n"), [1]);
    assert_eq!(check(""), [1]);
    assert_eq!(check("//! Purpose.\nconst A: &str = \"caf\u{e9}\";\n"), [2]);
    for word in rules::forbidden_words() {
        assert_eq!(check(&format!("//! Purpose.\n\n// see {word}x\n")), [3], "{word}");
    }
    let toml = Source { path: "a.toml", text: "a = 1\n" };
    assert!(rules::check_words(&toml).is_empty());
}
