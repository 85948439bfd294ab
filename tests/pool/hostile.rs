//! A process that scribbles over the control area while others use the pool: typed errors, and no
//! panic, no signal, no hang. Where the words that decide are left alone, nothing is granted twice.
//!
//! `SHM_HOSTILE_SECONDS` says for how long; three seconds otherwise.

use crate::rig::{chunks, opened, slots};
use core::sync::atomic::Ordering;
use shm_pool::{Policy, Pool, Store, StoreConfig, Wait};
use shm_tests::pool::{Part, RawPool, StoreStage};
use shm_tests::{Peer, Scene};
use std::time::Duration;

fn seconds() -> u64 {
    let wanted = std::env::var("SHM_HOSTILE_SECONDS").ok();
    wanted.and_then(|seconds| seconds.parse().ok()).unwrap_or(3)
}

fn scene(label: &str) -> Scene {
    Scene::within(label, Duration::from_secs(150 + 2 * seconds()))
}

fn anything_anywhere(scene: &Scene, pool: &Pool) {
    let mut users: Vec<Peer> = (0..3).map(|_| opened(scene, pool)).collect();
    let mut scribbler = scene.peer();
    scribbler.start(&format!("pool scribble {} all {}", pool.name(), seconds())).unwrap();
    for user in &mut users {
        user.start(&format!("pool endure {}", seconds())).unwrap();
    }
    for user in &mut users {
        let told = user.finish().unwrap_or_else(|failure| panic!("{}: {failure}", pool.name()));
        println!("{}: endured {told}", pool.name());
        assert!(!told.starts_with("0 "), "nothing was called");
    }
    let written: u64 = scribbler.finish().unwrap().parse().unwrap();
    println!("{}: {written} words scribbled", pool.name());
    assert!(written > 1000);
    // What is left can still be looked at, and ends.
    let _ = (pool.stats(), pool.fsck(), pool.overdue(), pool.describe(), pool.reap());
    let _ = pool.lend(100, Wait::from(Duration::from_millis(20)), Policy::Block);
}

#[test]
fn anywhere_in_a_pool_of_slots() {
    let scene = scene("hostile slots");
    anything_anywhere(&scene, &slots(&scene, "slots", 16, 2));
}

#[test]
fn anywhere_in_a_chunk_pool() {
    let scene = scene("hostile chunks");
    anything_anywhere(&scene, &chunks(&scene, "chunks", 2));
}

#[test]
fn anywhere_in_a_store() {
    let scene = scene("hostile store");
    let config = StoreConfig::new(256 << 10).unwrap().granule(4096).unwrap();
    let store = Store::create(&scene.name("store"), &config).unwrap();
    let mut users: Vec<Peer> = (0..3).map(|_| scene.peer()).collect();
    for user in &mut users {
        user.ask(&format!("pool store-open {}", store.name())).unwrap();
    }
    let mut scribbler = scene.peer();
    scribbler.start(&format!("pool scribble {} all {}", store.name(), seconds())).unwrap();
    for user in &mut users {
        user.start(&format!("pool endure-store {}", seconds())).unwrap();
    }
    for user in &mut users {
        let told = user.finish().unwrap_or_else(|failure| panic!("store: {failure}"));
        println!("store: endured {told}");
        assert!(!told.starts_with("0 "), "nothing was called");
    }
    println!("store: {} words scribbled", scribbler.finish().unwrap());
    let _ = (store.stats(), store.fsck(), store.overdue(), store.keys(), store.reap());
}

/// An entry is of its key, or is not there, whatever the index says.
#[test]
fn in_the_index_of_a_store() {
    let scene = scene("hostile index");
    let mut stage = StoreStage::new(&scene, "store").unwrap();
    stage.begin().unwrap();
    let mut scribbler = scene.peer();
    let name = stage.store().name().to_owned();
    scribbler.start(&format!("pool scribble {name} soft {}", seconds())).unwrap();
    let written = scribbler.finish().unwrap();
    stage.rest().unwrap();
    println!(
        "index: {written} words scribbled, {} stored, {} verified, none torn",
        stage.stored(),
        stage.verified()
    );
    assert!(stage.stored() > 0);
}

/// Producers and consumers verify every byte meanwhile.
fn where_nothing_is_decided(scene: &Scene, pool: &Pool) {
    let mut producers = [opened(scene, pool), opened(scene, pool)];
    let mut consumers = [opened(scene, pool), opened(scene, pool)];
    for consumer in &mut consumers {
        consumer.ask("pool join").unwrap();
        consumer.start("pool consume-all").unwrap();
    }
    for producer in &mut producers {
        producer.start("pool produce mixed").unwrap();
    }
    let mut scribbler = scene.peer();
    scribbler.start(&format!("pool scribble {} soft {}", pool.name(), seconds())).unwrap();
    let written: u64 = scribbler.finish().unwrap().parse().unwrap();
    let (mut published, mut verified) = (0, 0);
    for producer in &mut producers {
        published += producer.finish().unwrap().parse::<u64>().unwrap();
    }
    for consumer in &mut consumers {
        verified += consumer.finish().unwrap().parse::<u64>().unwrap();
    }
    println!(
        "{}: {written} words scribbled, {published} published, {verified} verified, none torn",
        pool.name()
    );
    assert!(published > 0 && verified > 0);
    for consumer in &mut consumers {
        consumer.ask("pool drain").unwrap();
    }
    // Those in the line who never were are sent away by hand; whoever reaps after a death puts the
    // hints right.
    let raw = RawPool::of(pool.name()).unwrap();
    for at in raw.part(Part::Line).chain(raw.part(Part::Counters)).step_by(8) {
        raw.control(at).store(0, Ordering::SeqCst);
    }
    let mut last = opened(scene, pool);
    last.kill();
    pool.reap();
    assert_eq!(pool.stats().free, pool.slots());
    let (mut all, granule) = (Vec::new(), pool.capacity() / pool.slots());
    while let Ok(slot) = pool.lend(granule, Wait::from(Duration::from_millis(300)), Policy::Block) {
        assert!(all.iter().all(|other: &shm_pool::Slot| other.offset() != slot.offset()));
        all.push(slot);
    }
    assert!(all.len() > pool.slots() / 2, "{} of {} slots", all.len(), pool.slots());
}

#[test]
fn in_what_decides_nothing_of_a_pool_of_slots() {
    let scene = scene("soft slots");
    where_nothing_is_decided(&scene, &slots(&scene, "slots", 16, 2));
}

#[test]
fn in_what_decides_nothing_of_a_chunk_pool() {
    let scene = scene("soft chunks");
    where_nothing_is_decided(&scene, &chunks(&scene, "chunks", 2));
}
