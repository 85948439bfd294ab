//! Death at random instants, in a few rounds of what `shm-crash` plays for hours.

use shm_tests::rounds::{Plan, PoolScenario, run_pools};

#[test]
fn kill_rounds() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let rounds = 6 * PoolScenario::ALL.len() as u64;
    let mut played = 0;
    let summary = run_pools(Plan { rounds, seed }, |outcome| {
        played += 1;
        assert_eq!(outcome.round, played);
    });
    let summary = summary.unwrap();
    println!("{summary:?}");
    assert!(summary.is_clean(), "seed {seed}: {summary:#?}");
    assert_eq!((summary.rounds, played), (rounds, rounds));
}
