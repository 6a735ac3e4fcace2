//! What every [`Codec`] must do, ours and a host's own.
//!
//! Invariant: a function here panics where a codec breaks a rule, and names the rule.

use super::{Codec, Encode};
use crate::error::ErrorKind;

/// Checks the rules that every codec keeps: it has a name, which does not change; whatever the bytes, it reads them or
/// answers `Codec`; where there are none it may answer `NullValue`, too.
///
/// ```
/// millpond::testing::codec::codec(&millpond::codec::Utf8);
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn codec<C: Codec>(codec: &C) {
    let (name, version) = (codec.name().to_owned(), codec.schema_version());
    assert!(!name.is_empty(), "a codec has a name");
    assert!(!name.chars().any(char::is_control), "the name {name:?} can be written down");
    if let Err(error) = codec.decode(None) {
        let allowed = matches!(error.kind(), ErrorKind::NullValue | ErrorKind::Codec);
        assert!(allowed, "where there are no bytes it answers NullValue or Codec: {error:?}");
    }
    for len in [0, 1, 2, 3, 4, 7, 8, 9, 16, 100] {
        for seed in 0..=u8::MAX {
            let bytes: Vec<u8> = (0..len).map(|at: u8| at.wrapping_mul(31).wrapping_add(seed)).collect();
            read(codec, &bytes);
            read(codec, &vec![seed; len.into()]);
        }
    }
    assert_eq!((name.as_str(), version), (codec.name(), codec.schema_version()), "name and version stay");
}

fn read<C: Codec>(codec: &C, bytes: &[u8]) {
    if let Err(error) = codec.decode(Some(bytes)) {
        assert_eq!(error.kind(), ErrorKind::Codec, "bytes that it cannot read: {bytes:?}: {error:?}");
    }
}

/// Checks that a value that has been encoded is read as the same one, says `is_same`, and that it is encoded to the same
/// bytes each time: those of a key decide to which partition a record goes.
///
/// ```
/// use millpond::codec::U64;
/// millpond::testing::codec::encoding(&U64, &7, |read| read == 7);
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn encoding<T: ?Sized, C: Encode<T>>(codec: &C, value: &T, is_same: impl FnOnce(C::Output<'_>) -> bool) {
    let (mut once, mut again) = (Vec::new(), Vec::new());
    let encoded = codec.encode(value, &mut once);
    let bytes = match &encoded {
        Ok(bytes) => *bytes,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Codec, "a value without a form: {error:?}"),
    };
    let twice = codec.encode(value, &mut again);
    assert!(twice.is_ok_and(|twice| twice == bytes), "the same value has the same bytes");
    match codec.decode(Some(bytes)) {
        Ok(read) => assert!(is_same(read), "what was encoded is read as the same: {bytes:?}"),
        Err(error) => panic!("what was encoded can be read: {bytes:?}: {error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{I32, I64, Raw, U32, U64, Unit, Utf8};
    use crate::error::Result;

    #[test]
    fn ours_keep_the_rules() {
        codec(&Raw);
        codec(&Utf8);
        codec(&U32);
        codec(&U64);
        codec(&I32);
        codec(&I64);
        codec(&Unit);
        encoding(&Raw, "bytes", |read| read == Some(b"bytes"));
        encoding(&Utf8, "text", |read| read == "text");
        encoding(&I64, &i64::MIN, |read| read == i64::MIN);
        #[cfg(feature = "json")]
        {
            codec(&crate::codec::Json::<Vec<u8>>::default());
            encoding(&crate::codec::Json::<Vec<u8>>::default(), &vec![1, 2], |read| read == [1, 2]);
        }
        #[cfg(feature = "bincode")]
        {
            codec(&crate::codec::Bincode::<Vec<u8>>::default());
            encoding(&crate::codec::Bincode::<Vec<u8>>::default(), &vec![1, 2], |read| read == [1, 2]);
        }
    }

    struct Lossy;

    impl Codec for Lossy {
        type Output<'a> = u8;

        fn name(&self) -> &str {
            "lossy"
        }

        fn decode(&self, bytes: Option<&[u8]>) -> Result<u8> {
            Ok(bytes.unwrap_or_default()[0])
        }
    }

    impl Encode<u64> for Lossy {
        fn encode<'v>(&self, value: &'v u64, buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
            buf.push(*value as u8);
            Ok(buf)
        }
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn one_that_panics_is_found() {
        codec(&Lossy);
    }

    #[test]
    #[should_panic(expected = "is read as the same")]
    fn one_that_loses_something_is_found() {
        encoding(&Lossy, &257, |read| u64::from(read) == 257);
    }
}
