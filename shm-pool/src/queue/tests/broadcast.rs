use super::*;
use crate::QueueError;
use std::thread;

#[test]
fn everybody_gets_everything_in_order() {
    let pool = pool_of(8, 3);
    let queue = broadcast(&pool, 4);
    let consumers: Vec<Consumer> = (0..3).map(|_| pool.consumer().unwrap()).collect();
    for lap in 0..9 {
        let values = [3 * lap, 3 * lap + 1, 3 * lap + 2];
        for value in values {
            put(&queue, value, Audience::Everyone);
        }
        for consumer in &consumers {
            assert_eq!(queue.len(), 3);
            assert_eq!(drain(&queue, consumer), values);
        }
        assert!(queue.is_empty());
    }
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn the_slowest_keeps_it_full_and_is_named() {
    let pool = pool_of(8, 2);
    let queue = broadcast(&pool, 2);
    let (fast, slow) = (pool.consumer().unwrap(), pool.consumer().unwrap());
    put(&queue, 0, Audience::Everyone);
    put(&queue, 1, Audience::Everyone);
    assert_eq!(drain(&queue, &fast), [0, 1]);
    let ticket = publish(&pool, 2, Audience::Everyone);
    let full = queue.put(&ticket, Wait::Try).unwrap_err();
    assert!(matches!(full, QueueError::Full { behind: 0b10, maxsize: 2, .. }), "{full}");
    assert_eq!(
        full.to_string(),
        "queue 'broadcast' is full with 2 tickets, not got by seat 1; get some, or wait"
    );
    let late = queue.put(&ticket, Wait::from(Duration::from_millis(60))).unwrap_err();
    assert!(matches!(late, QueueError::Timeout { behind: 0b10, putting: true, .. }), "{late}");
    assert_eq!(get(&queue, &slow), Some(0));
    queue.put(&ticket, Wait::Try).unwrap();
    assert_eq!(drain(&queue, &slow), [1, 2]);
    assert_eq!(drain(&queue, &fast), [2]);
}

#[test]
fn who_leaves_is_not_waited_for() {
    let pool = pool_of(8, 2);
    let queue = broadcast(&pool, 2);
    let (here, gone) = (pool.consumer().unwrap(), pool.consumer().unwrap());
    put(&queue, 0, Audience::Everyone);
    put(&queue, 1, Audience::Everyone);
    assert_eq!(drain(&queue, &here), [0, 1]);
    let ticket = publish(&pool, 2, Audience::Everyone);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(5));
            gone.leave();
        });
        // Nobody calls who waits; it looks for itself.
        queue.put(&ticket, Wait::from(LONG)).unwrap();
    });
    assert_eq!(drain(&queue, &here), [2]);
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn who_is_expected_gets_everything_and_who_comes_later_what_comes_then() {
    let pool = pool_of(8, 2);
    let queue = broadcast(&pool, 4);
    let first = pool.consumer().unwrap();
    put(&queue, 0, Audience::Everyone);
    put(&queue, 1, Audience::Everyone);
    assert_eq!(drain(&queue, &first), [0, 1]);
    let second = pool.consumer().unwrap();
    assert_eq!((second.seat(), drain(&queue, &second)), (1, vec![0, 1]));
    put(&queue, 2, Audience::Everyone);
    let extra = pool.consumer().unwrap();
    assert_eq!((extra.seat(), drain(&queue, &extra)), (2, vec![]));
    second.leave();
    put(&queue, 3, Audience::Everyone);
    let again = pool.consumer().unwrap();
    assert_eq!((again.seat(), drain(&queue, &again)), (1, vec![]));
    put(&queue, 4, Audience::Everyone);
    assert_eq!(drain(&queue, &first), [2, 3, 4]);
    assert_eq!(drain(&queue, &extra), [3, 4]);
    assert_eq!(drain(&queue, &again), [4]);
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn who_comes_late_does_not_keep_it_full() {
    let pool = pool_of(8, 1);
    let queue = broadcast(&pool, 2);
    let first = pool.consumer().unwrap();
    for value in 0..7 {
        put(&queue, value, Audience::Everyone);
        assert_eq!(get(&queue, &first), Some(value));
    }
    let extra = pool.consumer().unwrap();
    put(&queue, 7, Audience::Everyone);
    put(&queue, 8, Audience::Everyone);
    assert_eq!(drain(&queue, &first), [7, 8]);
    assert_eq!(drain(&queue, &extra), [7, 8]);
    assert_eq!(Queue::list(&pool)[0].missed, 0);
}

/// A consumer whose cursor was set long before it was present, as if it had been stopped in between.
#[test]
fn a_cursor_of_long_ago_is_moved_on() {
    let pool = pool_of(8, 1);
    let queue = broadcast(&pool, 3);
    let first = pool.consumer().unwrap();
    for value in 0..10 {
        put(&queue, value, Audience::Any);
        assert_eq!(get(&queue, &first), Some(value));
    }
    let late = pool.consumer().unwrap();
    pool.ledger().cursor(0, late.seat()).store(4, crate::sync::Ordering::Release);
    let ticket = publish(&pool, 10, Audience::Everyone);
    let full = queue.put(&ticket, Wait::Try).unwrap_err();
    assert!(matches!(full, QueueError::Full { behind: 0b10, .. }), "{full}");
    assert_eq!(drain(&queue, &late), [0_u64; 0]);
    assert_eq!(Queue::list(&pool)[0].missed, 3);
    queue.put(&ticket, Wait::Try).unwrap();
    assert_eq!(drain(&queue, &late), [10]);
}

#[test]
fn tickets_for_others_are_passed() {
    let pool = pool_of(8, 2);
    let queue = broadcast(&pool, 4);
    let (first, second) = (pool.consumer().unwrap(), pool.consumer().unwrap());
    put(&queue, 0, Audience::Seats(0b10));
    put(&queue, 1, Audience::Everyone);
    let doomed = put(&queue, 2, Audience::Everyone);
    put(&queue, 3, Audience::Seats(0b01));
    let _ = pool.revoke(&doomed).unwrap();
    assert_eq!(drain(&queue, &first), [1, 3]);
    assert_eq!(drain(&queue, &second), [0, 1]);
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn threads_of_one_consumer_share_its_place() {
    let pool = pool_of(64, 1);
    let queue = broadcast(&pool, 64);
    let consumer = pool.consumer().unwrap();
    for value in 0..64 {
        put(&queue, value, Audience::Everyone);
    }
    let mut got: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| drain(&queue, &consumer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    got.sort_unstable();
    assert_eq!(got, Vec::from_iter(0..64));
}

#[test]
fn nobody_there_keeps_nothing_full() {
    let pool = pool_of(8, 1);
    let queue = broadcast(&pool, 2);
    let consumer = pool.consumer().unwrap();
    let tickets: Vec<Ticket> = (0..5).map(|value| publish(&pool, value, Audience::Any)).collect();
    consumer.leave();
    for ticket in &tickets {
        queue.put(ticket, Wait::Try).unwrap();
    }
    assert_eq!(queue.len(), 0);
}
