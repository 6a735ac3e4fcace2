//! Every call fails once, and always.
