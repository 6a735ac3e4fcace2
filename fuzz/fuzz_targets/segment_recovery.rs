//! Opening a partition over arbitrary log files; see `millpond::fuzzing::segment_recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::fuzzing::segment_recovery(bytes));
