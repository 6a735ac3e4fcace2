//! As much of Rust's grammar as the rules need: words and signs with their lines.
//!
//! Invariants: comments, texts and numbers give no tokens; a lifetime is no character; any input ends
//! without a panic.

/// A word or a sign, and the line it begins on, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// The words and signs of a source.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next_token() {
        found.push(token);
    }
    found
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let first = self.peek(0)?;
            let line = self.line;
            match (first, self.peek(1)) {
                ('/', Some('/')) => self.skip_while(|c| c != '\n'),
                ('/', Some('*')) => self.skip_block_comment(),
                ('"', _) => self.skip_text(),
                ('\'', _) => self.skip_char_or_lifetime(),
                (c, _) if c.is_alphabetic() || c == '_' => {
                    let word = self.word();
                    if self.begins_text(&word) {
                        self.skip_prefixed_text(&word);
                    } else {
                        return Some(Token { text: word, line });
                    }
                }
                (c, _) if c.is_ascii_digit() => self.skip_while(|c| c.is_alphanumeric() || c == '_'),
                (c, _) => {
                    self.advance();
                    if !c.is_whitespace() {
                        return Some(Token { text: c.to_string(), line });
                    }
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn advance(&mut self) {
        if self.peek(0) == Some('\n') {
            self.line += 1;
        }
        self.at += 1;
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.advance();
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.advance();
                    continue;
                }
            }
            self.advance();
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        self.chars[start..self.at].iter().collect()
    }

    /// Whether the word just read is the prefix of a text: `b"`, `r"`, `r#"`, `br##"`, `b'`.
    fn begins_text(&self, word: &str) -> bool {
        match word {
            "b" | "c" => matches!(self.peek(0), Some('"')) || (word == "b" && self.peek(0) == Some('\'')),
            "r" | "br" | "cr" => {
                let hashes = (0..).take_while(|&ahead| self.peek(ahead) == Some('#')).count();
                self.peek(hashes) == Some('"')
            }
            _ => false,
        }
    }

    fn skip_prefixed_text(&mut self, prefix: &str) {
        if prefix.contains('r') {
            self.skip_raw_text();
        } else if self.peek(0) == Some('\'') {
            self.skip_char_or_lifetime();
        } else {
            self.skip_text();
        }
    }

    fn skip_raw_text(&mut self) {
        let start = self.at;
        self.skip_while(|c| c == '#');
        let hashes = self.at - start;
        self.advance();
        while let Some(c) = self.peek(0) {
            self.advance();
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                return;
            }
        }
    }

    fn skip_text(&mut self) {
        self.advance();
        while let Some(c) = self.peek(0) {
            self.advance();
            match c {
                '\\' => self.advance(),
                '"' => return,
                _ => {}
            }
        }
    }

    fn skip_char_or_lifetime(&mut self) {
        self.advance();
        match (self.peek(0), self.peek(1)) {
            (Some('\\'), _) => {
                self.advance();
                self.advance();
                self.skip_while(|c| c != '\'' && c != '\n');
                self.advance();
            }
            (Some(_), Some('\'')) => {
                self.advance();
                self.advance();
            }
            // A lifetime: its name is no name of ours.
            _ => self.skip_while(|c| c.is_alphanumeric() || c == '_'),
        }
    }
}

/// The tokens without items that stand only in test builds: `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
pub(super) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match test_attribute_end(tokens, at) {
            Some(end) => at = item_end(tokens, end),
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// Where an attribute that begins here and keeps its item to tests ends.
fn test_attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    let word = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text.as_str());
    if word(0) != "#" || word(1) != "[" || word(2) != "cfg" || word(3) != "(" {
        return None;
    }
    let end = closing(tokens, at + 1)?;
    let condition: Vec<&str> = tokens[at + 4..end].iter().map(|token| token.text.as_str()).collect();
    let all_with_test = condition[0] == "all" && condition.contains(&"test");
    let plain = condition[0] == "test" || (all_with_test && !condition.contains(&"any"));
    (plain && !condition.contains(&"not")).then_some(end + 1)
}

/// Where the item (or field, or statement) that begins here ends, its further attributes included.
fn item_end(tokens: &[Token], start: usize) -> usize {
    const ITEMS: [&str; 14] = [
        "pub",
        "fn",
        "mod",
        "use",
        "impl",
        "struct",
        "enum",
        "const",
        "static",
        "trait",
        "type",
        "macro_rules",
        "unsafe",
        "async",
    ];
    let mut at = start;
    while tokens.get(at).is_some_and(|token| token.text == "#") {
        match closing(tokens, at + 1) {
            Some(end) => at = end + 1,
            None => return tokens.len(),
        }
    }
    let is_item = tokens.get(at).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "}" => return at,
            "(" | "[" => at = closing(tokens, at).map_or(tokens.len(), |end| end + 1),
            "{" => {
                let end = closing(tokens, at).map_or(tokens.len(), |end| end + 1);
                let semicolon = tokens.get(end).is_some_and(|token| token.text == ";");
                return end + usize::from(semicolon);
            }
            _ => at += 1,
        }
    }
    at
}

/// The place of the bracket that closes the one standing here.
pub(super) fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[test]
fn texts_characters_and_lifetimes_are_told_apart() {
    let words = |text: &str| tokens(text).into_iter().map(|token| token.text).collect::<Vec<String>>();
    assert_eq!(words("a 'x' b"), ["a", "b"]);
    assert_eq!(words(r"a '\'' b '\u{7f}' c"), ["a", "b", "c"]);
    assert_eq!(words("a<'x> b"), ["a", "<", ">", "b"]);
    assert_eq!(words(r##"a r#"b " c"# d br"e" f b"g\"h" i b'"' j"##), ["a", "d", "f", "i", "j"]);
    assert_eq!(words("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
    assert_eq!(words("0x1f_u8 a1 2.5"), ["a1", "."]);
    for unfinished in ["\"", "'", "r#\"", "/*", "b'", "'\\", "\"\\", "#[cfg(", "#[cfg(test)] fn f() {"] {
        without_tests(&tokens(unfinished));
    }
}

#[test]
fn lines_are_counted_through_everything() {
    let text = "/*\n\n*/ a \"\n\" b r\"\n\" c '\n' d\n";
    let lines: Vec<usize> = tokens(text).iter().map(|token| token.line).collect();
    assert_eq!(lines, [3, 4, 5, 6]);
}
