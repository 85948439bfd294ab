use super::*;
use crate::QueueError;
use std::thread;
use std::time::Instant;

#[test]
fn tickets_come_in_order_and_once() {
    let pool = pool_of(8, 2);
    let (queue, first, second) =
        (work(&pool, 5), pool.consumer().unwrap(), pool.consumer().unwrap());
    for lap in 0..7 {
        for value in 0..5 {
            put(&queue, lap * 5 + value, Audience::Any);
        }
        assert_eq!(queue.len(), 5);
        for value in 0..5 {
            let consumer = if value % 2 == 0 { &first } else { &second };
            assert_eq!(get(&queue, consumer), Some(lap * 5 + value));
        }
        assert!(queue.is_empty());
    }
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn full_and_empty_are_said_at_once() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 2), pool.consumer().unwrap());
    let empty = queue.get(&consumer, Wait::Try).unwrap_err();
    assert!(matches!(&empty, QueueError::Empty { queue, seat: 0 } if queue == "work"));
    put(&queue, 0, Audience::Any);
    put(&queue, 1, Audience::Any);
    let ticket = publish(&pool, 2, Audience::Any);
    let full = queue.put(&ticket, Wait::Try).unwrap_err();
    assert!(matches!(full, QueueError::Full { maxsize: 2, behind: 0, .. }));
    assert_eq!(get(&queue, &consumer), Some(0));
    queue.put(&ticket, Wait::Try).unwrap();
    assert_eq!(drain(&queue, &consumer), [1, 2]);
}

#[test]
fn waits_end_at_their_deadline() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 1), pool.consumer().unwrap());
    let (begun, wait) = (Instant::now(), Duration::from_millis(120));
    let late = queue.get(&consumer, Wait::from(wait)).unwrap_err();
    assert!(matches!(late, QueueError::Timeout { putting: false, waited, .. } if waited >= wait));
    put(&queue, 0, Audience::Any);
    let ticket = publish(&pool, 1, Audience::Any);
    let late = queue.put(&ticket, Wait::from(wait)).unwrap_err();
    assert!(matches!(late, QueueError::Timeout { putting: true, waited, .. } if waited >= wait));
    assert!(begun.elapsed() >= 2 * wait);
    assert!(queue.put_nap(&ticket, Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(get(&queue, &consumer), Some(0));
    assert!(queue.get_nap(&consumer, Duration::from_millis(1)).unwrap().is_none());
    assert!(queue.put_nap(&ticket, Duration::ZERO).unwrap().is_some());
    assert_eq!(queue.get_nap(&consumer, Duration::ZERO).unwrap(), Some(ticket));
}

#[test]
fn who_waits_gets_what_comes() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 1), pool.consumer().unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..200 {
                let ticket = publish(&pool, value, Audience::Any);
                queue.put(&ticket, Wait::from(LONG)).unwrap();
            }
        });
        for value in 0..200 {
            if value % 50 == 0 {
                // Let the other one fall asleep.
                thread::sleep(Duration::from_millis(5));
            }
            let ticket = queue.get(&consumer, Wait::FOREVER).unwrap();
            assert_eq!(consumer.redeem(&ticket).unwrap().get::<u64>(0).unwrap(), value);
        }
    });
}

#[test]
fn stale_tickets_are_passed_and_counted() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 4), pool.consumer().unwrap());
    let doomed = put(&queue, 0, Audience::Any);
    put(&queue, 1, Audience::Any);
    let _ = pool.revoke(&doomed).unwrap();
    // Its slot is used again, and put again: two entries name it, one of them wrongly.
    put(&queue, 2, Audience::Everyone);
    let redeemed = put(&queue, 3, Audience::Any);
    drop(consumer.redeem(&redeemed).unwrap());
    assert_eq!(drain(&queue, &consumer), [1, 2]);
    assert_eq!(Queue::list(&pool)[0].stale, 2);
}

#[test]
fn tickets_that_nobody_can_redeem_are_refused() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 4), pool.consumer().unwrap());
    let ticket = publish(&pool, 0, Audience::Any);
    let lease = consumer.redeem(&ticket).unwrap();
    let refused = |ticket: &Ticket| queue.put(ticket, Wait::Try).unwrap_err();
    assert!(matches!(refused(&ticket), QueueError::Stale { slot: 0, .. }), "claimed");
    drop(lease);
    assert!(matches!(refused(&ticket), QueueError::Stale { slot: 0, .. }), "released");
    let wild = Ticket { index: 99, ..ticket };
    assert!(matches!(refused(&wild), QueueError::Stale { slot: 99, .. }));
    let foreign = publish(&pool_of(1, 1), 0, Audience::Any);
    assert!(matches!(refused(&foreign), QueueError::Foreign { what: "ticket", .. }));
    let stranger = pool_of(1, 1).consumer().unwrap();
    let error = queue.get(&stranger, Wait::Try).unwrap_err();
    assert!(matches!(error, QueueError::Foreign { what: "consumer", .. }));
    assert!(queue.is_empty());
}

#[test]
fn a_ticket_for_certain_seats_waits_for_one_of_them() {
    let pool = pool_of(4, 3);
    let queue = work(&pool, 4);
    let consumers: Vec<Consumer> = (0..3).map(|_| pool.consumer().unwrap()).collect();
    put(&queue, 0, Audience::Seats(0b010));
    put(&queue, 1, Audience::Any);
    assert_eq!(get(&queue, &consumers[0]), None);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let ticket = queue.get(&consumers[2], Wait::from(LONG)).unwrap();
            consumers[2].redeem(&ticket).unwrap().get::<u64>(0).unwrap()
        });
        thread::sleep(Duration::from_millis(5));
        assert_eq!(get(&queue, &consumers[1]), Some(0));
        assert_eq!(waiter.join().unwrap(), 1);
    });
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn a_ticket_whose_seats_have_left_is_passed() {
    let pool = pool_of(4, 2);
    let queue = work(&pool, 4);
    let (here, gone) = (pool.consumer().unwrap(), pool.consumer().unwrap());
    put(&queue, 0, Audience::Seats(0b10));
    put(&queue, 1, Audience::Any);
    gone.leave();
    assert_eq!(drain(&queue, &here), [1]);
}

#[test]
fn a_consumer_that_leaves_with_a_claim_gives_it_back() {
    let pool = pool_of(4, 2);
    let queue = work(&pool, 4);
    let consumer = pool.consumer().unwrap();
    put(&queue, 0, Audience::Any);
    let ticket = queue.get(&consumer, Wait::Try).unwrap();
    assert_eq!(pool.stats().in_use(), 1);
    consumer.leave();
    assert_eq!(pool.stats().in_use(), 0);
    let next = pool.consumer().unwrap();
    next.redeem(&ticket).unwrap_err();
    assert!(pool.fsck().is_clean(), "{:?}", pool.fsck().problems);
}

#[test]
fn a_batch_keeps_its_parts() {
    let pool = pool_of(8, 1);
    let (queue, consumer) = (work(&pool, 4), pool.consumer().unwrap());
    let mut batch = pool.lend_many(&[8, 16, 24], Wait::Try, Policy::Fail).unwrap();
    for (value, slot) in batch.slots().iter_mut().enumerate() {
        slot.bytes_mut().fill(value as u8);
    }
    let ticket = batch.publish(Audience::Any).unwrap();
    queue.put(&ticket, Wait::Try).unwrap();
    let got = queue.get(&consumer, Wait::Try).unwrap();
    assert_eq!(got, ticket);
    let lease = consumer.redeem_batch(&got).unwrap();
    assert_eq!(lease.parts().len(), 3);
    assert_eq!(lease.to_vec(2).unwrap(), [2; 24]);
    drop(lease);
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn one_cell_is_enough() {
    let pool = pool_of(1, 1);
    let (queue, consumer) = (work(&pool, 1), pool.consumer().unwrap());
    for value in 0..5000 {
        put(&queue, value, Audience::Any);
        assert_eq!(get(&queue, &consumer), Some(value));
    }
}
