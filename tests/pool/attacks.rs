//! One hostile word at a time, in every field: a typed error, or nothing at all, and never a slot that
//! two have.

use crate::rig::{chunks, refused_as, seated, slots};
use core::sync::atomic::Ordering::SeqCst;
use shm_pool::{
    Audience, Consumer, LendError, Policy, Pool, PoolConfig, RedeemError, Slot, Ticket, Wait,
};
use shm_tests::Scene;
use shm_tests::pool::{Part, RawPool};
use std::time::Duration;

const STATE: usize = 0;
const RUN: usize = 1;
const BYTE_LEN: usize = 2;
const NEXT: usize = 4;
const LANES: usize = 6;

fn raw(pool: &Pool) -> RawPool {
    RawPool::of(pool.name()).unwrap()
}

fn send(pool: &Pool, bytes: usize) -> Ticket {
    pool.lend(bytes, Wait::Try, Policy::Fail).unwrap().publish(Audience::Everyone).unwrap()
}

/// Everything that looks at the whole pool, and must not mind what it sees.
fn look(pool: &Pool) {
    let _ = (pool.stats().fragmentation(), pool.fsck(), pool.overdue(), pool.describe());
    pool.reap();
    let _ = pool.lend(100, Wait::from(Duration::from_millis(3)), Policy::Block);
    let _ = pool.lend(100, Wait::from(Duration::from_millis(3)), Policy::DropOldestUnread);
}

const VALUES: [u64; 12] = [
    0,
    1,
    8,
    0xF,
    0xFFFF,
    u64::MAX,
    u64::MAX - 1,
    u64::MAX / 2,
    1 << 63,
    1 << 48,
    0xFFFF_FFFF,
    0xFFFF_FFFF_0000_0000,
];

#[test]
fn a_state_that_is_none_is_never_lent() {
    let scene = Scene::new("unknown state");
    let pool = slots(&scene, "pool", 4, 1);
    let raw = raw(&pool);
    let before = raw.slot(1, STATE).load(SeqCst);
    for code in 8..16 {
        raw.slot(1, STATE).store(5 << 16 | code, SeqCst);
        let lent: Vec<Slot> =
            std::iter::from_fn(|| pool.lend(100, Wait::Try, Policy::Fail).ok()).collect();
        assert_eq!(lent.len(), 3, "state {code}");
        assert!(lent.iter().all(|slot| slot.index() != 1), "state {code}");
        let stats = pool.stats();
        assert_eq!((stats.free, stats.filling, stats.quarantined), (0, 3, 1));
        let fsck = pool.fsck();
        assert_eq!(fsck.slots[1].state, None);
        assert!(fsck.problems.len() == 1 && fsck.problems[0].contains("is none"), "{fsck:?}");
        let ticket =
            Ticket { instance: pool.instance(), generation: 5, index: 1, parts: 1, byte_len: 8 };
        let consumer = pool.consumer().unwrap();
        assert!(matches!(consumer.redeem(&ticket), Err(RedeemError::Stale { .. })));
        assert!(pool.revoke(&ticket).is_err());
        drop((consumer, lent));
        look(&pool);
    }
    raw.slot(1, STATE).store(before, SeqCst);
    // The hint of a damaged slot was taken; whoever waits looks for itself.
    let wait = Wait::from(Duration::from_secs(20));
    let lent: Vec<Slot> = (0..4)
        .map(|at| match at {
            3 => {
                send_and_die(&scene, &pool);
                pool.lend(100, wait, Policy::Block).unwrap()
            }
            _ => pool.lend(100, wait, Policy::Block).unwrap(),
        })
        .collect();
    assert_eq!(lent.len(), 4);
}

/// Parts of a chain that was damaged are nobody's.
fn free_by_hand(scene: &Scene, pool: &Pool, raw: &RawPool) {
    for slot in 0..pool.slots() {
        let state = raw.slot(slot, STATE).load(SeqCst);
        raw.slot(slot, STATE).store(state & !0xFFFF, SeqCst);
    }
    send_and_die(scene, pool);
}

/// Somebody joins and dies, so that the next reaper looks at every slot.
fn send_and_die(scene: &Scene, pool: &Pool) {
    crate::rig::opened(scene, pool).kill();
    pool.reap();
}

#[test]
fn a_damaged_record_is_named() {
    let scene = Scene::new("record");
    let consumers = |pool: &Pool| pool.consumer().unwrap();
    for (pool, word, field) in [
        (slots(&scene, "length", 4, 1), BYTE_LEN, "byte_len"),
        (chunks(&scene, "chunk-length", 1), BYTE_LEN, "byte_len"),
        (chunks(&scene, "run", 1), RUN, "byte_len"),
    ] {
        let (raw, consumer) = (raw(&pool), consumers(&pool));
        let mut refused = 0;
        for value in VALUES {
            let ticket = send(&pool, 100);
            let place = raw.slot(ticket.index as usize, word);
            let before = place.swap(value, SeqCst);
            match consumer.redeem(&ticket) {
                // A length that a slot can have is one.
                Ok(lease) => {
                    let bytes = lease.to_vec().len();
                    assert!((1..=pool.slot_size()).contains(&bytes), "{value:#x}: {bytes} bytes");
                }
                Err(RedeemError::Damaged { slot, field: found, .. }) => {
                    assert_eq!((slot, found), (ticket.index as usize, field), "{value:#x}");
                    refused += 1;
                }
                Err(other) => panic!("{field} {value:#x}: {other}"),
            }
            look(&pool);
            place.store(before, SeqCst);
            pool.reap();
        }
        assert!(refused >= 5, "{field}: only {refused} of {} values were refused", VALUES.len());
        println!("{}: {refused} of {} values of {field} refused", pool.name(), VALUES.len());
    }
}

#[test]
fn a_batch_of_cycles_and_strangers_ends() {
    let scene = Scene::new("links");
    let pool = slots(&scene, "pool", 8, 1);
    let (raw, consumer) = (raw(&pool), pool.consumer().unwrap());
    let link = |slot: u64, generation: u64| (slot + 1) << 39 | generation;
    let batch = |pool: &Pool| {
        let batch = pool.lend_many(&[100; 3], Wait::Try, Policy::Fail).unwrap();
        batch.publish(Audience::Everyone).unwrap()
    };
    let of = |slot: usize| raw.slot(slot, STATE).load(SeqCst) >> 16;
    let mut refused = 0;
    for parts in [3, 4, 9, 10_000, u32::MAX] {
        // The second names itself, the first, and the third that names the second again.
        for cycle in 0..3 {
            let ticket = batch(&pool);
            let part = |slot: usize| (raw.slot(slot, NEXT).load(SeqCst) >> 39) as usize - 1;
            let first = ticket.index as usize;
            let (second, third) = (part(first), part(part(first)));
            let (from, to) = [(second, second), (second, first), (third, second)][cycle];
            raw.slot(from, NEXT).store(link(to as u64, of(to)), SeqCst);
            match consumer.redeem_batch(&Ticket { parts, ..ticket }) {
                Ok(lease) => assert!(lease.parts().len() <= pool.slots(), "{parts} parts"),
                Err(RedeemError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("{parts} parts: {other}"),
            }
            look(&pool);
            free_by_hand(&scene, &pool, &raw);
        }
    }
    println!("{refused} of 15 cycles refused, the others were as long as their ticket said");
    drop(consumer);

    let fresh = slots(&scene, "fresh", 8, 1);
    let (raw, consumer) = (RawPool::of(fresh.name()).unwrap(), fresh.consumer().unwrap());
    let mut refused = 0;
    for value in VALUES.into_iter().chain([link(7, 0), link(8, 1), link(1 << 24, 1)]) {
        let ticket = batch(&fresh);
        let place = raw.slot(ticket.index as usize, NEXT);
        let before = place.swap(value, SeqCst);
        match consumer.redeem_batch(&ticket) {
            Err(RedeemError::Damaged { .. }) => refused += 1,
            other => panic!("link {value:#x}: {other:?}"),
        }
        look(&fresh);
        place.store(before, SeqCst);
        free_by_hand(&scene, &fresh, &raw);
    }
    println!("{refused} hostile links refused");
}

#[test]
fn hostile_lanes_grant_nothing_twice() {
    let scene = Scene::new("lanes");
    let pool = slots(&scene, "pool", 4, 1);
    let (raw, consumer) = (raw(&pool), pool.consumer().unwrap());
    for value in VALUES {
        let ticket = send(&pool, 100);
        raw.slot(ticket.index as usize, LANES).store(value, SeqCst);
        if let Ok(lease) = consumer.redeem(&ticket) {
            assert_eq!(lease.to_vec().len(), 100);
        }
        look(&pool);
        for lane in [0xFF, 0xFFFF, 0xFF00, 0] {
            raw.slot(ticket.index as usize, LANES).store(ticket.generation << 16 | lane, SeqCst);
            let _ = consumer.redeem(&ticket);
            look(&pool);
        }
        // What no consumer will ever release is given back by revoking it, or stays.
        let _ = pool.revoke(&ticket);
        raw.slot(ticket.index as usize, LANES).store(0, SeqCst);
        let state = raw.slot(ticket.index as usize, STATE).load(SeqCst);
        raw.slot(ticket.index as usize, STATE).store(state & !0xFFFF, SeqCst);
        send_and_die(&scene, &pool);
    }
    let all: Vec<Slot> =
        std::iter::from_fn(|| pool.lend(100, Wait::Try, Policy::Fail).ok()).collect();
    let mut indices: Vec<usize> = all.iter().map(Slot::index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), all.len(), "each slot once");
}

/// Every word of a part takes every value, while others look at it.
fn every_word_of(part: Part) {
    let scene = Scene::new("every word");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let raw = raw(&pool);
        let range = raw.part(part);
        if range.is_empty() {
            continue;
        }
        let step = (range.len() / 8 / 48).max(1);
        let mut written = 0;
        for at in range.step_by(8 * step) {
            let word = raw.control(at);
            let before = word.load(SeqCst);
            for value in VALUES {
                word.store(value, SeqCst);
                look(&pool);
                written += 1;
            }
            word.store(before, SeqCst);
        }
        println!("{part:?} of {}: {written} hostile words", pool.name());
    }
}

#[test]
fn in_the_counters() {
    every_word_of(Part::Counters);
}

#[test]
fn in_the_hints() {
    every_word_of(Part::Hints);
}

#[test]
fn in_the_audience() {
    every_word_of(Part::Audience);
}

#[test]
fn in_the_granules() {
    every_word_of(Part::Granules);
}

#[test]
fn in_the_slots() {
    every_word_of(Part::Slots);
}

#[test]
fn a_seat_of_a_member_that_cannot_be() {
    let scene = Scene::new("seats");
    let pool = slots(&scene, "pool", 4, 1);
    let raw = raw(&pool);
    let seats = raw.part(Part::Seats);
    for member in [255, 256, 4095] {
        for phase in 0..16 {
            let word = raw.control(seats.start + 64);
            word.store(7 << 16 | phase << 12 | member, SeqCst);
            look(&pool);
            let _ = pool.consumer_at(1).map(drop);
            let mut peer = crate::rig::opened(&scene, &pool);
            if phase == 1 {
                assert_eq!(refused_as(&mut peer, "pool join 1"), "Taken");
            }
            peer.ask("pool join 2").unwrap();
            word.store(0, SeqCst);
        }
    }
    // A live consumer whose seat word was overwritten does no harm to the next one on it.
    let mut robbed = seated(&scene, &pool);
    raw.control(seats.start).store(9 << 16, SeqCst);
    let next = pool.consumer_at(0).unwrap();
    let ticket = send(&pool, 100);
    robbed.ask("pool leave").unwrap();
    assert!(next.redeem(&ticket).is_ok(), "the one who left had another incarnation");
}

#[test]
fn members_that_are_not_there() {
    let scene = Scene::new("members");
    let pool = slots(&scene, "pool", 4, 1);
    let raw = raw(&pool);
    let members = raw.part(Part::Members);
    // All entries say that somebody lives: nobody does, so they are reaped, and one can join.
    for at in members.clone().step_by(64).skip(1) {
        for word in 0..8 {
            raw.control(at + word * 8).store(!0xFE, SeqCst);
        }
    }
    let joined = Pool::open(pool.name()).unwrap();
    assert!(joined.lend(100, Wait::Try, Policy::Fail).is_ok());
    for value in VALUES {
        for at in members.clone().step_by(64) {
            raw.control(at).store(value, SeqCst);
        }
        look(&pool);
        let _ = Pool::open(pool.name()).map(|pool| look(&pool));
        let _ = Consumer::open(pool.name());
    }
}

#[test]
fn a_line_of_those_who_never_were() {
    let scene = Scene::new("line");
    let pool = slots(&scene, "pool", 2, 1);
    let raw = raw(&pool);
    let line = raw.part(Part::Line);
    let in_line = raw.part(Part::Counters).start + 256;
    // All 128 cells are taken, by members that exist and by others, with every number there is.
    for (at, cell) in line.clone().step_by(64).enumerate() {
        let number = VALUES[at % VALUES.len()];
        raw.control(cell).store((number << 30) | ((at as u64 & 0x3FF) + 1), SeqCst);
    }
    for word in 0..2 {
        raw.control(in_line + 8 * word).store(u64::MAX, SeqCst);
    }
    match pool.lend(100, Wait::from(Duration::from_millis(300)), Policy::Block) {
        Ok(_) => println!("served past 128 who never were"),
        Err(error) => assert!(matches!(error, LendError::Timeout { .. }), "{error}"),
    }
    look(&pool);
    for cell in line.step_by(64) {
        raw.control(cell).store(0, SeqCst);
    }
    assert!(pool.lend(100, Wait::Try, Policy::Fail).is_ok());
}

#[test]
fn a_place_that_was_taken_and_never_announced_is_given_back() {
    let scene = Scene::new("unannounced");
    let pool = slots(&scene, "pool", 1, 1);
    let raw = raw(&pool);
    let mut dead = crate::rig::opened(&scene, &pool);
    let member = 1;
    dead.ask("pool lend 100 0 block").unwrap();
    // As it is when a process is killed between the two words with which it enters the line.
    for (number, cell) in raw.part(Part::Line).step_by(64).enumerate() {
        raw.control(cell).store(((number as u64) << 30) | (member + 1), SeqCst);
    }
    dead.kill();
    pool.reap();
    let left = raw.part(Part::Line).step_by(64).filter(|at| raw.control(*at).load(SeqCst) != 0);
    assert_eq!(left.count(), 0, "places in the line that nobody will ever leave");
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let scene = Scene::new("sizes");
    let pool = slots(&scene, "pool", 4, 1);
    for bytes in [0, 2049, usize::MAX, usize::MAX / 2, isize::MAX as usize] {
        assert!(pool.lend(bytes, Wait::Try, Policy::Block).is_err());
        assert!(pool.request(bytes).is_err());
        assert!(pool.lend_many(&[bytes; 2], Wait::Try, Policy::Block).is_err());
        assert!(pool.lend_many(&[bytes; 5], Wait::Try, Policy::Block).is_err());
    }
    assert!(pool.lend_many(&[], Wait::Try, Policy::Block).is_err());
    assert_eq!(pool.stats().free, 4);
    assert!(PoolConfig::slots(usize::MAX, usize::MAX).is_err());
}
