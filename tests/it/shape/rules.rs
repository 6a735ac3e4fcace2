//! The rules, each a function from a source to the violations in it, written `path:line: what`.

use super::Source;
use super::lexer::{Token, closing};

/// A module names only modules of lower layers. Two of one layer do not name each other, except that
/// `error` stands upon `types`, `telemetry` upon both, and `sync` upon `env`: they have a place of their own between two layers.
const LAYERS: [(&str, f32); 25] = [
    ("types", 0.0),
    ("error", 0.5),
    ("telemetry", 0.7),
    ("env", 1.0),
    ("sync", 1.5),
    ("config", 2.0),
    ("codec", 2.0),
    ("format", 3.0),
    ("segment", 4.0),
    ("partition", 5.0),
    ("cleaner", 6.0),
    ("topic", 6.0),
    ("producer", 7.0),
    ("group", 7.0),
    ("consumer", 8.0),
    ("table", 8.5),
    ("txn", 9.0),
    ("replication", 9.0),
    ("broker", 10.0),
    ("observer", 10.0),
    ("testing", 11.0),
    ("fuzzing", 11.0),
    ("guide", 11.0),
    // The two that gather names from everywhere.
    ("lib", 12.0),
    ("prelude", 12.0),
];

/// Names that break the order of the layers, each with its reason.
const LAYER_EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "src/env/map.rs",
    "sync",
    "loom's atomics stand in for the standard library's; the shim itself names nothing",
)];

/// Functions longer than [`MAX_FUNCTION_LINES`], each with its reason. Keep this list short.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 70;
const UNSAFE_FILE: &str = "src/env/map.rs";

/// Paths of one machine, and hosts that stand between a machine and the public registry. Written in
/// pieces, because this file is searched too.
pub(super) fn forbidden_words() -> Vec<String> {
    let paths = ["work", "root", "tmp", "home", "Users", "mnt"].map(|folder| format!("/{folder}/"));
    let hosts = [
        ["artif", "actory"],
        ["nexus/", "repository"],
        ["index.cra", "tes.io-"],
        ["sparse", "+http"],
        ["pypi.", "org/simple"],
        ["local", "host:"],
    ];
    let pieces = hosts.map(|host| host.concat());
    paths.into_iter().chain(pieces).chain([format!("C:{}Users", '\\')]).collect()
}

/// Whether a file holds only tests.
pub(super) fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || (part.starts_with("tests") && part.ends_with(".rs")))
}

/// What every text of Rust keeps: a header, the alphabet, no forbidden word.
pub(super) fn check_text(source: &Source<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    if !source.text.starts_with("//!") {
        violations.push(format!("{}:1: does not begin with //! (purpose and invariants)", source.path));
    }
    for (number, line) in numbered(source.text) {
        if let Some(found) = line.chars().find(|c| !c.is_ascii()) {
            violations.push(format!("{}:{number}: has {found:?}, which is not ASCII", source.path));
        }
    }
    violations.extend(check_words(source));
    violations
}

/// No forbidden word stands in the text.
pub(super) fn check_words(source: &Source<'_>) -> Vec<String> {
    let words = forbidden_words();
    let mut violations = Vec::new();
    for (number, line) in numbered(source.text) {
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            violations.push(format!("{}:{number}: names {word}, a place of one machine", source.path));
        }
    }
    violations
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

pub(super) fn check_unsafe(source: &Source<'_>, tokens: &[Token]) -> Vec<String> {
    if source.path == UNSAFE_FILE {
        return Vec::new();
    }
    let found = tokens.iter().filter(|token| token.text == "unsafe");
    found.map(|token| format!("{}:{}: unsafe outside of {UNSAFE_FILE}", source.path, token.line)).collect()
}

pub(super) fn check_file_length(source: &Source<'_>) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    vec![format!("{}:{lines}: the file has more than {MAX_FILE_LINES} lines", source.path)]
}

pub(super) fn check_function_lengths(source: &Source<'_>, tokens: &[Token]) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let (keyword, name) = (&pair[0], &pair[1]);
        if keyword.text != "fn" || name.text == "(" {
            continue;
        }
        let lines = body_lines(tokens, at);
        let known = LONG_FUNCTIONS.iter().any(|(path, long, _)| *path == source.path && *long == name.text);
        if lines > MAX_FUNCTION_LINES && !known {
            violations.push(format!(
                "{}:{}: function {} has {lines} lines of code (at most {MAX_FUNCTION_LINES})",
                source.path, keyword.line, name.text
            ));
        }
    }
    violations
}

/// How many lines between the braces of the function's body hold code; 0 where it has no body.
fn body_lines(tokens: &[Token], function: usize) -> usize {
    let mut at = function;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return 0,
            "(" | "[" => at = closing(tokens, at).unwrap_or(tokens.len()),
            "{" => break,
            _ => {}
        }
        at += 1;
    }
    let Some(end) = closing(tokens, at) else { return 0 };
    let (first, last) = (tokens[at].line, tokens[end].line);
    let mut lines: Vec<usize> = tokens[at..end].iter().map(|token| token.line).collect();
    lines.dedup();
    lines.retain(|line| *line != first && *line != last);
    lines.len()
}

pub(super) fn check_layers(source: &Source<'_>, tokens: &[Token]) -> Vec<String> {
    let module = top_module(source.path);
    let Some(layer) = layer_of(module) else {
        return vec![format!(
            "{}:1: module {module} stands in no layer (tests/it/shape/rules.rs)",
            source.path
        )];
    };
    if layer == 12.0 {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (named, line) in names_from_root(source.path, tokens) {
        let excepted = LAYER_EXCEPTIONS.iter().any(|(path, name, _)| *path == source.path && *name == named);
        if named == module || excepted {
            continue;
        }
        match layer_of(&named) {
            Some(other) if other < layer => {}
            Some(other) => violations.push(format!(
                "{}:{line}: {module} (layer {}) names {named} (layer {})",
                source.path,
                layer.floor(),
                other.floor()
            )),
            None => violations.push(format!(
                "{}:{line}: names crate::{named}, which is no module of a layer: name the module it comes from",
                source.path
            )),
        }
    }
    violations
}

fn layer_of(module: &str) -> Option<f32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The module right below the root that a source belongs to.
fn top_module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let first = inside.split('/').next().unwrap_or(inside);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// How many modules lie between a source and the root: 1 for `src/a.rs` and `src/a/mod.rs`.
fn depth_of(path: &str) -> usize {
    let parts = path.split('/').count() - 1;
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Every name that is reached from the root of the crate, by `crate::` or by enough `super::`, and its line.
fn names_from_root(path: &str, tokens: &[Token]) -> Vec<(String, usize)> {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_path = |at: usize| word(at) == ":" && word(at + 1) == ":";
    let mut names = Vec::new();
    let mut inline_ends: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        inline_ends.retain(|end| *end > at);
        if word(at) == "mod" && word(at + 2) == "{" {
            inline_ends.extend(closing(tokens, at + 2));
        }
        if word(at) == "crate" && is_path(at + 1) {
            names.extend(names_at(tokens, at + 3));
        } else if word(at) == "super" {
            let mut ups = 1;
            while is_path(at + 1) && word(at + 3) == "super" {
                ups += 1;
                at += 3;
            }
            if is_path(at + 1) && ups == depth_of(path) + inline_ends.len() {
                names.extend(names_at(tokens, at + 3));
            }
        }
        at += 1;
    }
    names
}

/// The name standing here, or those at the top of the group `{...}` standing here.
fn names_at(tokens: &[Token], at: usize) -> Vec<(String, usize)> {
    let Some(first) = tokens.get(at) else { return Vec::new() };
    if first.text != "{" {
        return vec![(first.text.clone(), first.line)];
    }
    let end = closing(tokens, at).unwrap_or(tokens.len());
    let mut names = Vec::new();
    let mut place = at + 1;
    while place < end {
        names.push((tokens[place].text.clone(), tokens[place].line));
        while place < end && tokens[place].text != "," {
            place = if tokens[place].text == "{" { closing(tokens, place).unwrap_or(end) } else { place };
            place += 1;
        }
        place += 1;
    }
    names
}
