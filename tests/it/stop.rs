//! A stopped process is not a dead one: it keeps its lock, and costs readers nothing.

use crate::rig::{Rig, SIZES};
use shm_core::LockError;
use shm_tests::{Peer, Scene};
use std::time::Duration;

const POINTS: [&str; 7] = [
    "lock.taken",
    "lock.recovered",
    "publish.odd",
    "publish.mid_copy",
    "publish.copied",
    "publish.even",
    "publish.latest",
];

#[test]
fn readers_have_the_previous_frame_and_nobody_takes_the_lock() {
    let scene = Scene::new("stopped writer");
    for point in POINTS {
        for words in SIZES {
            let mut rig = Rig::new(&scene, point, words);
            for _ in 0..4 {
                rig.goes_on();
            }
            let mut writer = stopped_at(&rig, point);
            let complete = 4 + u64::from(point == "publish.latest");
            let mut other = rig.reading_peer();
            for _ in 0..3 {
                assert_eq!(rig.read(), complete, "{point}");
                assert_eq!(other.ask("read").unwrap(), complete.to_string(), "{point}");
            }
            // Its name was written right after the lock was taken.
            let pid = (point != "lock.taken").then_some(writer.pid());
            refused(&rig, pid);
            refused_in_a_process(&rig, pid);
            assert_eq!(shm_core::gc(&rig.name, false).unwrap().in_use, [rig.name.as_str()]);

            let count = resumed(&mut writer);
            let answer = writer.ask(&format!("publish {}", 8 - count)).unwrap();
            assert_eq!(answer, "8", "{point}");
            assert_eq!(rig.read(), 8);
            assert_eq!(other.ask("read").unwrap(), "8");
            refused(&rig, Some(writer.pid()));
            writer.ask("unlock").unwrap();
            assert_eq!(rig.goes_on(), 9);
        }
    }
}

#[test]
fn a_reader_that_waits_gets_the_frame_after_the_stop() {
    let scene = Scene::new("stopped, waited for");
    for point in POINTS {
        let mut rig = Rig::new(&scene, point, 5_000);
        rig.goes_on();
        let mut reader = rig.blocked_peer(1);
        let mut writer = stopped_at(&rig, point);
        if point == "publish.latest" {
            // Published, and nobody woken: the sleeper finds it by itself.
            assert_eq!(reader.receive().unwrap(), "2");
            reader.send("read-after 2 60000");
        }
        let count = resumed(&mut writer);
        writer.ask("publish 1").unwrap();
        let read: u64 = reader.receive().unwrap().parse().unwrap();
        assert!((2..=count + 1).contains(&read), "{point}: frame {read}");
        assert_eq!(rig.read(), count + 1);
    }
}

#[test]
fn a_stopped_holder_that_dies_frees_the_lock() {
    let scene = Scene::new("stopped, then killed");
    for point in POINTS {
        let mut rig = Rig::new(&scene, point, 5_000);
        rig.goes_on();
        let mut writer = stopped_at(&rig, point);
        let mut waiter = rig.writing_peer();
        waiter.send("writer 60000");
        waiter.await_parked();
        writer.kill();
        let complete = 1 + u64::from(["publish.even", "publish.latest"].contains(&point));
        assert_eq!(waiter.receive().unwrap(), complete.to_string(), "{point}");
        waiter.ask("publish 1").unwrap();
        assert_eq!(rig.read(), complete + 1, "{point}");
    }
}

#[test]
fn a_stopped_reader_costs_nobody_anything() {
    let scene = Scene::new("stopped reader");
    let mut rig = Rig::new(&scene, "reader", 5_000);
    let mut stopped = rig.blocked_peer(0);
    let mut moving = rig.blocked_peer(0);
    stopped.signal(rustix::process::Signal::STOP);
    stopped.await_stop();
    for _ in 0..20 {
        rig.goes_on();
    }
    moving.receive().unwrap();
    for count in 20..30 {
        moving.send(&format!("read-after {count} 60000"));
        moving.await_parked();
        rig.goes_on();
        assert_eq!(moving.receive().unwrap(), (count + 1).to_string());
    }
    stopped.resume();
    let read: u64 = stopped.receive().unwrap().parse().unwrap();
    assert!((1..=30).contains(&read));
    assert_eq!(stopped.ask("read").unwrap(), "30");
}

/// A writer that has stopped itself at `point` of its next frame.
fn stopped_at(rig: &Rig<'_>, point: &str) -> Peer {
    let mut writer = rig.writing_peer();
    writer.ask(&format!("arm {point} stop 1")).unwrap();
    writer.send("writer 0");
    if point.starts_with("publish.") {
        writer.receive().unwrap();
        writer.send("publish 1");
    }
    writer.await_stop();
    writer
}

/// Lets it go on; returns the count after the command in which it was stopped.
fn resumed(writer: &mut Peer) -> u64 {
    writer.resume();
    writer.receive().unwrap().parse().unwrap()
}

fn refused(rig: &Rig<'_>, pid: Option<u32>) {
    match rig.stream.writer(Duration::from_millis(30)) {
        Err(LockError::Timeout { holder, .. }) => {
            if pid.is_some() {
                assert_eq!(holder.map(|holder| holder.pid), pid);
            }
        }
        other => panic!("a live holder was robbed: {other:?}"),
    }
}

fn refused_in_a_process(rig: &Rig<'_>, pid: Option<u32>) {
    let answer = rig.writing_peer().refusal("writer 30");
    assert!(answer.starts_with("Timeout "), "{answer}");
    if let Some(pid) = pid {
        assert!(answer.contains(&format!("held by process {pid} ")), "{answer}");
    }
}
