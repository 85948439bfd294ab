//! Those who were stopped in the middle of giving something back, and go on when it is another's.

use super::*;
use crate::word::StateWord;
use crate::{Audience, Policy, Pool, PoolConfig, PoolStats, Ticket, Wait};

fn pool(config: PoolConfig) -> Pool {
    Pool::process_local("test-late", &config).unwrap()
}

fn slots(slots: usize) -> Pool {
    pool(PoolConfig::slots(slots, 256).unwrap())
}

fn batch(pool: &Pool, parts: usize) -> Ticket {
    let batch = pool.lend_many(&vec![100; parts], Wait::Try, Policy::Fail).unwrap();
    batch.publish(Audience::Everyone).unwrap()
}

fn free(stats: &PoolStats) -> (usize, usize) {
    (stats.free, stats.slots)
}

#[test]
fn a_late_drainer_leaves_the_next_batch_alone() {
    let pool = slots(3);
    let consumer = pool.consumer().unwrap();
    let first = batch(&pool, 3);
    consumer.redeem_batch(&first).unwrap().release();
    // Which slot comes first depends on those that were lent last.
    let same_head = |ticket: &Ticket| ticket.index == first.index;
    let second = (0..16).map(|_| batch(&pool, 3)).find(|ticket| {
        same_head(ticket) || {
            consumer.redeem_batch(ticket).unwrap().release();
            false
        }
    });
    let second = second.expect("the slots take turns");
    assert!(second.generation > first.generation);

    let lease = consumer.redeem_batch(&second).unwrap();
    let ledger = pool.ledger();
    // As whoever released the first batch and was stopped before it came to giving back the parts.
    assert!(!ledger.finish(first.index as usize, first.generation, true));
    assert_eq!(pool.fsck().problems, Vec::<String>::new());
    assert_eq!(pool.stats().linked, 2);
    lease.release();
    assert_eq!(free(&pool.stats()), (3, 3));
}

#[test]
fn whoever_goes_on_finds_the_parts_that_are_left() {
    for freed in 0..3 {
        let pool = slots(4);
        let _consumer = pool.consumer().unwrap();
        let ticket = batch(&pool, 4);
        let ledger = pool.ledger();
        let head = ledger.slot(ticket.index as usize);
        let shared = head.load();
        assert!(head.exchange(shared, shared.with(SlotState::Draining, 0)));
        // As one that was killed after so many parts.
        for part in (4 - freed..4).rev() {
            let words = ledger.slot(part);
            let linked = words.load();
            assert!(words.exchange(linked, linked.with(SlotState::Draining, 0)));
            assert!(words.drained(linked.generation()));
            ledger.hints().put(part);
        }
        assert!(ledger.finish(ticket.index as usize, ticket.generation, true));
        assert_eq!(free(&pool.stats()), (4, 4), "{freed} were freed");
        batch(&pool, 4);
    }
}

#[test]
fn the_last_part_is_freed_first() {
    let pool = slots(4);
    let _consumer = pool.consumer().unwrap();
    batch(&pool, 4);
    let ledger = pool.ledger();
    let parts = ledger.parts_to_free(link(1, 1));
    assert_eq!(parts, [(3, 1), (2, 1), (1, 1)]);
    assert_eq!(ledger.parts_to_free(link(1, 1)), parts, "whoever helps does the same");
    assert!(parts.iter().all(|(part, _)| ledger.slot(*part).load().is(SlotState::Draining)));
}

#[test]
fn parts_that_are_used_again_end_the_chain() {
    let pool = slots(3);
    let consumer = pool.consumer().unwrap();
    let ticket = batch(&pool, 3);
    consumer.redeem_batch(&ticket).unwrap().release();
    let mut slot = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
    slot.bytes_mut().fill(1);
    let ledger = pool.ledger();
    // The chain of the batch, whose first part is being filled by somebody else now.
    assert_eq!(ledger.parts_to_free(link(slot.index(), ticket.generation)), []);
    let state = ledger.slot(slot.index()).load();
    assert!(state.is(SlotState::Filling), "{state:?}");
    assert!(slot.publish(Audience::Everyone).is_ok());
}

#[test]
fn whoever_has_the_number_of_the_dead_keeps_its_seat() {
    let pool = slots(2);
    let consumer = pool.consumer().unwrap();
    let ledger = pool.ledger();
    let ticket = {
        let slot = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
        slot.publish(Audience::Everyone).unwrap()
    };
    let lease = consumer.redeem(&ticket).unwrap();
    let member = usize::from(ledger.own().unwrap());
    // Somebody found this member dead, and was stopped; others reaped it, and this process came.
    let dead = [(member, ledger.member_word(member))];
    let word = &ledger.member(member)[0];
    word.fetch_add(1 << 8, Ordering::SeqCst);
    let mut reaped = Reaped::default();
    ledger.give_up_seats(&dead, &mut reaped);
    assert_eq!(reaped, Reaped::default());
    assert_eq!(pool.stats().consumers, 1);
    let filling = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
    assert_eq!(ledger.sweep(&dead), 0);
    assert_eq!(pool.stats().filling, 1);
    drop((lease, filling));
    assert_eq!(free(&pool.stats()), (2, 2));
}

#[test]
fn one_who_is_stopped_while_claiming_keeps_what_it_has_and_nothing_else() {
    let pool = pool(PoolConfig::chunks(64 * 4096).unwrap());
    let ledger = pool.ledger();
    let stopped = ledger.try_grant(8, ledger.own().unwrap()).unwrap();
    // Its granules are its own, and it did not get to say so anywhere else.
    for offset in [at::FRONTIER, at::IN_USE_BYTES] {
        ledger.word(offset).store(0, Ordering::SeqCst);
    }
    let lent: Vec<_> = (0..56).map(|_| pool.lend(4096, Wait::Try, Policy::Fail).unwrap()).collect();
    assert!(lent.iter().all(|slot| slot.offset() >= 8 * 4096));
    assert!(pool.lend(4096, Wait::Try, Policy::Fail).is_err());
    drop(lent);
    assert!(ledger.give_back(stopped));
    assert_eq!(pool.stats().free_bytes, 64 * 4096);
    let state: StateWord = ledger.slot(stopped.slot).load();
    assert!(state.is(SlotState::Free));
}
