//! The headers of one record in the log's form: its own, and those that its producer adds.
//!
//! Invariant: the first few, which is all for nearly every record, take no memory but the list's own.

use super::SchemaHeaders;
use crate::format::record::HeaderRef;

/// So many headers need no memory of their own.
const FEW: usize = 8;

/// Some headers, in order.
pub(super) struct HeaderList<'a> {
    few: [HeaderRef<'a>; FEW],
    count: usize,
    /// All of them, where they are more than a few.
    many: Vec<HeaderRef<'a>>,
}

impl<'a> HeaderList<'a> {
    /// Those of the record, then those of the producer.
    pub(super) fn new(
        given: &[(&'a str, Option<&'a [u8]>)],
        schema: Option<&'a SchemaHeaders>,
    ) -> HeaderList<'a> {
        let given = given.iter().map(|&(key, value)| HeaderRef { key, value });
        let mut headers = given.chain(schema.into_iter().flat_map(SchemaHeaders::iter));
        let mut few = [HeaderRef { key: "", value: None }; FEW];
        let mut count = 0;
        for (place, header) in few.iter_mut().zip(&mut headers) {
            *place = header;
            count += 1;
        }
        let mut many = Vec::new();
        if let Some(next) = headers.next() {
            many.extend_from_slice(&few);
            many.push(next);
            many.extend(headers);
        }
        HeaderList { few, count, many }
    }

    /// All of them.
    pub(super) fn as_slice(&self) -> &[HeaderRef<'a>] {
        if self.many.is_empty() { &self.few[..self.count] } else { &self.many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_however_many_they_are() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let schema = SchemaHeaders::new(Some(("json", 3)), None);
        for count in 0..names.len() {
            let given: Vec<(&str, Option<&[u8]>)> =
                names[..count].iter().map(|name| (name.as_str(), None)).collect();
            for schema in [None, Some(&schema)] {
                let expected: Vec<HeaderRef<'_>> = given
                    .iter()
                    .map(|&(key, value)| HeaderRef { key, value })
                    .chain(schema.into_iter().flat_map(SchemaHeaders::iter))
                    .collect();
                assert_eq!(HeaderList::new(&given, schema).as_slice(), expected);
            }
        }
    }
}
