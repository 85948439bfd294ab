//! Many threads at once: everything comes once, and in order.

use super::*;
use crate::QueueError;
use std::thread;

const PRODUCERS: u64 = 3;
const EACH: u64 = 4000;
/// What says that there is nothing more.
const END: u64 = u64::MAX;

fn produce(queue: &Queue, producer: u64, audience: Audience) {
    let pool = queue.pool();
    for number in 0..EACH {
        let ticket = publish(&pool, producer << 32 | number, audience);
        queue.put(&ticket, Wait::from(LONG)).unwrap();
    }
}

fn consume(queue: &Queue, consumer: &Consumer) -> Vec<u64> {
    let mut got = Vec::new();
    loop {
        let ticket = queue.get(consumer, Wait::from(LONG)).unwrap();
        match consumer.redeem(&ticket).unwrap().get(0).unwrap() {
            END => return got,
            value => got.push(value),
        }
    }
}

/// What one producer has put comes in its order.
fn check_order(got: &[u64]) {
    let mut next = [0; PRODUCERS as usize];
    for value in got {
        let (producer, number) = ((value >> 32) as usize, value & 0xFFFF_FFFF);
        assert!(number >= next[producer], "{number} of {producer} after {}", next[producer]);
        next[producer] = number + 1;
    }
}

fn everything() -> Vec<u64> {
    (0..PRODUCERS).flat_map(|producer| (0..EACH).map(move |n| producer << 32 | n)).collect()
}

fn exactly_once(queues: [&Queue; 2], consumers: &[Consumer], slots: usize) {
    let (puts, gets) = (queues[0], queues[1]);
    let got: Vec<Vec<u64>> = thread::scope(|scope| {
        let getters: Vec<_> =
            consumers.iter().map(|consumer| scope.spawn(|| consume(gets, consumer))).collect();
        let putters: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(puts, producer, Audience::Any)))
            .collect();
        putters.into_iter().for_each(|putter| putter.join().unwrap());
        for _ in consumers {
            let end = publish(&puts.pool(), END, Audience::Any);
            puts.put(&end, Wait::from(LONG)).unwrap();
        }
        getters.into_iter().map(|getter| getter.join().unwrap()).collect()
    });
    got.iter().for_each(|got| check_order(got));
    let mut all: Vec<u64> = got.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, everything());
    let pool = puts.pool();
    assert_eq!((pool.stats().in_use(), pool.slots()), (0, slots));
    assert!(pool.fsck().is_clean(), "{:?}", pool.fsck().problems);
}

#[test]
fn work_comes_exactly_once() {
    for maxsize in [1, 3, 64] {
        let pool = pool_of(8, 3);
        let queue = work(&pool, maxsize);
        let consumers: Vec<Consumer> = (0..3).map(|_| pool.consumer().unwrap()).collect();
        exactly_once([&queue, &queue], &consumers, 8);
    }
}

#[test]
fn work_comes_exactly_once_to_threads_of_one_consumer() {
    let pool = pool_of(8, 1);
    let queue = work(&pool, 4);
    let consumer = pool.consumer().unwrap();
    exactly_once([&queue, &queue], &[consumer.clone(), consumer.clone(), consumer], 8);
}

#[test]
fn work_comes_exactly_once_over_a_named_pool() {
    let (name, pool) = named_pool("once", 8, 2);
    let queue = work(&pool, 5);
    let consumers: Vec<Consumer> = (0..2).map(|_| Consumer::open(&name).unwrap()).collect();
    let opened = Queue::open("work", &consumers[0].pool()).unwrap();
    exactly_once([&queue, &opened], &consumers, 8);
}

#[test]
fn a_broadcast_comes_to_everybody_in_the_same_order() {
    let (name, pool) = named_pool("everybody", 16, 3);
    for maxsize in [1, 7] {
        let queue = broadcast(&pool, maxsize);
        let consumers: Vec<Consumer> = (0..3).map(|_| Consumer::open(&name).unwrap()).collect();
        let got: Vec<Vec<u64>> = thread::scope(|scope| {
            let getters: Vec<_> = consumers
                .iter()
                .map(|consumer| {
                    let queue = Queue::open("broadcast", &consumer.pool()).unwrap();
                    scope.spawn(move || consume(&queue, consumer))
                })
                .collect();
            let putters: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let queue = &queue;
                    scope.spawn(move || produce(queue, producer, Audience::Everyone))
                })
                .collect();
            putters.into_iter().for_each(|putter| putter.join().unwrap());
            let end = publish(&pool, END, Audience::Everyone);
            queue.put(&end, Wait::from(LONG)).unwrap();
            getters.into_iter().map(|getter| getter.join().unwrap()).collect()
        });
        assert!(got.iter().all(|each| each == &got[0]), "orders differ");
        check_order(&got[0]);
        let mut all = got[0].clone();
        all.sort_unstable();
        assert_eq!(all, everything());
        assert_eq!(pool.stats().in_use(), 0);
        queue.remove().unwrap();
    }
}

/// Consumers come and go while it runs: nobody misses anything after the first ticket it got.
#[test]
fn a_broadcast_has_no_gaps_for_those_who_come_and_go() {
    let pool = pool_of(16, 1);
    let queue = broadcast(&pool, 4);
    let first = pool.consumer().unwrap();
    thread::scope(|scope| {
        let guests: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let guest = pool.consumer().unwrap();
                        let mut last = None;
                        for _ in 0..20 {
                            let got = queue.get(&guest, Wait::from(LONG)).unwrap();
                            let value: u64 = guest.redeem(&got).unwrap().get(0).unwrap();
                            if value == END {
                                return;
                            }
                            assert!(last.is_none_or(|last| value == last + 1), "{last:?}, {value}");
                            last = Some(value);
                        }
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| consume(&queue, &first));
        let mut number = 0;
        while guests.iter().any(|guest| !guest.is_finished()) && number < 100_000 {
            let ticket = publish(&pool, number, Audience::Everyone);
            queue.put(&ticket, Wait::from(LONG)).unwrap();
            number += 1;
        }
        let end = publish(&pool, END, Audience::Everyone);
        queue.put(&end, Wait::from(LONG)).unwrap();
        guests.into_iter().for_each(|guest| guest.join().unwrap());
        assert_eq!(reader.join().unwrap(), Vec::from_iter(0..number));
    });
}

/// Queues are removed and made anew, in the same cells, while others use what they have.
#[test]
fn queues_come_and_go() {
    let pool = pool_of(16, 2);
    let most = pool.ledger().layout.queue_cells;
    let done = std::sync::atomic::AtomicBool::new(false);
    let finished = || done.load(std::sync::atomic::Ordering::Relaxed);
    let usable = |error: QueueError| match error {
        QueueError::Removed { .. }
        | QueueError::NotFound { .. }
        | QueueError::Timeout { .. }
        | QueueError::Stale { .. } => {}
        error => panic!("{error}"),
    };
    let short = || Wait::from(Duration::from_micros(50));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let consumer = pool.consumer().unwrap();
                while !finished() {
                    let Ok(queue) = Queue::open("work", &pool) else { continue };
                    for _ in 0..50 {
                        match queue.get(&consumer, short()) {
                            Ok(ticket) => drop(consumer.redeem(&ticket)),
                            Err(error) => usable(error),
                        }
                    }
                }
            });
            scope.spawn(|| {
                while !finished() {
                    let Ok(queue) = Queue::open("work", &pool) else { continue };
                    for _ in 0..50 {
                        let Ok(slot) = pool.lend(8, Wait::Try, Policy::Fail) else { break };
                        let ticket = slot.publish(Audience::Any).unwrap();
                        if let Err(error) = queue.put(&ticket, short()) {
                            usable(error);
                            let _ = pool.revoke(&ticket);
                        }
                    }
                }
            });
        }
        for round in 0..300 {
            let maxsize = [most, 3, most - 5, 1][round % 4];
            let queue = work(&pool, maxsize);
            thread::sleep(Duration::from_micros(300));
            queue.remove().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(pool.stats().in_use(), 0);
    assert!(pool.fsck().is_clean(), "{:?}", pool.fsck().problems);
}
