//! Many threads in one broker on the real file system: producers of all kinds, readers, groups, and everything that an
//! administrator may do meanwhile.
//!
//! ```text
//!   seed -> what each actor draws        the system -> how they interleave
//!   actors --(a while)--> stop --> each tells what it was told --> read everything --> close, open, verify, read again
//! ```
//!
//! Only what holds under any interleaving is checked: what was acknowledged is there once, in its sender's order;
//! transactions are whole; what a pipeline makes of its input comes once; nobody waits for ever. A failing run prints its
//! seed (`MILLPOND_SEED=n` draws the same again) and, where somebody hangs, what each thread is doing.

mod groups;
mod ledger;
mod scene;
mod sending;
mod upkeep;

use std::time::Duration;

use scene::Scene;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn storm(seed: u64, during: Duration) {
    let scene = Scene::new(number("MILLPOND_SEED").unwrap_or(seed));
    let books = scene.run(during);
    scene.judge(books);
}

#[test]
fn everything_at_once() {
    storm(1, Duration::from_millis(1_500));
}

/// The same for as many seconds as `MILLPOND_SECONDS` says, with one seed after the other.
#[test]
#[ignore = "takes minutes; run by `.ci/run storm`, and MILLPOND_SECONDS says for how long"]
fn everything_at_once_for_minutes() {
    let rounds = number("MILLPOND_SECONDS").unwrap_or(120) / 3;
    (0..rounds).for_each(|round| storm(100 + round, Duration::from_secs(3)));
}
