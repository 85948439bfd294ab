//! A lock whose holder was killed goes to exactly one of those who wait for it.

use crate::rig::Rig;
use shm_core::LockError;
use shm_tests::{Peer, Scene};
use std::time::Duration;

/// Holders that die one after the other while others wait: whoever has the lock is the only one.
#[test]
fn one_of_several_waiters_takes_over_each_time() {
    let scene = Scene::new("take over");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    rig.goes_on();
    let mut waiting: Vec<Peer> = Vec::new();
    let mut holder = rig.locking_peer();
    for _ in 0..4 {
        let mut peer = rig.writing_peer();
        peer.send("writer 60000");
        peer.await_parked();
        waiting.push(peer);
    }
    let mut count = 1;
    while !waiting.is_empty() {
        holder.kill();
        let (next, frame) = wait_for_one(&mut waiting);
        holder = next;
        assert_eq!(frame, count, "it starts where the stream is");
        count = holder.ask("publish 2").unwrap().parse().unwrap();
        assert_eq!(rig.read(), count);
        match rig.stream.writer(Duration::from_millis(20)) {
            Err(LockError::Timeout { holder: Some(found), .. }) => {
                assert_eq!(found.pid, holder.pid());
            }
            other => panic!("a second holder: {other:?}"),
        }
    }
    holder.kill();
    assert_eq!(count, 1 + 2 * 4);
    assert_eq!(rig.goes_on(), count + 1);
}

/// The peer whose `writer` was answered, and the count that it found.
fn wait_for_one(waiting: &mut Vec<Peer>) -> (Peer, u64) {
    let newest = loop {
        if let Some(index) = waiting.iter_mut().position(|peer| peer.has_answered()) {
            break index;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut peer = waiting.swap_remove(newest);
    let frame = peer.receive().unwrap().parse().unwrap();
    (peer, frame)
}
