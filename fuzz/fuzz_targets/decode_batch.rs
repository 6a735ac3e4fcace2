//! Batches, records and compression from arbitrary bytes; see `millpond::fuzzing::decode_batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::fuzzing::decode_batch(bytes));
