//! Producers that wait: in line, with deadlines, until they are cancelled.

use shm_pool::{
    Audience, Cancel, LendError, Policy, Pool, PoolConfig, RedeemError, Request, Slot, Wait,
};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const GRANULE: usize = 4096;
/// Longer than a tick of the coarsest clock.
const TICK: Duration = Duration::from_millis(25);

fn slots(slots: usize) -> Pool {
    Pool::process_local("test-waiting", &PoolConfig::slots(slots, 256).unwrap()).unwrap()
}

fn chunks(granules: usize) -> Pool {
    let config = PoolConfig::chunks(granules * GRANULE).unwrap();
    Pool::process_local("test-waiting", &config).unwrap()
}

fn lend(pool: &Pool, bytes: usize) -> Slot {
    pool.lend(bytes, Wait::Try, Policy::Fail).unwrap()
}

fn is_full<T>(outcome: &Result<T, LendError>) -> bool {
    matches!(outcome, Err(LendError::Full { .. }))
}

/// Looks once, without sleeping, and keeps the place in the line.
fn look(request: &mut Request) -> Option<Slot> {
    request.nap(Duration::ZERO).unwrap()
}

fn in_line(pool: &Pool, bytes: usize) -> Request {
    let mut request = pool.request(bytes).unwrap();
    assert!(look(&mut request).is_none(), "nothing is free");
    request
}

#[test]
fn those_in_line_are_served_in_order() {
    let pool = slots(2);
    let mut held = vec![lend(&pool, 100), lend(&pool, 200)];
    let mut line: Vec<Request> = (0..5).map(|_| in_line(&pool, 100)).collect();
    assert_eq!(pool.stats().waits, 5);
    while !line.is_empty() {
        drop(held.remove(0));
        for later in line.iter_mut().skip(1).rev() {
            assert!(look(later).is_none(), "somebody came earlier");
        }
        held.push(look(&mut line[0]).expect("it is the first one's turn"));
        line.remove(0);
    }
}

#[test]
fn a_place_that_is_given_up_is_the_next_ones() {
    let pool = slots(1);
    let held = lend(&pool, 1);
    let (first, mut second) = (in_line(&pool, 1), in_line(&pool, 1));
    drop(held);
    assert!(look(&mut second).is_none());
    drop(first);
    assert!(look(&mut second).is_some());
}

#[test]
fn who_does_not_wait_does_not_overtake() {
    for pool in [slots(1), chunks(1)] {
        let held = lend(&pool, 1);
        let mut first = in_line(&pool, 1);
        drop(held);
        assert!(is_full(&pool.lend(1, Wait::Try, Policy::Block)));
        assert!(is_full(&pool.lend(1, Wait::FOREVER, Policy::Fail)));
        let slot = look(&mut first).expect("it is the first one's turn");
        drop((slot, first));
        assert_eq!(lend(&pool, 1).byte_len(), 1);
    }
}

#[test]
fn everybody_is_served_in_the_end() {
    let pool = slots(1);
    let held = lend(&pool, 1);
    let served = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let slot = pool.lend(1, Wait::FOREVER, Policy::Block).unwrap();
                    // If two had the slot, the second would wait for the other's lock.
                    *served.try_lock().expect("a slot has one owner") += 1;
                    drop(slot);
                }
            });
        }
        while pool.stats().waits < 8 {
            thread::yield_now();
        }
        drop(held);
    });
    assert_eq!(served.into_inner().unwrap(), 160);
    assert_eq!(pool.stats().free, 1);
}

#[test]
fn a_timeout_names_who_has_what() {
    let pool = slots(2);
    let consumer = pool.consumer().unwrap();
    let ticket = lend(&pool, 100).publish(Audience::Everyone).unwrap();
    let lease = consumer.redeem(&ticket).unwrap();
    thread::sleep(TICK);
    let filling = lend(&pool, 100);

    let begun = Instant::now();
    let error = pool.lend(77, Wait::from(Duration::from_millis(30)), Policy::Block).unwrap_err();
    let LendError::Timeout { bytes, waited, free, ref holders, .. } = error else {
        panic!("{error}");
    };
    assert!(waited >= Duration::from_millis(30) && waited <= begun.elapsed());
    assert_eq!((bytes, free), (77, 0));
    let named: Vec<_> = holders.iter().map(|one| (one.slot, one.seat, one.pid)).collect();
    let pid = std::process::id();
    assert_eq!(named, [(lease.index(), Some(0), pid), (filling.index(), None, pid)]);
    assert!(holders[0].held_for > holders[1].held_for);
    assert_eq!(error.holders(), &holders[..]);
    let text = error.to_string();
    assert!(text.contains("seat 0") && text.contains("77 bytes"), "{text}");
    assert_eq!(pool.stats().refused, 1);
}

#[test]
fn a_wait_is_cancelled() {
    let pool = slots(1);
    let _held = lend(&pool, 1);
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let waits = || pool.lend_or_cancel(9, Wait::FOREVER, Policy::Block, &cancel);
        let waiting = [scope.spawn(waits), scope.spawn(waits)];
        while pool.stats().waits < 2 {
            thread::yield_now();
        }
        assert!(waiting.iter().all(|one| !one.is_finished()));
        cancel.cancel();
        for one in waiting {
            let outcome = one.join().unwrap();
            assert!(matches!(outcome, Err(LendError::Cancelled { bytes: 9, .. })), "{outcome:?}");
        }
    });
    let again = pool.lend_or_cancel(9, Wait::FOREVER, Policy::Block, &cancel);
    assert!(matches!(again, Err(LendError::Cancelled { .. })), "it stays cancelled: {again:?}");
}

#[test]
fn a_nap_ends_with_its_time_or_a_slot() {
    let pool = slots(1);
    let held = lend(&pool, 1);
    let mut request = pool.request(1).unwrap();
    let begun = Instant::now();
    assert!(request.nap(Duration::from_millis(20)).unwrap().is_none());
    assert!(begun.elapsed() >= Duration::from_millis(20));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            drop(held);
        });
        let slot = loop {
            if let Some(slot) = request.nap(Duration::from_secs(60)).unwrap() {
                break slot;
            }
        };
        assert_eq!(slot.byte_len(), 1);
    });
    assert!(request.waited() >= Duration::from_millis(40));
    assert_eq!(pool.stats().waits, 1);
}

#[test]
fn a_pool_that_is_removed_ends_the_wait() {
    let name = format!("test-waiting-{}", std::process::id());
    let pool = Pool::create(&name, &PoolConfig::slots(1, 1).unwrap()).unwrap();
    let other = Pool::open(&name).unwrap();
    let _held = lend(&pool, 1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| other.lend(1, Wait::FOREVER, Policy::Block));
        while pool.stats().waits < 1 {
            thread::yield_now();
        }
        pool.unlink().unwrap();
        let outcome = waiting.join().unwrap();
        assert!(matches!(outcome, Err(LendError::Retired { .. })), "{outcome:?}");
    });
}

#[test]
fn small_requests_do_not_starve_a_large_one() {
    let pool = chunks(8);
    let mut old: Vec<Slot> = (0..8).map(|_| lend(&pool, GRANULE)).collect();
    let mut large = in_line(&pool, 4 * GRANULE);
    let mut new = Vec::new();
    let mut served = None;
    // Whatever comes free is asked for at once by somebody who needs little.
    for turn in 0..8 {
        drop(old.swap_remove(turn * 5 % old.len()));
        new.extend(pool.lend(GRANULE, Wait::Try, Policy::Fail));
        served = served.or_else(|| look(&mut large));
    }
    let served = served.expect("a large request gets its memory before small ones get all of it");
    assert_eq!((served.capacity(), new.len()), (4 * GRANULE, 4));
    drop(served);
    new.extend((0..4).map(|_| lend(&pool, GRANULE)));
    assert!(is_full(&pool.lend(1, Wait::Try, Policy::Fail)));
}

#[test]
fn small_ones_in_line_are_served_beside_a_large_one() {
    let pool = chunks(8);
    let mut old: Vec<Slot> = (0..8).map(|_| lend(&pool, GRANULE)).collect();
    let (mut large, mut small) = (in_line(&pool, 6 * GRANULE), in_line(&pool, GRANULE));
    old.sort_by_key(|slot| slot.offset());
    // The last granules are not those that are kept: those would have to be the first six.
    drop(old.pop());
    assert!(look(&mut large).is_none());
    let beside = look(&mut small).expect("what is not kept is there for others");
    assert_eq!(beside.offset(), 7 * GRANULE);
    drop(old);
    assert_eq!(look(&mut large).map(|slot| slot.capacity()), Some(6 * GRANULE));
}

#[test]
fn the_oldest_that_nobody_reads_is_dropped() {
    let pool = slots(3);
    let consumer = pool.consumer().unwrap();
    let publish = || {
        thread::sleep(TICK);
        lend(&pool, 100).publish(Audience::Everyone).unwrap()
    };
    let [read, oldest, newest] = [publish(), publish(), publish()];
    let lease = consumer.redeem(&read).unwrap();
    assert!(is_full(&pool.lend(1, Wait::Try, Policy::Block)));

    let slot = pool.lend(1, Wait::Try, Policy::DropOldestUnread).unwrap();
    assert_eq!(slot.index(), oldest.index as usize);
    assert_eq!(pool.stats().dropped, 1);
    let stale = consumer.redeem(&oldest);
    assert!(matches!(stale, Err(RedeemError::Stale { .. })), "{stale:?}");
    let other = consumer.redeem(&newest).unwrap();

    // What is being read, or filled, is nobody's to drop.
    assert!(is_full(&pool.lend(1, Wait::Try, Policy::DropOldestUnread)));
    let soon = Wait::from(Duration::from_millis(10));
    let waited = pool.lend(1, soon, Policy::DropOldestUnread);
    assert!(matches!(waited, Err(LendError::Timeout { .. })), "{waited:?}");
    assert_eq!(pool.stats().dropped, 1);
    drop((slot, lease, other));
    assert_eq!(pool.stats().free, 3);
}

#[test]
fn what_nobody_reads_is_dropped_whoever_it_is_for() {
    let pool = slots(4);
    let _consumer = pool.consumer().unwrap();
    let for_anybody = lend(&pool, 1).publish(Audience::Any).unwrap();
    let batch = pool.lend_many(&[1, 1, 1], Wait::Try, Policy::Fail).unwrap();
    batch.publish(Audience::Seats(1)).unwrap();
    let all: Vec<Slot> =
        (0..4).map(|_| pool.lend(1, Wait::Try, Policy::DropOldestUnread).unwrap()).collect();
    assert!(all.iter().any(|slot| slot.index() == for_anybody.index as usize));
    assert_eq!(pool.stats().dropped, 2);
}

#[test]
fn a_batch_waits_with_nothing_in_hand() {
    let pool = slots(3);
    let mut held: Vec<Slot> = (0..3).map(|_| lend(&pool, 1)).collect();
    thread::scope(|scope| {
        let batches: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut batch = pool.lend_many(&[1, 1], Wait::FOREVER, Policy::Block).unwrap();
                    batch.slots().len()
                })
            })
            .collect();
        while pool.stats().waits < 2 {
            thread::yield_now();
        }
        // Two that had one part each would wait for each other for ever.
        held.truncate(1);
        for batch in batches {
            assert_eq!(batch.join().unwrap(), 2);
        }
    });
    drop(held);
    assert_eq!(pool.stats().free, 3);
}

#[test]
fn small_parts_are_not_in_the_way_of_the_large_one() {
    let pool = chunks(14);
    let (six, _between, seven) =
        (lend(&pool, 6 * GRANULE), lend(&pool, GRANULE), lend(&pool, 7 * GRANULE));
    drop((six, seven));
    // Put where it fits best, the part of three would leave no room for the part of six.
    let asked = [3 * GRANULE, 4 * GRANULE, 6 * GRANULE];
    let mut batch = pool.lend_many(&asked, Wait::Try, Policy::Fail).unwrap();
    let found: Vec<usize> = batch.slots().iter().map(|slot| slot.byte_len()).collect();
    assert_eq!(found, asked, "the parts are in the order they were asked for");
}

#[test]
fn a_part_that_was_at_hand_is_not_in_the_way_of_the_next() {
    let pool = chunks(10);
    // What came free a moment ago is lent at once, and lies in the middle of all that is free.
    let all = [3, 4, 3].map(|granules| lend(&pool, granules * GRANULE));
    drop(all);
    let batch = pool.lend_many(&[4 * GRANULE; 2], Wait::Try, Policy::Fail);
    assert!(batch.is_ok(), "{batch:?}");
    assert_eq!(pool.stats().refused, 0);
}

#[test]
fn a_batch_that_waits_is_not_in_its_own_way() {
    let pool = chunks(10);
    // What is free, four granules, lies in the middle.
    let (before, middle, after) =
        (lend(&pool, 3 * GRANULE), lend(&pool, 4 * GRANULE), lend(&pool, 3 * GRANULE));
    assert!(before.offset() < middle.offset() && middle.offset() < after.offset());
    drop(middle);
    let wait = Wait::from(Duration::from_secs(20));
    thread::scope(|scope| {
        let batch = scope.spawn(|| pool.lend_many(&[4 * GRANULE; 2], wait, Policy::Block).is_ok());
        let deadline = Instant::now() + Duration::from_secs(20);
        while pool.stats().in_use() < 3 {
            assert!(Instant::now() < deadline, "the first part was never granted");
            thread::yield_now();
        }
        // One part is held now, and what comes free lies on both sides of it.
        drop((before, after));
        assert!(batch.join().unwrap(), "it waited for what it had cut in two itself");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_batch_that_waits_costs_nothing() {
    /// Nanoseconds that this thread has run.
    fn ran() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    }
    let pool = slots(3);
    let _held = lend(&pool, 1);
    let before = ran();
    let waited = pool.lend_many(&[1, 1, 1], Wait::from(Duration::from_millis(400)), Policy::Block);
    assert!(waited.is_err());
    let busy = Duration::from_nanos(ran() - before);
    assert!(busy < Duration::from_millis(100), "it was busy for {busy:?} of 400 ms");
}
