//! Several writers that take the lock for each frame: every frame is counted, none is torn.

use crate::rig::{Rig, SIZES};
use shm_tests::{Peer, Scene};

fn four_writers(scene: &Scene, words: usize, frames: u64) {
    let mut rig = Rig::new(scene, "stream", words);
    let mut readers = ["read", "wait", "history", "view"].map(|how| {
        let mut reader = rig.reading_peer();
        reader.start(&format!("follow {how}")).unwrap();
        reader
    });
    let mut writers: Vec<Peer> = (0..4).map(|_| rig.writing_peer()).collect();
    for writer in &mut writers {
        writer.send(&format!("locked {frames} 60000"));
    }
    for writer in &mut writers {
        assert_eq!(writer.receive().unwrap(), frames.to_string());
    }
    assert_eq!(rig.stream.count(), 4 * frames, "{words} words");
    assert_eq!(rig.read(), 4 * frames);
    for reader in &mut readers {
        let report = reader.finish().unwrap();
        assert!(!report.starts_with("reads=0 "), "{words} words: {report}");
        assert!(report.contains(&format!(" last={} ", 4 * frames)), "{words} words: {report}");
    }
    assert_eq!(shm_core::stat(&rig.name).unwrap().counter("writers"), Some(4 * frames));
}

#[test]
fn every_frame_of_four_writers_is_counted() {
    let scene = Scene::new("four writers");
    for (words, frames) in SIZES.into_iter().zip([500, 250, 40]) {
        four_writers(&scene, words, frames);
    }
}

#[test]
fn waiters_get_the_lock_of_a_killed_holder_one_after_another() {
    let scene = Scene::new("waiters");
    let mut rig = Rig::new(&scene, "stream", 5_000);
    let mut holder = rig.locking_peer();
    let mut waiters: Vec<Peer> = (0..4).map(|_| rig.writing_peer()).collect();
    for waiter in &mut waiters {
        waiter.send("locked 1 60000");
        waiter.await_parked();
    }
    // One waiter dies in the queue, then the holder.
    waiters[0].kill();
    holder.ask("publish 1").unwrap();
    holder.kill();
    for waiter in &mut waiters[1..] {
        assert_eq!(waiter.receive().unwrap(), "1");
    }
    assert_eq!(rig.goes_on(), 5);
}
