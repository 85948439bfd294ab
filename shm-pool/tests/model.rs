//! Whatever is done with a pool, in whatever order: it agrees with a plain model of it.

mod plain;

use plain::{Driver, Step};
use proptest::prelude::*;
use shm_pool::{Pool, PoolConfig};
use std::sync::atomic::{AtomicU64, Ordering};

const GRANULE: usize = 4096;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = prop_oneof![1..=300_usize, 1..=6 * GRANULE];
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (bytes.clone(), any::<bool>()).prop_map(|(bytes, drop)| Step::Lend { bytes, drop }),
        6 => (which(), 0..6_u8).prop_map(|(slot, audience)| Step::Publish { slot, audience }),
        1 => which().prop_map(Step::Abort),
        2 => (prop::collection::vec(bytes, 1..4), 0..6_u8)
            .prop_map(|(bytes, audience)| Step::Batch { bytes, audience }),
        9 => (which(), which()).prop_map(|(seat, ticket)| Step::Redeem { seat, ticket }),
        6 => (which(), any::<bool>()).prop_map(|(lease, drop)| Step::Release { lease, drop }),
        1 => which().prop_map(Step::Revoke),
        1 => which().prop_map(Step::Leave),
        2 => Just(Step::Join),
        1 => Just(Step::Reap),
    ];
    prop::collection::vec(step, 1..70)
}

fn name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test-model-{}-{number}", std::process::id())
}

fn follow(pool: &Pool, expected: usize, steps: Vec<Step>) {
    let mut driver = Driver::new(pool, expected);
    for step in steps {
        driver.step(step);
        driver.check();
    }
    driver.end();
}

fn slots(slots: usize, expected: usize) -> PoolConfig {
    PoolConfig::slots(slots, 6 * GRANULE).unwrap().consumers(expected).unwrap()
}

fn chunks(granules: usize, expected: usize) -> PoolConfig {
    PoolConfig::chunks(granules * GRANULE).unwrap().consumers(expected).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn slots_inside_a_process(steps in steps(), count in 1..7_usize, expected in 1..=3_usize) {
        let pool = Pool::process_local("test-model", &slots(count, expected)).unwrap();
        follow(&pool, expected, steps);
    }

    #[test]
    fn slots_under_a_name(steps in steps(), count in 1..7_usize, expected in 1..=3_usize) {
        let pool = Pool::create(&name(), &slots(count, expected)).unwrap();
        follow(&pool, expected, steps);
    }

    #[test]
    fn chunks_inside_a_process(steps in steps(), granules in 1..20_usize, expected in 1..=3_usize) {
        let pool = Pool::process_local("test-model", &chunks(granules, expected)).unwrap();
        follow(&pool, expected, steps);
    }

    #[test]
    fn chunks_under_a_name(steps in steps(), granules in 1..20_usize, expected in 1..=3_usize) {
        let pool = Pool::create(&name(), &chunks(granules, expected)).unwrap();
        follow(&pool, expected, steps);
    }

    #[test]
    fn more_seats_than_a_lane_has(steps in steps(), count in 1..7_usize) {
        let pool = Pool::process_local("test-model", &slots(count, 10)).unwrap();
        follow(&pool, 10, steps);
    }
}
