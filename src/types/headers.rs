//! Headers of a record, owned: names with values, in the order given.
//!
//! Invariants: the order is kept; a name may appear more than once; a value may be null, which is not
//! the same as empty.

/// A record's headers: an ordered list of names with values; names may repeat, values may be null.
///
/// ```
/// use millpond::types::Headers;
/// let mut headers = Headers::new();
/// headers.push("ua", Some(b"curl"));
/// headers.push("ua", Some(b"curl/8"));
/// headers.push("traced", None);
/// assert_eq!(headers.last("ua"), Some(Some(&b"curl/8"[..])));
/// assert_eq!(headers.last("traced"), Some(None));
/// assert_eq!(headers.last("missing"), None);
/// assert_eq!(headers.iter().count(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Headers {
    entries: Vec<(String, Option<Vec<u8>>)>,
}

impl Headers {
    /// No headers; takes no memory.
    #[must_use]
    pub const fn new() -> Headers {
        Headers { entries: Vec::new() }
    }

    /// Adds a header behind the others; `None` is a null value.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        self.entries.push((name.to_owned(), value.map(<[u8]>::to_vec)));
    }

    /// The value of the last header of this name: `None` if there is none, `Some(None)` if it is null.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<Option<&[u8]>> {
        self.iter().rev().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All headers in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, Option<&[u8]>)> + ExactSizeIterator {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<'a> FromIterator<(&'a str, Option<&'a [u8]>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, Option<&'a [u8]>)>>(entries: I) -> Headers {
        let mut headers = Headers::new();
        headers.extend(entries);
        headers
    }
}

impl<'a> Extend<(&'a str, Option<&'a [u8]>)> for Headers {
    fn extend<I: IntoIterator<Item = (&'a str, Option<&'a [u8]>)>>(&mut self, entries: I) {
        for (name, value) in entries {
            self.push(name, value);
        }
    }
}
