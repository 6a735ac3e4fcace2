//! Why a text is not one of the ground's words. The errors of the crate are built upon these.

/// A topic's name breaks a rule; the text says which one.
///
/// ```
/// use millpond::TopicName;
/// let invalid = TopicName::new("no spaces").unwrap_err();
/// assert!(invalid.to_string().contains("no spaces"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic name {shown:?} {rule}")]
pub struct InvalidName {
    pub(super) shown: String,
    pub(super) rule: &'static str,
}

/// A text cannot be read as what it should be (a size, an offset, a timestamp, an id).
///
/// ```
/// use millpond::ByteSize;
/// let invalid = "64 parsecs".parse::<ByteSize>().unwrap_err();
/// assert_eq!(invalid.to_string(), r#""64 parsecs" is not a size such as 64MiB, 16kB or 4096"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is not {expected}")]
pub struct InvalidText {
    shown: String,
    expected: &'static str,
}

impl InvalidText {
    pub(super) fn new(text: &str, expected: &'static str) -> InvalidText {
        InvalidText { shown: shorten(text), expected }
    }
}

/// Whether a text can be a name that is written down: 1 to `longest` bytes, no control characters. The error names
/// the rule, and is short and plain whatever the text is.
pub(crate) fn check_plain(what: &str, name: &str, longest: usize) -> Result<(), String> {
    let rule = if name.is_empty() {
        "is empty"
    } else if name.len() > longest {
        "is too long"
    } else if name.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(format!("{what} {:?} {rule}; give it 1 to {longest} bytes of plain text", shorten(name)))
}

/// As much of a text as an error message should carry.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
