//! A forked child inherits descriptors and mappings, and none of its parent's rights.

use crate::rig::Rig;
use shm_core::{Deadline, LockError, Stream};
use shm_tests::{Peer, Scene};
use std::thread::sleep;
use std::time::Duration;

/// A peer with stream, reader and lock that has forked; the child does the talking. Also returns
/// the process id of the child.
fn forked(rig: &Rig<'_>) -> (Peer, u32) {
    let mut parent = rig.locking_peer();
    parent.ask("reader-of-stream").unwrap();
    parent.ask("publish 2").unwrap();
    let child = parent.ask("fork").unwrap().parse().unwrap();
    // The child answers, so it has been through its fork handler.
    assert_eq!(parent.ask("read").unwrap(), "2");
    (parent, child)
}

/// False for a zombie too: its descriptors are closed.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rfind(')').and_then(|end| status[end + 1..].split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

#[test]
fn a_dead_parents_lock_does_not_live_on_in_its_child() {
    let scene = Scene::new("dead parent");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let (mut parent, child) = forked(&rig);
    parent.kill();
    assert!(is_running(child), "the child lives on");
    assert_eq!(rig.goes_on(), 3, "and holds no lock");
    assert_eq!(parent.ask("read").unwrap(), "3", "its reader works");
    assert!(parent.refusal("publish 1").starts_with("Forked "));
    assert!(parent.refusal("loan 1").starts_with("Forked "));
    assert_eq!(rig.goes_on(), 4, "what it was refused changed nothing");

    // Its own writer replaces the inherited one, whose end must not give the lock back.
    assert_eq!(parent.ask("writer 0").unwrap(), "4");
    match rig.stream.writer(Duration::from_millis(20)) {
        Err(LockError::Timeout { holder, .. }) => {
            assert_eq!(holder.map(|holder| holder.pid), Some(child));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(parent.ask("publish 3").unwrap(), "7");
    assert_eq!(rig.read(), 7);
    parent.ask("unlock").unwrap();
    assert_eq!(rig.goes_on(), 8);
}

#[test]
fn a_child_takes_nothing_from_its_living_parent() {
    let scene = Scene::new("living parent");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let (mut parent, _) = forked(&rig);
    let held = |rig: &Rig<'_>| match rig.stream.writer(Duration::from_millis(20)) {
        Err(LockError::Timeout { holder, .. }) => holder.map(|holder| holder.pid),
        other => panic!("the parent was robbed: {other:?}"),
    };
    let listed = |pid: u32| {
        let holders = shm_core::stat(&rig.name).unwrap().holders;
        holders.iter().filter(|holder| holder.pid == pid).count() == 1
    };
    assert_eq!(held(&rig), Some(parent.pid()));
    // On the handle that it inherited, the child meets its parent's lock as anybody else does.
    assert!(parent.refusal("writer 20").starts_with("Timeout "));
    assert!(parent.refusal("publish 1").starts_with("Forked "));
    assert_eq!(parent.ask("read").unwrap(), "2");
    assert!(listed(parent.pid()));
    // Dropping what it inherited gives nothing back that is the parent's.
    parent.ask("close").unwrap();
    assert_eq!(held(&rig), Some(parent.pid()));
    assert!(listed(parent.pid()));
    assert_eq!(parent.ask("exit").unwrap(), "ended", "now the parent talks again");
    assert_eq!(held(&rig), Some(parent.pid()));
    assert!(listed(parent.pid()));
    assert_eq!(parent.ask("publish 1").unwrap(), "3");
    assert_eq!(rig.read(), 3);
    parent.ask("unlock").unwrap();
    assert_eq!(rig.goes_on(), 4);
}

#[test]
fn a_child_killed_at_a_point_costs_its_parent_nothing() {
    let scene = Scene::new("killed child");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let (mut parent, _) = forked(&rig);
    // The child opens the stream for itself and dies while it waits for its parent's lock.
    parent.ask(&format!("open {}", rig.name)).unwrap();
    parent.ask("arm create.written kill 1").unwrap();
    assert_eq!(parent.ask(&format!("create {} 8", scene.name("child"))).unwrap(), "ended");
    assert_eq!(parent.ask("publish 2").unwrap(), "4");
    assert_eq!(rig.read(), 4);
    scene.sweep_drafts();
}

#[test]
fn a_forked_child_alone_keeps_the_stream() {
    let scene = Scene::new("child alone");
    let name = scene.name("stream");
    let mut parent = scene.peer();
    parent.ask(&format!("create {name} 5000")).unwrap();
    parent.ask("reader-of-stream").unwrap();
    parent.ask("writer 0").unwrap();
    parent.ask("publish 2").unwrap();
    let child: u32 = parent.ask("fork").unwrap().parse().unwrap();
    // The child answers, so it has been through its fork handler.
    assert_eq!(parent.ask("read").unwrap(), "2");
    parent.kill();
    for _ in 0..3 {
        let report = shm_core::gc(scene.prefix(), false).unwrap();
        assert_eq!((report.removed, report.in_use), (vec![], vec![name.clone()]));
    }
    assert_eq!(parent.ask("writer 0").unwrap(), "2");
    assert_eq!(parent.ask("publish 1").unwrap(), "3");
    parent.send("exit");
    assert!(parent.receive().is_err(), "it ends without an answer");
    while is_running(child) {
        sleep(Duration::from_millis(1));
    }
    let report = shm_core::gc(scene.prefix(), false).unwrap();
    assert_eq!((report.removed, report.in_use), (vec![name.clone()], vec![]));
    assert!(Stream::open(&name).is_err());
}

#[test]
fn generations_of_children_take_turns() {
    let scene = Scene::new("generations");
    let mut rig = Rig::new(&scene, "stream", 8);
    let mut peer = rig.locking_peer();
    for generation in 1..=5 {
        assert_eq!(peer.ask("publish 1").unwrap(), generation.to_string());
        peer.ask("fork").unwrap();
        // Grandparents still hold nothing that the child must not have; the parent holds the lock.
        assert!(peer.refusal("publish 1").starts_with("Forked "));
        assert!(peer.refusal("writer 10").starts_with("Timeout "));
        if generation < 5 {
            // The parent gets its turn back, gives the lock up, and the next child takes it.
            assert_eq!(peer.ask("exit").unwrap(), "ended");
            peer.ask("unlock").unwrap();
            peer.ask("fork").unwrap();
            peer.ask("writer 0").unwrap();
        }
    }
    peer.kill();
    drop(peer);
    // Forked processes end with the conversation; a moment later all their locks are free.
    let next = rig.stream.writer(Deadline::NEVER).unwrap();
    drop(next);
    assert_eq!(rig.goes_on(), 6);
}
