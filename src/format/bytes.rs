//! Fixed-size fields out of slices.
//!
//! Invariants: `field` is for ranges whose length is known, and panics outside them like indexing
//! does; `array_at` is for bytes that nobody has measured, and answers `None`.

/// The `N` bytes at `at` of a slice that is known to hold them.
#[inline]
pub(super) fn field<const N: usize>(src: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&src[at..at + N]);
    out
}

/// The `N` bytes at `at`, if they exist.
#[inline]
pub(super) fn array_at<const N: usize>(src: &[u8], at: usize) -> Option<[u8; N]> {
    src.get(at..)?.first_chunk::<N>().copied()
}
