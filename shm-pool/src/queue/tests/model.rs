//! Queues beside a plain deque.

use super::*;
use crate::QueueError;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    Get(usize),
    /// Revokes one of those that are in the queue.
    Revoke(usize),
    Leave(usize),
    Join(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Put),
        6 => (0_usize..3).prop_map(Step::Get),
        1 => (0_usize..8).prop_map(Step::Revoke),
        1 => (0_usize..3).prop_map(Step::Leave),
        1 => (0_usize..3).prop_map(Step::Join),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_work_queue_is_a_deque(
        maxsize in 1_usize..6,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let pool = pool_of(16, 3);
        let queue = work(&pool, maxsize);
        let mut seats: Vec<Option<Consumer>> = (0..3).map(|_| pool.consumer().ok()).collect();
        // What is in the queue, and whether it can still be redeemed.
        let mut deque: VecDeque<(u64, Ticket, bool)> = VecDeque::new();
        for (value, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put => {
                    let value = value as u64;
                    let ticket = publish(&pool, value, Audience::Any);
                    match queue.put(&ticket, Wait::Try) {
                        Ok(()) => {
                            prop_assert!(deque.len() < maxsize);
                            deque.push_back((value, ticket, true));
                        }
                        Err(QueueError::Full { .. }) => {
                            prop_assert_eq!(deque.len(), maxsize);
                            let _ = pool.revoke(&ticket).unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Get(seat) => {
                    let Some(consumer) = &seats[seat] else { continue };
                    while deque.front().is_some_and(|(_, _, good)| !good) {
                        deque.pop_front();
                    }
                    let expected = deque.pop_front().map(|(value, ..)| value);
                    prop_assert_eq!(get(&queue, consumer), expected);
                }
                Step::Revoke(index) => {
                    let Some((_, ticket, good)) = deque.get_mut(index).filter(|(_, _, good)| *good)
                    else { continue };
                    let _ = pool.revoke(ticket).unwrap();
                    *good = false;
                }
                Step::Leave(seat) => seats[seat] = None,
                Step::Join(seat) if seats[seat].is_none() => {
                    seats[seat] = Some(pool.consumer_at(seat).unwrap());
                }
                Step::Join(_) => {}
            }
            prop_assert_eq!(queue.len(), deque.len());
        }
        let fsck = pool.fsck();
        prop_assert!(fsck.is_clean(), "{:?}", fsck.problems);
    }

    #[test]
    fn a_broadcast_queue_is_a_deque_for_each(
        maxsize in 1_usize..6,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let pool = pool_of(64, 3);
        let queue = broadcast(&pool, maxsize);
        let mut seats: Vec<Option<Consumer>> = (0..3).map(|_| pool.consumer().ok()).collect();
        let mut inboxes: HashMap<usize, VecDeque<(u64, Ticket)>> =
            (0..3).map(|seat| (seat, VecDeque::new())).collect();
        let mut revoked: Vec<u64> = Vec::new();
        for (value, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put => {
                    let value = value as u64;
                    let Ok(mut slot) = pool.lend(8, Wait::Try, Policy::Fail) else { continue };
                    slot.copy_from(&[value]).unwrap();
                    let Ok(ticket) = slot.publish(Audience::Everyone) else {
                        prop_assert!(inboxes.is_empty());
                        continue;
                    };
                    let full = inboxes.values().any(|inbox| inbox.len() == maxsize);
                    match queue.put(&ticket, Wait::Try) {
                        Ok(()) => {
                            prop_assert!(!full);
                            inboxes.values_mut().for_each(|inbox| inbox.push_back((value, ticket)));
                        }
                        Err(QueueError::Full { behind, .. }) => {
                            prop_assert!(full);
                            let longest = |seat| inboxes.get(&seat).map_or(0, VecDeque::len);
                            let expected = (0..3)
                                .filter(|&seat| longest(seat) == maxsize)
                                .fold(0, |seats, seat| seats | 1 << seat);
                            prop_assert_eq!(behind, expected);
                            let _ = pool.revoke(&ticket).unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::Get(seat) => {
                    let Some(consumer) = &seats[seat] else { continue };
                    let inbox = inboxes.get_mut(&seat).unwrap();
                    while inbox.front().is_some_and(|(value, _)| revoked.contains(value)) {
                        inbox.pop_front();
                    }
                    let expected = inbox.pop_front().map(|(value, _)| value);
                    prop_assert_eq!(get(&queue, consumer), expected);
                }
                Step::Revoke(index) => {
                    let found = inboxes.values().find_map(|inbox| inbox.get(index).copied());
                    let Some((value, ticket)) = found.filter(|(value, _)| !revoked.contains(value))
                    else { continue };
                    let _ = pool.revoke(&ticket).unwrap();
                    revoked.push(value);
                }
                Step::Leave(seat) => {
                    seats[seat] = None;
                    inboxes.remove(&seat);
                }
                Step::Join(seat) if seats[seat].is_none() => {
                    seats[seat] = Some(pool.consumer_at(seat).unwrap());
                    inboxes.insert(seat, VecDeque::new());
                }
                Step::Join(_) => {}
            }
            let longest = inboxes.values().map(VecDeque::len).max().unwrap_or(0);
            prop_assert_eq!(queue.len(), longest);
        }
        let fsck = pool.fsck();
        prop_assert!(fsck.is_clean(), "{:?}", fsck.problems);
    }
}
