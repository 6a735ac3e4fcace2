//! Operations and crashes against a model; see `millpond::fuzzing::op_sequence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::fuzzing::op_sequence(bytes));
