//! Sleepers are woken although one among them, perhaps the one that had to wake the others, dies.

use crate::rig::Rig;
use shm_core::fault::POINTS;
use shm_tests::{Peer, Scene};
use std::thread::sleep;
use std::time::Duration;

#[test]
fn seven_of_eight_sleepers_get_every_frame() {
    let scene = Scene::new("sleepers");
    let mut rng = fastrand::Rng::with_seed(0x5EED);
    for round in 0..6 {
        let mut rig = Rig::new(&scene, "stream", 8);
        let mut readers: Vec<Peer> = (0..8).map(|_| rig.reading_peer()).collect();
        let target = 60;
        for reader in &mut readers {
            reader.send(&format!("chase {target} 60000"));
        }
        for reader in &readers {
            reader.await_parked();
        }
        let (dying, at) = (rng.usize(..8), rng.u64(5..50));
        let mut writer = rig.lock();
        for count in 1..=target {
            rig.publish(&mut writer);
            sleep(Duration::from_micros(rng.u64(..400)));
            if count == at {
                readers[dying].signal(rustix::process::Signal::KILL);
            }
        }
        readers.remove(dying).kill();
        for reader in &mut readers {
            assert_eq!(reader.receive().unwrap(), target.to_string(), "round {round}");
        }
    }
}

#[test]
fn a_dead_sleeper_swallows_nobodys_wake_up() {
    let scene = Scene::new("dead sleepers");
    let mut rig = Rig::new(&scene, "stream", 8);
    for round in 0..10 {
        let count = rig.stream.count();
        let mut readers: Vec<Peer> = (0..4).map(|_| rig.blocked_peer(count)).collect();
        // Dead while armed: the words in shared memory still count them.
        for _ in 0..=round % 3 {
            readers.remove(0).kill();
        }
        rig.goes_on();
        for reader in &mut readers {
            assert_eq!(reader.receive().unwrap(), (count + 1).to_string(), "round {round}");
        }
    }
}

#[test]
fn eight_sleepers_survive_a_writer_killed_around_the_wake_up() {
    let scene = Scene::new("killed around the wake-up");
    for point in ["publish.even", "publish.latest", "publish.woken", "lock.released"] {
        assert!(POINTS.contains(&point));
        let mut rig = Rig::new(&scene, point, 8);
        let mut readers: Vec<Peer> = (0..8).map(|_| rig.blocked_peer(0)).collect();
        let mut writer = rig.writing_peer();
        writer.ask(&format!("arm {point} kill 1")).unwrap();
        writer.send("writer 0\npublish 1\nunlock");
        writer.ended_by();
        // Only a finished frame that was not handed over needs somebody to come.
        if point == "publish.even" {
            assert_eq!(rig.read(), 0);
            drop(rig.lock());
        }
        for reader in &mut readers {
            assert_eq!(reader.receive().unwrap(), "1", "{point}");
        }
    }
}
