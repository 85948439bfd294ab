//! Late, duplicate and foreign acknowledgements free nothing.

use crate::rig::{assert_sound, chunks, in_state, opened, refused_as, seated, slots};
use shm_pool::{Audience, Policy, Pool, SlotState, Ticket, Wait};
use shm_tests::Scene;
use shm_tests::pool::{ticket_of, ticket_word};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_ticket_is_good_once() {
    let scene = Scene::new("once");
    for pool in [slots(&scene, "slots", 2, 2), chunks(&scene, "chunks", 2)] {
        let (mut fast, mut slow) = (seated(&scene, &pool), seated(&scene, &pool));
        let mut producer = opened(&scene, &pool);
        let ticket = producer.ask("pool send 904 all").unwrap();
        fast.ask(&format!("pool redeem {ticket}")).unwrap();
        assert_eq!(refused_as(&mut fast, &format!("pool redeem {ticket}")), "AlreadyRedeemed");
        fast.ask("pool release").unwrap();
        for _ in 0..3 {
            assert_eq!(refused_as(&mut fast, &format!("pool redeem {ticket}")), "NotAddressed");
        }
        // The other has not had it yet, whatever the first one tries.
        slow.ask(&format!("pool redeem {ticket}")).unwrap();
        slow.ask("pool release").unwrap();
        for _ in 0..3 {
            assert_eq!(refused_as(&mut slow, &format!("pool redeem {ticket}")), "Stale");
        }
        assert_eq!(pool.stats().free, pool.slots());
        assert!(pool.stats().stale >= 3);

        // The next tenant of the slot is not the old ticket's.
        let next = producer.ask("pool send 904 all").unwrap();
        for peer in [&mut fast, &mut slow] {
            assert_eq!(refused_as(peer, &format!("pool redeem {ticket}")), "Stale");
            peer.ask(&format!("pool redeem {next}")).unwrap();
            assert_eq!(refused_as(peer, &format!("pool redeem {ticket}")), "Stale");
            assert_eq!(peer.ask("pool verify").unwrap(), "1");
        }
        fast.ask("pool release").unwrap();
        assert_eq!(in_state(&pool, SlotState::Shared), 1);
        slow.ask("pool release").unwrap();
        assert_sound(&pool, "after replays");
    }
}

#[test]
fn a_flood_of_old_tickets_frees_nothing() {
    let scene = Scene::new("flood");
    let pool = slots(&scene, "pool", 4, 1);
    let mut reader = seated(&scene, &pool);
    let mut producer = opened(&scene, &pool);
    let mut old = Vec::new();
    for _ in 0..20 {
        let ticket = producer.ask("pool send 64 all").unwrap();
        reader.ask(&format!("pool redeem {ticket}")).unwrap();
        reader.ask("pool release").unwrap();
        old.push(ticket);
    }
    let held: Vec<String> = (0..4).map(|_| producer.ask("pool send 64 all").unwrap()).collect();
    for ticket in &held {
        reader.ask(&format!("pool redeem {ticket}")).unwrap();
    }
    for ticket in &old {
        assert_eq!(refused_as(&mut reader, &format!("pool redeem {ticket}")), "Stale");
        assert_eq!(refused_as(&mut producer, &format!("pool revoke {ticket}")), "Ticket");
    }
    assert_eq!(refused_as(&mut producer, "pool lend 64 0 fail"), "Full");
    assert_eq!(reader.ask("pool verify").unwrap(), "4");
    println!("{} old tickets were replayed, 4 leases stayed as they were", old.len());
}

#[test]
fn tickets_of_other_pools_are_foreign() {
    let scene = Scene::new("foreign");
    let name = scene.name("pool");
    let (here, there) = (slots(&scene, "pool", 4, 1), slots(&scene, "other", 4, 1));
    let (mut reader, mut producer) = (seated(&scene, &here), opened(&scene, &there));
    let foreign = producer.ask("pool send 104 all").unwrap();
    let own = opened(&scene, &here).ask("pool send 104 all").unwrap();
    // Same slot, same generation, same everything but the pool.
    let (left, right) = (ticket_of(&own).unwrap(), ticket_of(&foreign).unwrap());
    assert_eq!((left.index, left.generation), (right.index, right.generation));
    for command in ["redeem", "redeem-batch"] {
        assert_eq!(refused_as(&mut reader, &format!("pool {command} {foreign}")), "Foreign");
    }
    reader.ask(&format!("pool redeem {own}")).unwrap();
    assert_eq!(in_state(&there, SlotState::Shared), 1);

    // An earlier pool of the same name is another pool.
    reader.ask("pool release").unwrap();
    drop(here);
    reader.kill();
    let again = slots(&scene, "pool", 4, 1);
    assert_eq!(again.name(), name);
    let mut reader = seated(&scene, &again);
    let now = opened(&scene, &again).ask("pool send 104 all").unwrap();
    assert_eq!(refused_as(&mut reader, &format!("pool redeem {own}")), "Foreign");
    reader.ask(&format!("pool redeem {now}")).unwrap();
    assert_eq!(reader.ask("pool verify").unwrap(), "1");
}

#[test]
fn made_up_tickets_are_refused() {
    let scene = Scene::new("made up");
    let pool = slots(&scene, "pool", 4, 2);
    let mut reader = seated(&scene, &pool);
    let good = opened(&scene, &pool).ask("pool send 104 1").unwrap();
    let good = ticket_of(&good).unwrap();
    let with = |change: fn(&mut Ticket)| {
        let mut ticket = good;
        change(&mut ticket);
        ticket_word(&ticket)
    };
    for (ticket, kind) in [
        (with(|ticket| ticket.index = 4), "NoSlot"),
        (with(|ticket| ticket.index = u32::MAX), "NoSlot"),
        (with(|ticket| ticket.index = 3), "Stale"),
        (with(|ticket| ticket.generation += 1), "Stale"),
        (with(|ticket| ticket.generation = 0), "Stale"),
        (with(|ticket| ticket.generation = u64::MAX), "Stale"),
        (with(|ticket| ticket.generation |= 1 << 48), "Stale"),
        (with(|ticket| ticket.instance[15] ^= 1), "Foreign"),
    ] {
        assert_eq!(refused_as(&mut reader, &format!("pool redeem {ticket}")), kind, "{ticket}");
        assert_eq!(refused_as(&mut reader, &format!("pool revoke {ticket}")), "Ticket");
    }
    assert_eq!(refused_as(&mut reader, "pool redeem 0011"), "TicketError");
    // The length is the record's, not the ticket's.
    let long = with(|ticket| ticket.byte_len = u64::MAX);
    assert!(reader.ask(&format!("pool redeem {long}")).unwrap().ends_with(" 104"));
    // Two consumers are expected; it was for the first only.
    let mut other = seated(&scene, &pool);
    let good = ticket_word(&good);
    assert_eq!(refused_as(&mut other, &format!("pool redeem {good}")), "NotAddressed");
    reader.ask("pool release").unwrap();
    assert_eq!(pool.stats().free, 4);
}

#[test]
fn a_forked_child_acknowledges_nothing() {
    let scene = Scene::new("forked");
    let pool = slots(&scene, "pool", 4, 1);
    let mut parent = seated(&scene, &pool);
    let mut producer = opened(&scene, &pool);
    let tickets: Vec<String> = (0..3).map(|_| producer.ask("pool send 200 all").unwrap()).collect();
    parent.ask(&format!("pool redeem {}", tickets[0])).unwrap();
    parent.ask("fork").unwrap();
    // The child holds copies of the parent's seat and lease.
    assert_eq!(refused_as(&mut parent, &format!("pool redeem {}", tickets[1])), "Forked");
    assert_eq!(parent.ask("pool verify").unwrap(), "1", "it may look");
    parent.ask("pool release").unwrap();
    parent.ask("pool leave").unwrap();
    assert_eq!(parent.ask("exit").unwrap(), "ended", "now the parent talks again");
    assert_eq!(in_state(&pool, SlotState::Shared), 3, "the child freed nothing");
    assert_eq!(pool.stats().consumers, 1);
    assert_eq!(parent.ask("pool verify").unwrap(), "1");
    parent.ask(&format!("pool redeem {}", tickets[1])).unwrap();
    parent.ask("pool release").unwrap();
    assert_eq!(in_state(&pool, SlotState::Shared), 1);
}

#[test]
fn one_consumer_in_two_processes_never_frees_for_the_other() {
    let scene = Scene::new("one of two");
    let pool = slots(&scene, "pool", 2, 2);
    let (mut first, mut second) = (seated(&scene, &pool), seated(&scene, &pool));
    let ticket = opened(&scene, &pool).ask("pool send 2000 all").unwrap();
    second.ask(&format!("pool redeem {ticket}")).unwrap();
    for _ in 0..10 {
        let _ = first.ask(&format!("pool redeem {ticket}"));
        first.ask("pool release").unwrap();
    }
    assert_eq!(in_state(&pool, SlotState::Shared), 1, "the second one has not released");
    assert_eq!(second.ask("pool verify").unwrap(), "1");
    second.ask("pool release").unwrap();
    assert_eq!(pool.stats().free, 2);
}

/// Two threads of one consumer redeem the same tickets at the same moments, and release what they get.
fn redeemed_by_two_threads(audience: Audience, rounds: u64) {
    let scene = Scene::new("two threads");
    let pool: Pool = slots(&scene, "pool", 1, 1);
    let consumer = pool.consumer().unwrap();
    let (turn, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let ticket = Mutex::new(None);
    let (mut own, mut twice) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let helper = scope.spawn(|| {
            let mut got = Vec::new();
            for round in 1..=rounds {
                spin_until(&turn, round);
                let ticket: Ticket = ticket.lock().unwrap().unwrap();
                done.fetch_add(1, Ordering::SeqCst);
                spin_until(&done, 4 * round - 2);
                // At another moment of the other one's lease each time.
                (0..round % 64).for_each(|_| core::hint::spin_loop());
                got.push(consumer.redeem(&ticket).is_ok());
                done.fetch_add(1, Ordering::SeqCst);
            }
            got
        });
        for round in 1..=rounds {
            let slot = pool.lend(64, Wait::Try, Policy::Fail).unwrap();
            let issued = slot.publish(audience).unwrap();
            *ticket.lock().unwrap() = Some(issued);
            turn.store(round, Ordering::SeqCst);
            spin_until(&done, 4 * round - 3);
            done.fetch_add(1, Ordering::SeqCst);
            own.push(consumer.redeem(&issued).is_ok());
            done.fetch_add(1, Ordering::SeqCst);
            spin_until(&done, 4 * round);
        }
        for (own, theirs) in own.iter().zip(helper.join().unwrap()) {
            assert!(own | theirs, "one of them gets it");
            twice += usize::from(own & theirs);
        }
    });
    println!("{audience:?}: {rounds} tickets, {twice} redeemed twice");
    assert_eq!(twice, 0, "tickets for {audience:?} that two threads of one consumer both redeemed");
    assert_eq!(pool.stats().free, 1);
}

fn spin_until(word: &AtomicU64, least: u64) {
    let mut spins = 0_u64;
    while word.load(Ordering::SeqCst) < least {
        spins += 1;
        match spins.is_multiple_of(10_000) {
            true => std::thread::yield_now(),
            false => core::hint::spin_loop(),
        }
    }
}

#[test]
fn two_threads_of_a_consumer_redeem_what_is_for_everyone_once() {
    redeemed_by_two_threads(Audience::Everyone, 100_000);
}

#[test]
fn two_threads_of_a_consumer_redeem_what_is_for_anybody_once() {
    redeemed_by_two_threads(Audience::Any, 100_000);
}
