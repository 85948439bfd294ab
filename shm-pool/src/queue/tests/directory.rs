use super::*;
use crate::QueueError;
use crate::layout::QUEUES;
use crate::queue::directory::Grant;
use std::thread;

#[test]
fn a_queue_has_one_name_and_is_found_by_it() {
    let pool = pool_of(4, 1);
    let missing = Queue::open("a", &pool).unwrap_err();
    assert!(matches!(&missing, QueueError::NotFound { found, .. } if found.is_empty()));
    let queue = Queue::create("a", &pool, 3, Mode::Broadcast).unwrap();
    let again = Queue::create("a", &pool, 3, Mode::Broadcast).unwrap_err();
    assert!(matches!(again, QueueError::Exists { .. }), "{again}");
    let opened = Queue::open("a", &pool).unwrap();
    assert_eq!((opened.name(), opened.maxsize(), opened.mode()), ("a", 3, Mode::Broadcast));
    let missing = Queue::open("b", &pool).unwrap_err();
    assert_eq!(missing.to_string(), "pool 'queues' has no queue 'b'; there is 'a'");
    drop((queue, opened));
    let [found] = &Queue::list(&pool)[..] else { panic!("handles do not remove a queue") };
    assert_eq!((found.name.as_str(), found.maxsize, found.len), ("a", 3, 0));
}

#[test]
fn names_and_sizes_are_checked() {
    let pool = pool_of(4, 1);
    let create = |name: &str, maxsize| Queue::create(name, &pool, maxsize, Mode::Work);
    assert!(matches!(create("", 1), Err(QueueError::Name { found: 0, .. })));
    let long = "ä".repeat(64);
    create(&long, 1).unwrap();
    assert_eq!(Queue::list(&pool)[0].name, long);
    assert!(matches!(create(&format!("{long}x"), 1), Err(QueueError::Name { found: 129, .. })));
    assert!(matches!(create("a", 0), Err(QueueError::MaxSize { found: 0, .. })));
    let most = pool.ledger().layout.queue_cells;
    let large = create("a", most + 1).unwrap_err();
    assert!(matches!(large, QueueError::MaxSize { most: said, .. } if said == most));
    let large = create("a", most).unwrap_err();
    assert!(matches!(large, QueueError::NoRoom { most: left, .. } if left == most - 1));
    create("a", most - 1).unwrap();
}

#[test]
fn cells_that_come_free_are_used_again() {
    let pool = pool_of(4, 1);
    let most = pool.ledger().layout.queue_cells;
    let consumer = pool.consumer().unwrap();
    let quarter = |name: &str| Queue::create(name, &pool, most / 4, Mode::Work).unwrap();
    let queues = ["a", "b", "c", "d"].map(quarter);
    queues[1].remove().unwrap();
    queues[2].remove().unwrap();
    let half = Queue::create("e", &pool, most / 2, Mode::Work).unwrap();
    for (value, queue) in [&queues[0], &half, &queues[3]].into_iter().enumerate() {
        put(queue, value as u64, Audience::Any);
    }
    for (value, queue) in [&queues[0], &half, &queues[3]].into_iter().enumerate() {
        assert_eq!(drain(queue, &consumer), [value as u64]);
    }
}

#[test]
fn there_are_sixteen_at_most() {
    let pool = pool_of(4, 1);
    let queues: Vec<Queue> = (0..QUEUES)
        .map(|name| Queue::create(&name.to_string(), &pool, 1, Mode::Work).unwrap())
        .collect();
    let many = Queue::create("x", &pool, 1, Mode::Work).unwrap_err();
    assert!(matches!(many, QueueError::TooMany { most: QUEUES, .. }), "{many}");
    queues[7].remove().unwrap();
    Queue::create("x", &pool, 1, Mode::Work).unwrap();
}

#[test]
fn a_removed_queue_is_gone_for_everybody() {
    let pool = pool_of(4, 2);
    let (queue, consumer) = (work(&pool, 1), pool.consumer().unwrap());
    let other = Queue::open("work", &pool).unwrap();
    put(&queue, 0, Audience::Any);
    let ticket = publish(&pool, 1, Audience::Any);
    thread::scope(|scope| {
        let putter = scope.spawn(|| other.put(&ticket, Wait::FOREVER));
        thread::sleep(Duration::from_millis(5));
        queue.remove().unwrap();
        let removed = putter.join().unwrap();
        assert!(matches!(removed, Err(QueueError::Removed { .. })), "{removed:?}");
    });
    assert!(matches!(queue.remove(), Err(QueueError::Removed { .. })));
    assert!(matches!(queue.get(&consumer, Wait::FOREVER), Err(QueueError::Removed { .. })));
    assert!(matches!(Queue::open("work", &pool), Err(QueueError::NotFound { .. })));
    assert_eq!(pool.stats().in_use(), 1, "what was in it was taken back, the other one was not");
    let next = work(&pool, 1);
    next.put(&ticket, Wait::Try).unwrap();
    assert!(matches!(queue.put(&ticket, Wait::Try), Err(QueueError::Removed { .. })));
    assert_eq!(drain(&next, &consumer), [1]);
}

#[test]
fn a_getter_that_waits_hears_of_the_removal() {
    let pool = pool_of(4, 1);
    let (queue, consumer) = (work(&pool, 1), pool.consumer().unwrap());
    thread::scope(|scope| {
        let getter = scope.spawn(|| queue.get(&consumer, Wait::FOREVER));
        thread::sleep(Duration::from_millis(5));
        queue.remove().unwrap();
        assert!(matches!(getter.join().unwrap(), Err(QueueError::Removed { .. })));
    });
}

#[test]
fn a_removed_broadcast_queue_keeps_nobody_waiting() {
    let pool = pool_of(8, 2);
    let queue = broadcast(&pool, 4);
    let (first, second) = (pool.consumer().unwrap(), pool.consumer().unwrap());
    for value in 0..3 {
        put(&queue, value, Audience::Everyone);
    }
    assert_eq!(drain(&queue, &first), [0, 1, 2]);
    let held = queue.get(&second, Wait::Try).unwrap();
    queue.remove().unwrap();
    // The second one has got the first ticket, and may still redeem it.
    assert_eq!(pool.stats().in_use(), 1);
    assert_eq!(second.redeem(&held).unwrap().get::<u64>(0).unwrap(), 0);
    assert_eq!(pool.stats().in_use(), 0);
}

#[test]
fn a_pool_that_goes_ends_the_waits_but_is_drained() {
    let (name, pool) = named_pool("retired", 4, 1);
    let other = Pool::open(&name).unwrap();
    let queue = work(&other, 2);
    let consumer = other.consumer().unwrap();
    put(&queue, 5, Audience::Any);
    pool.unlink().unwrap();
    assert_eq!(get(&queue, &consumer), Some(5));
    let retired = queue.get(&consumer, Wait::FOREVER).unwrap_err();
    assert!(matches!(retired, QueueError::Retired { .. }), "{retired}");
    let refused = Queue::create("more", &other, 1, Mode::Work).unwrap_err();
    assert!(matches!(refused, QueueError::Retired { .. }), "{refused}");
}

#[test]
fn two_handles_see_one_queue() {
    let (name, pool) = named_pool("handles", 4, 1);
    let producer = work(&pool, 2);
    let consumer = Consumer::open(&name).unwrap();
    let queue = Queue::open("work", &consumer.pool()).unwrap();
    put(&producer, 3, Audience::Any);
    assert_eq!(queue.len(), 1);
    assert_eq!(get(&queue, &consumer), Some(3));
    // A consumer of another handle on the same pool is as good.
    put(&producer, 4, Audience::Any);
    assert_eq!(get(&producer, &consumer), Some(4));
}

#[test]
fn many_create_the_same_queue_once() {
    let pool = pool_of(4, 1);
    for round in 0..50 {
        let name = format!("round {round}");
        let created: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Queue::create(&name, &pool, 10, Mode::Work)))
                .collect();
            threads
                .into_iter()
                .map(|thread| match thread.join().unwrap() {
                    Ok(_) => 1,
                    Err(QueueError::Exists { .. }) => 0,
                    Err(error) => panic!("{error}"),
                })
                .sum()
        });
        assert_eq!(created, 1);
        Queue::open(&name, &pool).unwrap().remove().unwrap();
    }
}

/// A creator that died with the name and the cells.
#[test]
fn a_dead_creator_has_nothing() {
    let pool = pool_of(4, 1);
    let ledger = pool.ledger();
    let directory = ledger.directory();
    // A member that never lived: nobody holds its byte.
    let claimed = directory.claim(200).unwrap();
    ledger.note_high_water(crate::layout::at::MEMBERS_USED, 201);
    ledger.member(200)[0].store(1 << 8 | 1, crate::sync::Ordering::Release);
    assert_eq!(directory.grant(claimed, b"work", 100), Grant::First(0));
    assert!(!ledger.is_alive(200), "nobody holds that byte");
    let queue = work(&pool, ledger.layout.queue_cells);
    assert_eq!(queue.maxsize(), ledger.layout.queue_cells);
}

/// Somebody who died while it removed a queue.
#[test]
fn a_dead_remover_is_finished() {
    use crate::queue::directory::Phase;
    let pool = pool_of(4, 1);
    let queue = work(&pool, pool.ledger().layout.queue_cells);
    put(&queue, 0, Audience::Any);
    let directory = pool.ledger().directory();
    let live = directory.word(0);
    assert!(directory.exchange(0, live, live.at(Phase::Closing)));
    let next = Queue::create("next", &pool, 10, Mode::Work).unwrap();
    assert_eq!((pool.stats().in_use(), next.len()), (0, 0));
}
