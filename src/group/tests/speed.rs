//! What a rebalance costs.

use std::time::Duration;

use super::*;

/// 256 partitions over 16 members: one more joins, all let go, all is handed over. Prints the time; the bound
/// is for optimised builds, the test's own is generous.
#[test]
fn a_rebalance_of_256_partitions_over_16_members() {
    let mut coordinator = Coordinator::new(7, WEEK);
    let now = Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(0) };
    let mut out = Vec::new();
    coordinator.opened(
        [(topic("t"), KnownTopic { id: id(1), partitions: 256, volatile: false })],
        now,
        &mut out,
    );
    let settle = |coordinator: &mut Coordinator, out: &mut Vec<Effect>| {
        while !out.is_empty() {
            for effect in std::mem::take(out) {
                match effect {
                    Effect::Write { id, .. } => coordinator.written(id, out),
                    Effect::Tell { group, member, change: Change::Revoke { revocation, .. } } => {
                        coordinator.released(&group, &member, revocation, now, out);
                    }
                    Effect::Tell { .. } => {}
                }
            }
        }
    };
    for _ in 0..15 {
        coordinator.join(&group("g"), Desk::request(&["t"]), now, &mut out).unwrap();
        settle(&mut coordinator, &mut out);
    }
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let start = std::time::Instant::now();
    coordinator.join(&group("g"), Desk::request(&["t"]), now, &mut out).unwrap();
    settle(&mut coordinator, &mut out);
    let took = start.elapsed();
    println!("256 partitions over 16 members: {took:?}");
    let description = coordinator.describe(&group("g")).unwrap();
    assert!(description.members().iter().all(|member| member.assigned().len() == 16));
    assert!(took < Duration::from_millis(200), "{took:?}");
}
