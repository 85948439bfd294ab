//! A stopped process is not a dead one: it is not robbed, and it hangs nobody.

use crate::rig::{assert_sound, chunks, in_state, opened, refused_as, seated, slots, until};
use rustix::process::Signal;
use shm_pool::{LendError, Policy, Pool, SlotState, Wait};
use shm_tests::pool::ticket_of;
use shm_tests::{Peer, Scene};
use std::time::{Duration, Instant};

fn stop(peer: &mut Peer) {
    peer.signal(Signal::STOP);
    peer.await_stop();
}

#[test]
fn a_stopped_consumer_is_never_robbed() {
    let scene = Scene::new("stopped consumer");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let mut reader = seated(&scene, &pool);
        let mut producer = opened(&scene, &pool);
        let mut tickets = Vec::new();
        for _ in 0..3 {
            tickets.push(producer.ask("pool send 2000 all").unwrap());
        }
        // Two are held, one is only waited for.
        reader.ask(&format!("pool redeem {}", tickets[0])).unwrap();
        reader.ask(&format!("pool redeem {}", tickets[1])).unwrap();
        stop(&mut reader);

        // Pressure of every kind.
        let before = pool.stats().free;
        let mut pressed = 0;
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            let mut all = Vec::new();
            while let Ok(mut slot) = pool.lend(2000, Wait::Try, Policy::Fail) {
                slot.bytes_mut().fill(0xEE);
                all.push(slot);
            }
            assert_eq!(all.len(), before, "what the stopped one has is not lent");
            pressed += all.len();
            let refused = pool.lend(2000, Wait::from(Duration::from_millis(5)), Policy::Block);
            assert!(matches!(refused, Err(LendError::Timeout { .. })));
            assert_eq!(pool.reap().consumers, 0);
        }
        println!("{pressed} slots were lent and overwritten beside a stopped consumer");
        let overdue = pool.overdue();
        assert_eq!(overdue.len(), 3, "{overdue:?}");
        assert!(overdue.iter().all(|late| late.waiting_for == 1), "{overdue:?}");
        assert_eq!(overdue.iter().filter(|late| late.held_by == 1).count(), 2);
        assert!(overdue.iter().all(|late| late.producer_pid == producer.pid()));
        assert!(overdue.windows(2).all(|pair| pair[0].held_for >= pair[1].held_for));

        // What is revoked from a holder waits for it in quarantine; what nobody holds is free.
        for ticket in &tickets[1..] {
            producer.ask(&format!("pool revoke {ticket}")).unwrap();
        }
        assert_eq!(in_state(&pool, SlotState::Quarantined), 1);
        assert_eq!(in_state(&pool, SlotState::Shared), 1);
        assert_eq!(pool.stats().free, before + 1);
        let granted = pool.lend(2000, Wait::Try, Policy::Fail).unwrap();
        assert_ne!(granted.index() as u32, ticket_of(&tickets[1]).unwrap().index);
        drop(granted);

        reader.resume();
        assert_eq!(reader.ask("pool verify").unwrap(), "2", "its bytes are as they were");
        assert_eq!(refused_as(&mut reader, &format!("pool redeem {}", tickets[2])), "Stale");
        reader.ask("pool release").unwrap();
        assert_eq!(pool.stats().free, pool.slots());
        assert_sound(&pool, "after it went on");
    }
}

#[test]
fn dropping_the_unread_takes_nothing_from_a_stopped_holder() {
    let scene = Scene::new("drop policy");
    let pool = slots(&scene, "pool", 4, 1);
    let (mut reader, mut producer) = (seated(&scene, &pool), opened(&scene, &pool));
    let mut tickets = Vec::new();
    for _ in 0..4 {
        tickets.push(producer.ask("pool send 2000 all").unwrap());
    }
    reader.ask(&format!("pool redeem {}", tickets[0])).unwrap();
    stop(&mut reader);
    for _ in 0..50 {
        producer.ask("pool lend 2000 1000 drop").unwrap();
        producer.ask("pool fill").unwrap();
        producer.ask("pool publish all").unwrap();
    }
    assert_eq!(pool.stats().dropped, 50);
    reader.resume();
    assert_eq!(reader.ask("pool verify").unwrap(), "1");
    for ticket in &tickets[1..] {
        assert_eq!(refused_as(&mut reader, &format!("pool redeem {ticket}")), "Stale");
    }
    reader.ask("pool release").unwrap();
    assert_eq!(reader.ask("pool drain").unwrap(), "3", "the newest three are there");
    assert_eq!(pool.stats().free, 4);
}

#[test]
fn a_producer_stopped_with_half_a_slot_hangs_nobody() {
    let scene = Scene::new("half filled");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let mut stopped = opened(&scene, &pool);
        stopped.ask("pool lend 2000 0 block").unwrap();
        stopped.ask("pool fill-half").unwrap();
        stop(&mut stopped);
        traffic_goes_on(&scene, &pool);
        let overdue = pool.overdue();
        assert_eq!(overdue.len(), 1, "{overdue:?}");
        assert_eq!(
            (overdue[0].state, overdue[0].producer_pid),
            (SlotState::Filling, stopped.pid())
        );
        assert_eq!(pool.reap().slots, 0, "a live producer keeps what it fills");
        stopped.resume();
        stopped.ask("pool fill").unwrap();
        stopped.ask("pool check").unwrap();
        let mut reader = seated(&scene, &pool);
        let ticket = stopped.ask("pool publish all").unwrap();
        reader.ask(&format!("pool redeem {ticket}")).unwrap();
    }
}

/// Others produce and consume for a while.
fn traffic_goes_on(scene: &Scene, pool: &Pool) {
    let (mut reader, mut producer) = (seated(scene, pool), opened(scene, pool));
    reader.start("pool consume-all").unwrap();
    producer.start("pool produce mixed").unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let published: u64 = producer.finish().unwrap().parse().unwrap();
    let verified: u64 = reader.finish().unwrap().parse().unwrap();
    assert!(published > 0 && verified > 0, "{published} published, {verified} verified");
    println!("beside a stopped process: {published} published, {verified} verified");
    reader.ask("pool drain").unwrap();
}

#[test]
fn stopped_at_any_point_it_hangs_nobody() {
    let scene = Scene::new("stopped at a point");
    for make in [slots_of_eight, chunk_pool] {
        let pool = make(&scene);
        for &point in shm_pool::fault::POINTS {
            println!("stopped at {point}");
            let role = shm_tests::rounds::role_at(point);
            let command = match role {
                Some(shm_tests::rounds::Role::Producer) => "pool produce mixed",
                Some(shm_tests::rounds::Role::Consumer) => "pool consume-all",
                _ => continue,
            };
            if point == "lend.granule" && !pool.describe().chunks {
                continue;
            }
            let (mut reader, mut producer) = (seated(&scene, &pool), opened(&scene, &pool));
            let mut stopped = seated(&scene, &pool);
            producer.start("pool produce mixed").unwrap();
            reader.start("pool consume-all").unwrap();
            stopped.ask(&format!("arm {point} stop 3")).unwrap();
            stopped.send(command);
            stopped.await_stop();
            // Those who live go on: what is for the stopped one stays, everything else moves.
            std::thread::sleep(Duration::from_millis(30));
            producer.finish().unwrap_or_else(|failure| panic!("{point}: {failure}"));
            reader.finish().unwrap_or_else(|failure| panic!("{point}: {failure}"));
            // Its own end, whenever it comes, is orderly.
            stopped.resume();
            stopped.receive().unwrap();
            std::thread::sleep(Duration::from_millis(5));
            stopped.finish().unwrap_or_else(|failure| panic!("{point}, resumed: {failure}"));
            for peer in [&mut stopped, &mut reader] {
                peer.ask("pool drain").unwrap_or_else(|failure| panic!("{point}: {failure}"));
            }
            drop((stopped, reader, producer));
            pool.reap();
            assert_eq!(pool.stats().free, pool.slots(), "{point}: {:?}", pool.stats());
            assert_sound(&pool, point);
        }
    }
}

fn slots_of_eight(scene: &Scene) -> Pool {
    slots(scene, "eight", 8, 1)
}

fn chunk_pool(scene: &Scene) -> Pool {
    chunks(scene, "chunks", 1)
}

#[test]
fn a_stopped_head_of_the_line_is_overtaken() {
    let scene = Scene::new("head of the line");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let bytes = if pool.describe().chunks { pool.capacity() / 4 } else { 2000 };
        let mut holder = opened(&scene, &pool);
        for _ in 0..4 {
            holder.ask(&format!("pool lend {bytes} 0 block")).unwrap();
        }
        let mut line: Vec<Peer> = (0..3).map(|_| opened(&scene, &pool)).collect();
        for waiter in &mut line {
            waiter.send(&format!("pool lend {bytes} 60000 block"));
            waiter.await_parked();
        }
        stop(&mut line[0]);
        let begun = Instant::now();
        holder.ask("pool abort").unwrap();
        for waiter in &mut line[1..] {
            waiter.receive().unwrap();
        }
        println!("those behind a stopped waiter were served after {:.1?}", begun.elapsed());
        // Nor does it keep others from trying without waiting.
        let waited =
            until("a lend without waiting", || pool.lend(bytes, Wait::Try, Policy::Fail).is_ok());
        println!("one who does not wait got a slot after {waited:.1?}");
        line[0].resume();
        line[0].receive().unwrap();
        for waiter in &mut line {
            waiter.ask("pool abort").unwrap();
        }
        assert_eq!(pool.stats().free, pool.slots());
        assert_sound(&pool, "after the line");
    }
}

#[test]
fn a_stopped_waiter_that_dies_leaves_the_line() {
    let scene = Scene::new("dies in line");
    let pool = slots(&scene, "pool", 1, 1);
    let mut holder = opened(&scene, &pool);
    holder.ask("pool lend 100 0 block").unwrap();
    let mut line: Vec<Peer> = (0..4).map(|_| opened(&scene, &pool)).collect();
    for waiter in &mut line {
        waiter.send("pool lend 100 60000 block");
        waiter.await_parked();
    }
    stop(&mut line[0]);
    stop(&mut line[1]);
    line[0].kill();
    line[2].kill();
    holder.ask("pool abort").unwrap();
    line[3].receive().unwrap();
    line[1].kill();
    line[3].ask("pool abort").unwrap();
    until("the line is empty", || pool.lend(100, Wait::Try, Policy::Fail).is_ok());
    assert_eq!(pool.stats().free, 1);
}

#[test]
fn a_stopped_waiter_for_a_large_chunk_keeps_nothing_for_itself() {
    let scene = Scene::new("large and stopped");
    let pool = chunks(&scene, "chunks", 1);
    let (mut holder, mut waiter) = (opened(&scene, &pool), opened(&scene, &pool));
    holder.ask(&format!("pool lend {} 0 block", pool.capacity() / 2)).unwrap();
    waiter.send(&format!("pool lend {} 60000 block", pool.capacity() * 3 / 4));
    waiter.await_parked();
    stop(&mut waiter);
    holder.ask("pool abort").unwrap();
    // All of the pool can be had by those who live, piece by piece.
    let mut all = Vec::new();
    let waited = until("sixty-four granules", || {
        let wait = Wait::from(Duration::from_millis(100));
        !(0..64).any(|_| pool.lend(4096, wait, Policy::Block).is_err())
    });
    while let Ok(slot) = pool.lend(4096, Wait::from(Duration::from_millis(500)), Policy::Block) {
        all.push(slot);
    }
    println!("{} of 64 granules were had beside a stopped waiter, after {waited:.1?}", all.len());
    assert_eq!(all.len(), 64);
    drop(all);
    waiter.resume();
    waiter.receive().unwrap();
    assert_sound(&pool, "after it went on");
}

#[test]
fn a_stopped_waiter_for_what_is_not_there_hangs_nobody() {
    let scene = Scene::new("huge and stopped");
    let pool = chunks(&scene, "chunks", 1);
    let _lasting = pool.lend(4096, Wait::Try, Policy::Fail).unwrap();
    let mut waiter = opened(&scene, &pool);
    waiter.send(&format!("pool lend {} 60000 block", pool.capacity()));
    waiter.await_parked();
    stop(&mut waiter);
    // All but one granule is free, and nobody who lives wants it but this one.
    let begun = Instant::now();
    let slot = pool.lend(4096, Wait::from(Duration::from_secs(10)), Policy::Block);
    println!("one granule of 63 free ones was had after {:.1?}", begun.elapsed());
    assert!(slot.is_ok(), "hung behind a stopped waiter: {}", slot.unwrap_err());
    drop(slot);
    waiter.kill();
    pool.reap();
}
