//! Amounts of bytes.

/// An amount of bytes. Reads `"64MiB"`, `"16kB"` or a plain number, and prints the largest exact binary unit.
///
/// ```
/// use millpond::ByteSize;
/// assert_eq!(ByteSize::mib(1), ByteSize::bytes(1_048_576));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// That many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> ByteSize {
        ByteSize(n)
    }

    /// That many kibibytes (1,024 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 10))
    }

    /// That many mebibytes (1,048,576 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 20))
    }

    /// That many gibibytes (1,073,741,824 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn gib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}
