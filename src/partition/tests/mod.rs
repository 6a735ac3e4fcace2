//! White-box tests of a partition on the simulated disk.

mod basics;
mod harness;
mod reading;
mod recovery;
