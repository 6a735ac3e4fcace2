//! Index files that hold anything, alone and beside a log; see `millpond::fuzzing::indexes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::fuzzing::indexes(bytes));
