//! The small files of a partition; see `millpond::fuzzing::checkpoints`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::fuzzing::checkpoints(bytes));
