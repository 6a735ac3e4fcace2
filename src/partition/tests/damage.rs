//! Every bit flipped, every length.
