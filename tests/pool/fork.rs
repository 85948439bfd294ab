//! A forked child inherits mappings and descriptors, and none of its parent's rights.

use crate::rig::{assert_sound, chunks, in_state, opened, refused_as, seated, slots, until};
use shm_pool::{Pool, SlotState};
use shm_tests::{Peer, Scene};

/// A peer with a pool, a seat, a lease, a slot that it fills and a place in no line, which has forked;
/// the child does the talking.
fn forked(scene: &Scene, pool: &Pool) -> (Peer, String) {
    let mut parent = seated(scene, pool);
    let ticket = opened(scene, pool).ask("pool send 1504 all").unwrap();
    pool.reap();
    parent.ask(&format!("pool redeem {ticket}")).unwrap();
    parent.ask("pool lend 1500 0 block").unwrap();
    parent.ask("pool fill").unwrap();
    let child = parent.ask("fork").unwrap();
    // The child answers, so it has been through its fork handler.
    assert_eq!(parent.ask("pool verify").unwrap(), "1");
    (parent, child)
}

#[test]
fn a_child_releases_nothing_of_its_parents() {
    let scene = Scene::new("living parent");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let (mut peer, _) = forked(&scene, &pool);
        let held = |pool: &Pool| {
            let states = (in_state(pool, SlotState::Filling), in_state(pool, SlotState::Shared));
            (states, pool.stats().consumers)
        };
        assert_eq!(held(&pool), ((1, 1), 1));
        assert_eq!(refused_as(&mut peer, "pool publish all"), "Forked");
        assert_eq!(held(&pool), ((1, 1), 1), "a refused publication gives nothing back");
        peer.ask("pool release").unwrap();
        peer.ask("pool abort").unwrap();
        peer.ask("pool leave").unwrap();
        peer.ask("pool reap").unwrap();
        assert_eq!(held(&pool), ((1, 1), 1));
        peer.ask("close").unwrap();
        assert_eq!(held(&pool), ((1, 1), 1));
        assert_eq!(peer.ask("exit").unwrap(), "ended", "now the parent talks again");
        assert_eq!(pool.reap().members, 0, "the parent lives");
        assert_eq!(held(&pool), ((1, 1), 1));
        peer.ask("pool check").unwrap();
        assert_eq!(peer.ask("pool verify").unwrap(), "1");
        peer.ask("pool release").unwrap();
        let ticket = peer.ask("pool publish all").unwrap();
        peer.ask(&format!("pool redeem {ticket}")).unwrap();
        peer.ask("pool release").unwrap();
        assert_eq!(pool.stats().free, pool.slots());
        assert_sound(&pool, "after the child");
    }
}

#[test]
fn a_child_works_with_a_membership_of_its_own() {
    let scene = Scene::new("child works");
    let pool = slots(&scene, "pool", 8, 2);
    let (mut peer, child) = forked(&scene, &pool);
    // On the handle that it inherited.
    peer.ask("pool abort").unwrap();
    peer.ask("pool lend 700 0 block").unwrap();
    peer.ask("pool fill").unwrap();
    let report =
        pool.fsck().slots.into_iter().filter(|slot| slot.state == Some(SlotState::Filling));
    let mut pids: Vec<String> = report.map(|slot| slot.producer_pid.to_string()).collect();
    pids.sort();
    let mut expected = vec![peer.pid().to_string(), child.clone()];
    expected.sort();
    assert_eq!(pids, expected);
    peer.ask("pool leave").unwrap();
    assert_eq!(peer.ask("pool join").unwrap(), "1", "seat 0 is the parent's");
    let ticket = peer.ask("pool publish 2").unwrap();
    assert_eq!(peer.ask(&format!("pool redeem {ticket}")).unwrap(), format!("{child} 2 700"));

    // The child dies with a slot, a lease and a seat; the parent keeps its own.
    peer.ask("pool lend 700 0 block").unwrap();
    peer.ask("arm fill.half kill 1").unwrap();
    assert_eq!(peer.ask("pool fill").unwrap(), "ended", "now the parent talks again");
    let reaped = pool.reap();
    assert_eq!((reaped.members, reaped.consumers, reaped.slots), (1, 1, 2), "{reaped:?}");
    peer.ask("pool check").unwrap();
    assert_eq!(peer.ask("pool verify").unwrap(), "1");
    assert_sound(&pool, "after the child's death");
}

#[test]
fn what_a_dead_parent_had_does_not_live_on_in_its_child() {
    let scene = Scene::new("dead parent");
    for pool in [slots(&scene, "slots", 4, 1), chunks(&scene, "chunks", 1)] {
        let recycler = pool.recycler().unwrap();
        let (mut peer, child) = forked(&scene, &pool);
        peer.kill();
        assert!(std::path::Path::new(&format!("/proc/{child}/stat")).exists(), "the child lives");
        let reaped = pool.reap();
        assert!(reaped.members <= 1);
        assert_eq!(pool.stats().free, pool.slots(), "{:?}", pool.stats());
        assert_eq!(pool.stats().consumers, 0);
        // The child works on, by itself.
        peer.ask("pool leave").unwrap();
        peer.ask("pool join").unwrap();
        peer.ask("pool abort").unwrap();
        peer.ask("pool send 904 all").unwrap();
        assert_eq!(peer.ask("pool drain").unwrap(), "1");
        assert_eq!(pool.stats().free, pool.slots());
        assert_sound(&pool, "with the child alone");
        drop(recycler);
    }
}

#[test]
fn a_dead_parent_is_found_by_a_recycler_although_its_child_lives() {
    let scene = Scene::new("recycler and child");
    let pool = slots(&scene, "pool", 4, 1);
    let recycler = pool.recycler().unwrap();
    let (mut peer, _) = forked(&scene, &pool);
    peer.kill();
    let waited = until("the parent's slots are given back", || pool.stats().free == 4);
    println!("a killed parent of a living child was reaped after {waited:.1?}");
    drop(recycler);
}

#[test]
fn a_forked_owner_keeps_the_name_and_its_child_does_not_take_it() {
    let scene = Scene::new("forked owner");
    let name = scene.name("pool");
    let mut owner = scene.peer();
    owner.ask(&format!("pool create {name} slots 4 512 1 1000")).unwrap();
    owner.ask("fork").unwrap();
    assert!(owner.refusal("pool unlink").starts_with("Owned "), "the child does not own");
    owner.ask("close").unwrap();
    assert!(Pool::open(&name).is_ok(), "and takes nothing away");
    assert_eq!(owner.ask("exit").unwrap(), "ended");
    assert!(matches!(shm_pool::remove(&name), Err(shm_pool::RemoveError::Owned { .. })));
    owner.ask("fork").unwrap();
    owner.ask("pool stats").unwrap();
    owner.kill();
    assert!(!Pool::open(&name).unwrap().has_owner(), "ownership died with the parent");
    shm_pool::remove(&name).unwrap();
}
