//! Several producers and several consumers under load: everything arrives, in order, with every byte
//! right, and no more slots are in use than there are.

use crate::rig::{assert_sound, chunks, opened, seated, slots};
use shm_pool::{LendError, Policy, Pool, Wait};
use shm_tests::{Peer, Scene};
use std::time::Duration;

const SPAN: Duration = Duration::from_millis(1200);

/// Tickets travel by datagram to every consumer; answers how many each of them verified, and how many
/// were sent.
fn mailed(scene: &Scene, pool: &Pool, consumers: usize, to: &str) -> (Vec<u64>, u64) {
    let boxes: Vec<String> =
        (0..consumers).map(|at| format!("{}-{to}-{at}", pool.name())).collect();
    let mut readers: Vec<Peer> = (0..consumers).map(|_| seated(scene, pool)).collect();
    for (reader, mailbox) in readers.iter_mut().zip(&boxes) {
        reader.start(&format!("pool mail-from {mailbox}")).unwrap();
    }
    let mut producers: Vec<Peer> = (0..3).map(|_| opened(scene, pool)).collect();
    for producer in &mut producers {
        producer.start(&format!("pool mail-to {} {to}", boxes.join(" "))).unwrap();
    }
    std::thread::sleep(SPAN);
    let sent = producers
        .iter_mut()
        .map(|producer| producer.finish().unwrap().parse::<u64>().unwrap())
        .sum();
    let verified = readers
        .iter_mut()
        .map(|reader| {
            let told = reader.finish().unwrap();
            let (verified, producers) = told.split_once(' ').unwrap();
            assert!(producers.parse::<usize>().unwrap() <= 3);
            verified.parse().unwrap()
        })
        .collect();
    for peer in producers.iter_mut().chain(&mut readers) {
        peer.ask("close").unwrap();
    }
    (verified, sent)
}

#[test]
fn everybody_gets_everything_in_order() {
    let scene = Scene::new("broadcast");
    for pool in [slots(&scene, "slots", 8, 3), chunks(&scene, "chunks", 3)] {
        let (verified, sent) = mailed(&scene, &pool, 3, "all");
        println!("{}: {sent} published by 3 for 3, read {verified:?}", pool.name());
        assert!(sent > 0);
        assert_eq!(verified, [sent; 3], "each of them got each");
        let stats = pool.stats();
        assert!(stats.high_water <= stats.slots as u64, "{stats:?}");
        assert_eq!(stats.free, stats.slots);
        assert_sound(&pool, "after the load");
    }
}

#[test]
fn each_piece_of_work_is_done_once() {
    let scene = Scene::new("work");
    for pool in [slots(&scene, "slots", 8, 3), chunks(&scene, "chunks", 3)] {
        let (verified, sent) = mailed(&scene, &pool, 3, "any");
        println!("{}: {sent} pieces of work by 3, done {verified:?}", pool.name());
        assert!(sent > 0);
        assert_eq!(verified.iter().sum::<u64>(), sent, "each of them once");
        let stats = pool.stats();
        assert!(stats.high_water <= stats.slots as u64, "{stats:?}");
        assert_eq!(stats.free, stats.slots);
        assert_sound(&pool, "after the work");
    }
}

#[test]
fn every_way_of_lending_at_once() {
    let scene = Scene::new("every way");
    for pool in [slots(&scene, "slots", 8, 3), chunks(&scene, "chunks", 3)] {
        let mut readers: Vec<Peer> = (0..3).map(|_| seated(&scene, &pool)).collect();
        let mut others: Vec<Peer> = (0..4).map(|_| opened(&scene, &pool)).collect();
        for reader in &mut readers {
            reader.start("pool consume-all").unwrap();
        }
        for (at, other) in others.iter_mut().enumerate() {
            other.start(if at == 3 { "pool revoke-any" } else { "pool produce mixed" }).unwrap();
        }
        std::thread::sleep(SPAN);
        let count = |peers: &mut [Peer]| -> u64 {
            peers.iter_mut().map(|peer| peer.finish().unwrap().parse::<u64>().unwrap()).sum()
        };
        let published = count(&mut others[..3]);
        let revoked = count(&mut others[3..]);
        let verified = count(&mut readers);
        for reader in &mut readers {
            reader.ask("pool drain").unwrap();
        }
        let stats = pool.stats();
        println!(
            "{}: {published} published, {verified} verified, {revoked} revoked, {} dropped, \
             {} waits, {} refused",
            pool.name(),
            stats.dropped,
            stats.waits,
            stats.refused
        );
        assert!(published > 0 && verified > 0);
        assert!(stats.high_water <= stats.slots as u64, "{stats:?}");
        assert_eq!(stats.free, stats.slots, "{:?}", pool.fsck());
        assert_sound(&pool, "after everything");
    }
}

#[test]
fn dropping_the_oldest_drops_no_more_than_it_needs() {
    let scene = Scene::new("dropping");
    let pool = slots(&scene, "pool", 8, 1);
    let mut reader = seated(&scene, &pool);
    let mut producer = opened(&scene, &pool);
    for _ in 0..8 {
        producer.ask("pool send 104 all").unwrap();
    }
    // Somebody else waits in the line, and is stopped there.
    let mut waiter = opened(&scene, &pool);
    waiter.send("pool lend 104 60000 block");
    waiter.await_parked();
    waiter.signal(rustix::process::Signal::STOP);
    waiter.await_stop();
    for _ in 0..2 {
        producer.ask("pool lend 104 20000 drop").unwrap();
    }
    let dropped = pool.stats().dropped;
    println!("two slots were had by dropping {dropped} of 8 unread publications");
    assert!(dropped <= 4, "{dropped} were dropped for two slots and one who waits");
    producer.ask("pool abort").unwrap();
    waiter.resume();
    waiter.receive().unwrap();
    assert_eq!(reader.ask("pool drain").unwrap(), (8 - dropped).to_string());
}

#[test]
fn those_who_wait_are_served_in_turn() {
    let scene = Scene::new("in turn");
    let pool = slots(&scene, "pool", 1, 1);
    let held = pool.lend(8, Wait::Try, Policy::Fail).unwrap();
    let mut line: Vec<Peer> = (0..5).map(|_| opened(&scene, &pool)).collect();
    for waiter in &mut line {
        waiter.send("pool lend 8 60000 block");
        waiter.await_parked();
        // Entering the line comes right before sleeping.
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(held);
    for (at, waiter) in line.iter_mut().enumerate() {
        waiter.receive().unwrap();
        assert!(
            matches!(pool.lend(8, Wait::Try, Policy::Fail), Err(LendError::Full { .. })),
            "{at} has it"
        );
        waiter.ask("pool abort").unwrap();
    }
    assert_eq!(pool.stats().free, 1);
}

#[test]
fn a_large_chunk_is_not_starved_by_small_ones() {
    let scene = Scene::new("large chunk");
    let pool = chunks(&scene, "pool", 1);
    let mut reader = seated(&scene, &pool);
    let mut producers: Vec<Peer> = (0..2).map(|_| opened(&scene, &pool)).collect();
    reader.start("pool consume-all").unwrap();
    for producer in &mut producers {
        producer.start("pool produce all").unwrap();
    }
    let mut served = 0;
    for _ in 0..20 {
        let wait = Wait::from(Duration::from_secs(30));
        let large = pool.lend(pool.capacity() * 3 / 4, wait, Policy::Block);
        let large = large.unwrap_or_else(|error| panic!("after {served}: {error}"));
        assert!(large.capacity() >= pool.capacity() * 3 / 4);
        served += 1;
    }
    println!("{served} requests for three quarters of a busy chunk pool were served");
    for producer in &mut producers {
        producer.finish().unwrap();
    }
    reader.finish().unwrap();
}
