//! Every seed, and a few thousand random inputs, through every target: what the fuzzer starts from works
//! everywhere, also where there is no fuzzer.

use std::path::Path;

use super::{checkpoints, decode_batch, indexes, op_sequence, segment_recovery};
use crate::env::Random;
use crate::env::sim::SeededRandom;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 5] = [
    ("decode_batch", decode_batch),
    ("indexes", indexes),
    ("checkpoints", checkpoints),
    ("segment_recovery", segment_recovery),
    ("op_sequence", op_sequence),
];

#[test]
fn the_seeds_pass() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in TARGETS {
        // A published package has no seeds.
        let Ok(entries) = std::fs::read_dir(seeds.join(name)) else { continue };
        for entry in entries {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn random_operations_pass() {
    random(op_sequence, 400, 120);
}

#[test]
fn random_bytes_pass() {
    for (_, target) in TARGETS {
        random(target, 300, 60);
    }
}

fn random(target: fn(&[u8]), runs: u64, most: u64) {
    for seed in 0..runs {
        let random = SeededRandom::new(seed);
        let bytes: Vec<u8> = (0..random.below(most)).map(|_| random.next_u64() as u8).collect();
        target(&bytes);
    }
}
