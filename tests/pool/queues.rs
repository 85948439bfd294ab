//! A queue between processes of which some are killed or stopped: in order, nothing twice, and nobody
//! waits for the dead.

use crate::rig::{SIGKILL, assert_sound, opened, refused_as, slots};
use rustix::process::Signal;
use shm_pool::fault::POINTS;
use shm_pool::{Mode, Pool, Queue};
use shm_tests::pool::QueueStage;
use shm_tests::{Peer, Scene};
use std::time::Duration;

fn killed_at_every_point(mode: Mode) {
    let scene = Scene::new("queue points");
    let mut stage = QueueStage::new(&scene, mode, "stage").unwrap();
    let mut played = 0;
    for &point in POINTS.iter().filter(|point| point.starts_with("queue.")) {
        if mode == Mode::Broadcast && point == "queue.claimed" {
            continue;
        }
        for nth in [1, 2, 9] {
            let place = format!("{mode:?}, {point}, passing {nth}");
            let puts = point == "queue.put";
            if mode == Mode::Broadcast && !puts {
                continue;
            }
            let mut victim = stage.peer(&scene, !puts).unwrap();
            stage.begin().unwrap();
            victim.ask(&format!("arm {point} kill {nth}")).unwrap();
            victim.send(if puts { "pool queue-put-all" } else { "pool queue-get-all" });
            assert_eq!(victim.ended_by(), SIGKILL, "{place}: it never passed the point");
            std::thread::sleep(Duration::from_millis(5));
            stage.rest().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            stage.settle().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            played += 1;
        }
    }
    println!("{mode:?}: {played} killed at named points, {} tickets verified", stage.verified());
    assert!(played > 0 && stage.verified() > 0);
}

#[test]
fn of_work() {
    killed_at_every_point(Mode::Work);
}

#[test]
fn of_broadcasts() {
    killed_at_every_point(Mode::Broadcast);
}

#[test]
fn killed_at_any_moment() {
    let (scene, mut rng) = (Scene::new("queue moments"), fastrand::Rng::new());
    for mode in [Mode::Work, Mode::Broadcast] {
        let mut stage = QueueStage::new(&scene, mode, &format!("{mode:?}")).unwrap();
        for round in 0..20 {
            let mut victims =
                [stage.peer(&scene, true).unwrap(), stage.peer(&scene, false).unwrap()];
            stage.begin().unwrap();
            victims[0].start("pool queue-get-all").unwrap();
            victims[1].start("pool queue-put-all").unwrap();
            for victim in &mut victims {
                std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
                victim.kill();
            }
            stage.rest().unwrap_or_else(|failure| panic!("{mode:?} {round}: {failure}"));
            stage.settle().unwrap_or_else(|failure| panic!("{mode:?} {round}: {failure}"));
        }
        println!("{mode:?}: 40 killed at random, {} tickets verified", stage.verified());
    }
}

/// A pool with a queue, and a process that has both open.
fn rig(scene: &Scene, mode: Mode, maxsize: usize) -> (Pool, Queue, impl Fn(bool) -> Peer) {
    let pool = slots(scene, "pool", 16, 2);
    let queue = Queue::create("queue", &pool, maxsize, mode).unwrap();
    let (scene, name) = (scene, pool.clone());
    let peer = move |seat: bool| {
        let mut peer = opened(scene, &name);
        peer.ask("pool queue-open queue").unwrap();
        if seat {
            peer.ask("pool join").unwrap();
        }
        peer
    };
    (pool, queue, peer)
}

#[test]
fn a_blocked_getter_and_a_blocked_putter_are_woken_by_other_processes() {
    let scene = Scene::new("queue waits");
    let (pool, queue, peer) = rig(&scene, Mode::Work, 2);
    let (mut getter, mut putter) = (peer(true), peer(false));
    getter.send("pool queue-get 60000");
    getter.await_parked();
    putter.ask("pool queue-put 64 0").unwrap();
    assert_eq!(getter.receive().unwrap(), format!("{} 1", putter.pid()));
    for _ in 0..2 {
        putter.ask("pool queue-put 64 0").unwrap();
    }
    assert_eq!(queue.len(), 2);
    putter.send("pool queue-put 64 60000");
    putter.await_parked();
    assert_eq!(getter.ask("pool queue-get 0").unwrap(), format!("{} 2", putter.pid()));
    putter.receive().unwrap();
    assert_eq!(getter.ask("pool queue-get-rest").unwrap(), "2");
    assert_eq!(pool.stats().free, 16);
}

#[test]
fn the_dead_among_those_who_wait_swallow_nothing() {
    let scene = Scene::new("dead waiters");
    let (pool, _queue, peer) = rig(&scene, Mode::Work, 4);
    let mut getters: Vec<Peer> = (0..4).map(|_| peer(true)).collect();
    for getter in &mut getters {
        getter.send("pool queue-get 60000");
        getter.await_parked();
    }
    getters[0].kill();
    getters[1].signal(Signal::STOP);
    getters[1].await_stop();
    let mut putter = peer(false);
    for _ in 0..2 {
        putter.ask("pool queue-put 64 1000").unwrap();
    }
    for getter in &mut getters[2..] {
        getter.receive().unwrap();
    }
    putter.ask("pool queue-put 64 1000").unwrap();
    getters[1].resume();
    getters[1].receive().unwrap();
    drop(getters);
    pool.reap();
    assert_eq!(pool.stats().free, 16);
    assert_sound(&pool, "after the waits");
}

#[test]
fn a_stopped_listener_is_waited_for_and_a_dead_one_is_not() {
    let scene = Scene::new("stopped listener");
    let (pool, _queue, peer) = rig(&scene, Mode::Broadcast, 4);
    let (mut living, mut stopped, mut putter) = (peer(true), peer(true), peer(false));
    stopped.signal(Signal::STOP);
    stopped.await_stop();
    for _ in 0..4 {
        putter.ask("pool queue-put 64 1000").unwrap();
    }
    assert_eq!(living.ask("pool queue-get-rest").unwrap(), "4");
    // Nothing that it has not heard is taken from it.
    assert_eq!(refused_as(&mut putter, "pool queue-put 64 100"), "Timeout");
    stopped.resume();
    assert_eq!(stopped.ask("pool queue-get-rest").unwrap(), "4");
    for _ in 0..3 {
        putter.ask("pool queue-put 64 1000").unwrap();
    }
    stopped.kill();
    for _ in 0..4 {
        putter.ask("pool queue-put 64 20000").unwrap();
        living.ask("pool queue-get 20000").unwrap();
    }
    living.ask("pool queue-get-rest").unwrap();
    living.ask("pool drain").unwrap();
    pool.reap();
    assert_eq!(pool.stats().free, 16, "{:?}", pool.fsck());
}

#[test]
fn a_queue_is_created_once_and_removed_for_all() {
    let scene = Scene::new("queue names");
    let pool = slots(&scene, "pool", 16, 2);
    let mut creators: Vec<Peer> = (0..4).map(|_| opened(&scene, &pool)).collect();
    for round in 0..10 {
        for creator in &mut creators {
            creator.send(&format!("pool queue-create queue-{round} 8 work"));
        }
        let mut made = 0;
        for creator in &mut creators {
            match creator.receive() {
                Ok(_) => made += 1,
                Err(failure) => {
                    assert!(failure.to_string().contains("'Exists "), "{failure}");
                    creator.ask(&format!("pool queue-open queue-{round}")).unwrap();
                }
            }
        }
        assert_eq!(made, 1, "round {round}");
        let (waiter, others) = creators.split_first_mut().unwrap();
        waiter.ask("pool join").unwrap();
        waiter.send("pool queue-get 60000");
        waiter.await_parked();
        others[0].ask("pool queue-remove").unwrap();
        assert!(waiter.receive().unwrap_err().to_string().contains("'Removed "));
        waiter.ask("pool leave").unwrap();
        assert_eq!(refused_as(&mut others[1], "pool queue-put 64 0"), "Removed");
        pool.reap();
        others[1].ask("pool join").unwrap();
        others[1].ask("pool drain").unwrap();
        others[1].ask("pool leave").unwrap();
        assert_eq!(Queue::list(&pool).len(), 0);
    }
    println!("10 races of 4 creators: one queue each, removed for all");
}
