//! White-box tests of a partition on the simulated disk.

mod basics;
mod counts;
mod crash;
mod damage;
mod ending;
mod faults;
mod gaps;
mod harness;
mod idle;
mod jumps;
mod large;
mod meanwhile;
mod parts;
mod reading;
mod recovery;
mod times;
