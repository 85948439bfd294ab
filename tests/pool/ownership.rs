//! Who owns a pool, who may take its name away, and what becomes of it without an owner.

use crate::rig::{SIGKILL, assert_sound, opened, refused_as, slots};
use rustix::process::Signal;
use shm_pool::{CreateError, Pool, PoolConfig, RemoveError};
use shm_tests::{Peer, Scene};

fn config() -> PoolConfig {
    PoolConfig::slots(4, 512).unwrap()
}

/// A process that owns a pool of that name.
fn owning(scene: &Scene, name: &str) -> Peer {
    let mut owner = scene.peer();
    owner.ask(&format!("pool create {name} slots 4 512 1 1000")).unwrap();
    owner
}

#[test]
fn the_second_owner_is_refused_and_the_first_unharmed() {
    let scene = Scene::new("two owners");
    let name = scene.name("pool");
    let mut owner = owning(&scene, &name);
    let before = shm_core::stat(&name).unwrap();
    for _ in 0..3 {
        match Pool::create(&name, &config()).unwrap_err() {
            CreateError::AlreadyOwned { name: found, pid, since_wall_ns } => {
                assert_eq!((found, pid), (name.clone(), owner.pid()));
                assert!(since_wall_ns > 1_500_000_000_000_000_000, "since {since_wall_ns}");
            }
            other => panic!("{other}"),
        }
        let mut second = scene.peer();
        let refusal = second.refusal(&format!("pool create {name} slots 4 512 1 1000"));
        assert!(refusal.starts_with("AlreadyOwned "), "{refusal}");
        assert!(refusal.contains(&format!("process {} since", owner.pid())), "{refusal}");
    }
    assert!(
        matches!(shm_pool::remove(&name), Err(RemoveError::Owned { pid, .. }) if pid == owner.pid())
    );
    assert_eq!(shm_core::stat(&name).unwrap().path, before.path);
    owner.ask("pool join").unwrap();
    let ticket = owner.ask("pool send 104 all").unwrap();
    owner.ask(&format!("pool redeem {ticket}")).unwrap();

    // Stopped is not dead.
    owner.signal(Signal::STOP);
    owner.await_stop();
    assert!(matches!(Pool::create(&name, &config()), Err(CreateError::AlreadyOwned { .. })));
    assert!(matches!(shm_pool::remove(&name), Err(RemoveError::Owned { .. })));
    owner.resume();
    assert_eq!(owner.ask("pool verify").unwrap(), "1");
    owner.ask("pool release").unwrap();
    owner.ask("close").unwrap();
    drop(Pool::create(&name, &config()).unwrap());
}

#[test]
fn of_several_that_create_at_once_one_owns() {
    let scene = Scene::new("several creators");
    for round in 0..20 {
        let name = scene.name(&format!("pool-{round}"));
        // Every other round there is something to replace.
        if round % 2 == 1 {
            owning(&scene, &name).kill();
        }
        let mut creators: Vec<Peer> = (0..4).map(|_| scene.peer()).collect();
        for creator in &mut creators {
            creator.send(&format!("pool create {name} slots 4 512 1 1000"));
        }
        let mut owners = 0;
        for creator in &mut creators {
            match creator.receive() {
                Ok(_) => owners += 1,
                Err(failure) => {
                    let refusal = failure.to_string();
                    assert!(refusal.contains("'AlreadyOwned "), "round {round}: {refusal}");
                }
            }
        }
        assert_eq!(owners, 1, "round {round}");
        for creator in &mut creators {
            creator.ask("close").unwrap();
        }
    }
    println!("20 races of 4 creators: one owner each");
}

#[test]
fn a_creator_stopped_half_way_is_the_owner() {
    let scene = Scene::new("stopped creator");
    for point in ["create.drafted", "create.written", "create.published"] {
        let name = scene.name(point);
        let mut creator = scene.peer();
        creator.ask(&format!("arm {point} stop 1")).unwrap();
        creator.send(&format!("pool create {name} slots 4 512 1 1000"));
        creator.await_stop();
        if point == "create.published" {
            match Pool::create(&name, &config()) {
                Err(CreateError::AlreadyOwned { pid, .. }) => assert_eq!(pid, creator.pid()),
                other => panic!("{point}: {other:?}"),
            }
            assert!(matches!(shm_pool::remove(&name), Err(RemoveError::Owned { .. })), "{point}");
            creator.resume();
            creator.receive().unwrap();
            creator.ask("pool lend 100 0 block").unwrap();
        } else {
            // It has no name yet, so another one may have it; the late one is told.
            let pool = Pool::create(&name, &config()).unwrap();
            creator.resume();
            let late = creator.receive().unwrap_err().to_string();
            assert!(late.contains("'AlreadyOwned "), "{point}: {late}");
            assert!(pool.is_owner());
        }
        creator.ask("close").unwrap();
    }
}

#[test]
fn creators_killed_at_any_point_leave_nothing_in_the_way() {
    let scene = Scene::new("killed creators");
    for point in ["create.drafted", "create.written", "create.published"] {
        let name = scene.name(point);
        let mut creator = scene.peer();
        creator.ask(&format!("arm {point} kill 1")).unwrap();
        creator.send(&format!("pool create {name} slots 4 512 1 1000"));
        assert_eq!(creator.ended_by(), SIGKILL);
        let pool = Pool::create(&name, &config()).unwrap();
        assert_eq!(pool.stats().free, 4, "{point}");
        drop(pool);
        scene.sweep_drafts();
    }
}

#[test]
fn a_pool_without_owner_is_drained_and_removed() {
    let scene = Scene::new("orphan");
    let name = scene.name("pool");
    let mut owner = owning(&scene, &name);
    let mut reader = scene.peer();
    reader.ask(&format!("pool consume {name}")).unwrap();
    let tickets: Vec<String> = (0..3).map(|_| owner.ask("pool send 304 all").unwrap()).collect();
    owner.ask("pool lend 300 0 block").unwrap();
    owner.kill();

    let pool = Pool::open(&name).unwrap();
    let info = pool.describe();
    assert_eq!((info.owner_pid, info.has_owner, info.is_retired), (owner.pid(), false, false));
    assert!(!pool.is_owner());
    let stats = pool.stats();
    assert_eq!((stats.shared, stats.filling), (3, 1));
    let problems = pool.fsck().problems;
    assert!(problems.len() == 1 && problems[0].contains("is dead"), "{problems:?}");
    assert!(matches!(
        Pool::create(&name, &config()),
        Err(CreateError::Orphaned { pid, .. }) if pid == owner.pid()
    ));
    assert_eq!(pool.reap().slots, 1);
    assert_sound(&pool, "without owner");

    for ticket in &tickets {
        reader.ask(&format!("pool redeem {ticket}")).unwrap();
    }
    shm_pool::remove(&name).unwrap();
    assert!(Pool::open(&name).is_err());
    // Those who are attached keep what they have, and get nothing more.
    assert_eq!(reader.ask("pool verify").unwrap(), "3");
    reader.ask("pool release").unwrap();
    assert!(pool.is_retired());
    assert_eq!(pool.stats().free, 4);
    assert_eq!(refused_as(&mut reader, "pool join"), "Wrong");
    drop(Pool::create(&name, &config()).unwrap());
}

#[test]
fn those_who_only_attach_never_unlink() {
    let scene = Scene::new("attached");
    let pool = slots(&scene, "pool", 4, 2);
    let path = shm_core::stat(pool.name()).unwrap().path;
    let mut peer = opened(&scene, &pool);
    assert!(peer.refusal("pool unlink").starts_with("Owned "));
    peer.ask("pool join").unwrap();
    peer.ask("pool lend 10 0 block").unwrap();
    peer.ask("close").unwrap();
    assert!(path.exists());
    for command in ["pool join", "pool lend 10 0 block"] {
        let mut peer = opened(&scene, &pool);
        peer.ask(command).unwrap();
        peer.kill();
        let mut peer = opened(&scene, &pool);
        peer.ask(command).unwrap();
        // An orderly end.
        peer.send("exit");
        assert_eq!(peer.ended_by(), None);
        assert!(path.exists(), "after '{command}'");
    }
    let attached = Pool::open(pool.name()).unwrap();
    assert!(!attached.is_owner() && pool.is_owner());
    drop(attached);
    assert!(path.exists());
    let clone = pool.clone();
    drop(pool);
    assert!(path.exists(), "the owner has another handle");
    drop(clone);
    assert!(!path.exists(), "the owner's last handle takes the name away");
}

#[test]
fn the_owners_end_wakes_and_refuses_those_who_wait() {
    let scene = Scene::new("retired");
    let name = scene.name("pool");
    let mut owner = owning(&scene, &name);
    let mut waiter = scene.peer();
    waiter.ask(&format!("pool open {name}")).unwrap();
    for _ in 0..4 {
        owner.ask("pool lend 500 0 block").unwrap();
    }
    waiter.send("pool lend 500 60000 block");
    waiter.await_parked();
    owner.ask("pool unlink").unwrap();
    let refusal = waiter.receive().unwrap_err().to_string();
    assert!(refusal.contains("'Retired "), "{refusal}");
    assert_eq!(refused_as(&mut waiter, "pool join"), "Retired");
    assert_eq!(refused_as(&mut waiter, "pool lend 1 0 block"), "Retired");
    // The name is free at once.
    drop(Pool::create(&name, &config()).unwrap());
}

#[test]
fn a_leftover_of_the_dead_is_replaced() {
    let scene = Scene::new("leftover");
    let name = scene.name("pool");
    let (mut owner, mut user) = (owning(&scene, &name), scene.peer());
    user.ask(&format!("pool open {name}")).unwrap();
    let first = Pool::open(&name).unwrap().instance();
    owner.kill();
    user.kill();
    let pool = Pool::create(&name, &config()).unwrap();
    assert!(pool.is_owner());
    assert_ne!(pool.instance(), first);
    assert_eq!(pool.stats().free, 4);
    // The system's own housekeeping takes such leftovers too.
    drop(pool);
    owning(&scene, &name).kill();
    assert_eq!(shm_core::gc(scene.prefix(), false).unwrap().removed, [name]);
}
