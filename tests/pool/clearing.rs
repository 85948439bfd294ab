//! What a killed consumer had is given back soon, and only that.

use crate::rig::{assert_sound, chunks, opened, refused_as, seated, slots, until};
use shm_pool::{Policy, Pool, Wait};
use shm_tests::{Peer, Scene};
use std::time::{Duration, Instant};

/// Two consumers; the first has redeemed `held` publications and waits for `pending` more, of which the
/// other has redeemed all.
fn two_readers(scene: &Scene, pool: &Pool, held: usize, pending: usize) -> (Peer, Peer) {
    let (mut dying, mut living) = (seated(scene, pool), seated(scene, pool));
    let mut producer = opened(scene, pool);
    for at in 0..held + pending {
        let ticket = producer.ask("pool send 1000 all").unwrap();
        living.ask(&format!("pool redeem {ticket}")).unwrap();
        if at < held {
            dying.ask(&format!("pool redeem {ticket}")).unwrap();
        }
    }
    (dying, living)
}

fn seat_waits(pool: &Pool, seat: usize) -> usize {
    pool.fsck().slots.iter().filter(|slot| slot.waiting_for & 1 << seat != 0).count()
}

#[test]
fn by_a_recycler_while_nobody_lends() {
    let scene = Scene::new("recycler");
    for pool in [slots(&scene, "slots", 8, 2), chunks(&scene, "chunks", 2)] {
        let recycler = pool.recycler().unwrap();
        let (mut dying, mut living) = two_readers(&scene, &pool, 3, 2);
        assert_eq!((seat_waits(&pool, 0), seat_waits(&pool, 1)), (5, 5));
        let begun = Instant::now();
        dying.kill();
        until("the flags of the dead are cleared", || seat_waits(&pool, 0) == 0);
        println!("recycler: flags of a killed consumer cleared after {:.1?}", begun.elapsed());
        assert_eq!(seat_waits(&pool, 1), 5, "only its own");
        assert_eq!(living.ask("pool verify").unwrap(), "5");
        living.ask("pool release").unwrap();
        until("all is free", || pool.stats().free == pool.slots());
        assert_sound(&pool, "after the recycler");
        drop(recycler);
    }
}

#[test]
fn by_a_producer_that_is_blocked() {
    let scene = Scene::new("blocked");
    for round in 0..5 {
        let pool = slots(&scene, &format!("pool-{round}"), 4, 1);
        let mut dying = seated(&scene, &pool);
        let mut producer = opened(&scene, &pool);
        for _ in 0..4 {
            let ticket = producer.ask("pool send 504 all").unwrap();
            dying.ask(&format!("pool redeem {ticket}")).unwrap();
        }
        producer.send("pool lend 500 60000 block");
        producer.await_parked();
        let begun = Instant::now();
        dying.kill();
        producer.receive().unwrap();
        println!("blocked producer: served {:.1?} after the consumer was killed", begun.elapsed());
        producer.ask("pool abort").unwrap();
        assert_eq!(pool.stats().free, 4);
        assert_sound(&pool, "after it was served");
    }
}

#[test]
fn by_whoever_is_refused() {
    let scene = Scene::new("refused");
    let pool = slots(&scene, "pool", 4, 1);
    let (mut dying, mut producer) = (seated(&scene, &pool), opened(&scene, &pool));
    for _ in 0..4 {
        producer.ask("pool send 504 all").unwrap();
    }
    assert_eq!(refused_as(&mut producer, "pool lend 500 0 fail"), "Full");
    dying.kill();
    until("a place without waiting", || pool.lend(500, Wait::Try, Policy::Fail).is_ok());
}

#[test]
fn a_zombie_holds_nothing() {
    let scene = Scene::new("zombie");
    let pool = slots(&scene, "pool", 4, 2);
    let (mut dying, mut living) = two_readers(&scene, &pool, 2, 1);
    dying.ask(&format!("pool open {}", pool.name())).unwrap();
    dying.ask("pool lend 100 0 block").unwrap();
    dying.kill_unreaped();
    let reaped = pool.reap();
    assert_eq!((reaped.consumers, reaped.slots), (1, 1), "its seat, and what it was filling");
    living.ask("pool release").unwrap();
    assert_eq!(pool.stats().free, 4);
    assert_sound(&pool, "beside a zombie");
}

#[test]
fn the_seat_of_the_dead_is_for_the_next() {
    let scene = Scene::new("next");
    let pool = slots(&scene, "pool", 4, 2);
    let (mut dying, mut living) = two_readers(&scene, &pool, 1, 2);
    dying.kill();
    let mut next = opened(&scene, &pool);
    assert_eq!(next.ask("pool join 0").unwrap(), "0");
    assert_eq!(seat_waits(&pool, 0), 0, "nothing of the dead waits for the next");
    assert_eq!(next.ask("pool drain").unwrap(), "0");
    living.ask("pool release").unwrap();
    let ticket = opened(&scene, &pool).ask("pool send 704 all").unwrap();
    for reader in [&mut next, &mut living] {
        reader.ask(&format!("pool redeem {ticket}")).unwrap();
        reader.ask("pool release").unwrap();
    }
    assert_eq!(pool.stats().free, 4);
}

#[test]
fn many_die_at_once() {
    let scene = Scene::new("many");
    let pool = slots(&scene, "pool", 16, 8);
    let mut readers: Vec<Peer> = (0..8).map(|_| seated(&scene, &pool)).collect();
    let mut producer = opened(&scene, &pool);
    for _ in 0..16 {
        let ticket = producer.ask("pool send 304 all").unwrap();
        for reader in &mut readers {
            reader.ask(&format!("pool redeem {ticket}")).unwrap();
        }
    }
    let recycler = pool.recycler().unwrap();
    let begun = Instant::now();
    for reader in &readers[..7] {
        reader.signal(rustix::process::Signal::KILL);
    }
    until("seven are cleared", || (0..7).all(|seat| seat_waits(&pool, seat) == 0));
    println!("seven consumers killed at once: cleared after {:.1?}", begun.elapsed());
    assert_eq!(seat_waits(&pool, 7), 16);
    assert_eq!(readers[7].ask("pool verify").unwrap(), "16");
    readers[7].ask("pool release").unwrap();
    until("all is free", || pool.stats().free == 16);
    drop(recycler);
    std::thread::sleep(Duration::from_millis(1));
    assert_sound(&pool, "after seven deaths");
}
