//! Frames that were announced and whose writer dies, at every named point and in between.

use crate::rig::{Rig, SIGKILL, SIZES};
use shm_core::fault::POINTS;
use shm_core::{Deadline, LockError};
use shm_tests::{Peer, Scene};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn points() -> impl Iterator<Item = &'static str> {
    POINTS.iter().copied().filter(|point| point.starts_with("announce."))
}

/// A writer dies at `point` of the frame after `before` others, with a reader waiting for that frame.
pub(crate) fn writer_dies(scene: &Scene, point: &str, words: usize, before: u64) {
    let place = format!("{point}, {words} words, after {before} frames");
    let mut rig = Rig::external(scene, point, words);
    let mut writer = rig.writing_peer();
    writer.ask("writer 0").unwrap();
    writer.ask(&format!("called-back {before}")).unwrap();
    assert_eq!(rig.read(), before);
    let mut reader = rig.blocked_peer(before);
    writer.ask(&format!("arm {point} kill 1")).unwrap();
    writer.send("called-back 1");
    assert_eq!(writer.ended_by(), SIGKILL, "{place}");

    assert_eq!(rig.stream.announced(), before + 1, "{place}: it got as far as that");
    let finished = point == "announce.finished";
    let complete = before + u64::from(finished);
    assert_eq!(rig.read(), complete, "{place}: the last complete frame is readable");
    if finished {
        // Nobody rang for it, but who waits knows that it was announced.
        assert_eq!(reader.receive().unwrap(), (before + 1).to_string(), "{place}");
    }
    let mut next = rig.lock();
    assert_eq!(rig.stream.announced(), complete, "{place}: taken back");
    assert_eq!(rig.read(), complete, "{place}: after the next writer came");
    for more in 1..=4 {
        assert_eq!(rig.publish(&mut next), complete + more, "{place}: no gap");
    }
    if !finished {
        let read: u64 = reader.receive().unwrap().parse().unwrap();
        assert!(read > before, "{place}: frame {read}");
    }
}

#[test]
fn killed_on_any_frame() {
    let scene = Scene::new("announced frame");
    for point in points() {
        for words in SIZES {
            for before in [0, 1, 5] {
                writer_dies(&scene, point, words, before);
            }
        }
    }
}

#[test]
fn killed_with_several_frames_in_flight() {
    let scene = Scene::new("several in flight");
    for (in_flight, unreaped) in [(1, false), (2, true), (3, false), (7, true)] {
        let mut rig = Rig::external(&scene, "stream", 5_000);
        let mut writer = rig.writing_peer();
        writer.ask("writer 0").unwrap();
        writer.ask("called-back 4").unwrap();
        let answer = writer.ask(&format!("announce {in_flight}")).unwrap();
        assert_eq!(answer, in_flight.to_string());
        let Err(LockError::Timeout { holder, .. }) = rig.stream.writer(Deadline::NOW) else {
            panic!("the writer lives");
        };
        assert_eq!(holder.map(|holder| holder.pid), Some(writer.pid()));
        match unreaped {
            true => writer.kill_unreaped(),
            false => writer.kill(),
        }
        // A zombie carries out nothing either.
        assert_eq!(rig.stream.announced(), 4 + in_flight);
        assert_eq!(rig.read(), 4);
        assert_eq!(rig.goes_on(), 5);
        assert_eq!((rig.stream.announced(), rig.goes_on()), (5, 6));
    }
}

#[test]
fn the_lock_is_free_but_its_last_holder_has_frames_in_flight() {
    let scene = Scene::new("left in flight");
    for carried_out in [true, false] {
        let mut rig = Rig::external(&scene, "stream", 8);
        let mut writer = rig.writing_peer();
        writer.ask("writer 0").unwrap();
        writer.ask("announce 2").unwrap();
        writer.ask("unlock").unwrap();
        for deadline in [Duration::ZERO, Duration::from_millis(20)] {
            let Err(LockError::Timeout { holder, .. }) = rig.stream.writer(deadline) else {
                panic!("what was announced may still be carried out");
            };
            assert_eq!(holder.map(|holder| holder.pid), Some(writer.pid()));
        }
        // Another contender, which waits, and is told by the one thing or the other.
        let mut next = rig.writing_peer();
        next.send("writer 60000");
        sleep(Duration::from_millis(20));
        match carried_out {
            true => assert_eq!(writer.ask("carry-out").unwrap(), "2"),
            false => writer.kill(),
        }
        let newest = if carried_out { 2 } else { 0 };
        assert_eq!(next.receive().unwrap(), newest.to_string());
        assert_eq!(rig.read(), newest);
        assert_eq!(next.ask("called-back 1").unwrap(), (newest + 1).to_string());
        next.ask("unlock").unwrap();
        assert_eq!(rig.goes_on(), newest + 2);
    }
}

#[test]
fn a_writer_that_dies_while_it_waits_for_its_predecessor_hides_nobody() {
    let scene = Scene::new("two die");
    let mut rig = Rig::external(&scene, "stream", 8);
    let mut writer = rig.writing_peer();
    writer.ask("writer 0").unwrap();
    writer.ask("announce 1").unwrap();
    writer.ask("unlock").unwrap();
    let mut next = rig.writing_peer();
    next.send("writer 60000");
    sleep(Duration::from_millis(20));
    next.kill();
    let Err(LockError::Timeout { holder, .. }) = rig.stream.writer(Duration::from_millis(20))
    else {
        panic!("the first one's frame is still in flight");
    };
    assert_eq!(holder.map(|holder| holder.pid), Some(writer.pid()));
    assert_eq!(writer.ask("carry-out").unwrap(), "1");
    assert_eq!(rig.goes_on(), 2);
}

#[test]
fn who_waits_naps_only_while_something_may_come() {
    let scene = Scene::new("naps");
    let rig = Rig::external(&scene, "stream", 8);
    let mut reader = rig.reading_peer();
    reader.send("wait-for 0 60000");
    reader.await_parked();
    let idle = switches(&reader, Duration::from_millis(500));
    assert!(idle <= 30, "{idle} wake-ups in half a second, with nothing announced");

    let mut writer = rig.locking_peer();
    writer.ask("announce 1").unwrap();
    let in_flight = switches(&reader, Duration::from_millis(500));
    assert!(in_flight >= 30, "{in_flight} wake-ups in half a second, with a frame in flight");
    assert!(in_flight <= 2_000, "{in_flight} wake-ups in half a second");
    writer.kill();
    sleep(Duration::from_millis(300));
    let abandoned = switches(&reader, Duration::from_millis(500));
    assert!(abandoned <= 30, "{abandoned} wake-ups in half a second, with the writer dead");

    // The same frame once more, from somebody who lives, and carried out by who rings nothing.
    let mut next = rig.locking_peer();
    next.ask("announce 1").unwrap();
    sleep(Duration::from_millis(20));
    let begun = Instant::now();
    assert_eq!(next.ask("carry-out").unwrap(), "1");
    assert_eq!(reader.receive().unwrap(), "1");
    assert!(begun.elapsed() < Duration::from_secs(5), "woken after {:?}", begun.elapsed());
}

/// How often the peer went to sleep within that time.
fn switches(peer: &Peer, time: Duration) -> u64 {
    let read = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", peer.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = read();
    sleep(time);
    read() - before
}

#[test]
fn the_creator_is_alive_as_long_as_the_kernel_says() {
    let scene = Scene::new("creator");
    let name = scene.name("stream");
    let mut creator = scene.peer();
    creator.ask(&format!("create-external {name} 8")).unwrap();
    let stream = shm_core::Stream::open(&name).unwrap();
    assert_eq!(stream.creator_alive(), Some(true));
    creator.signal(rustix::process::Signal::STOP);
    creator.await_stop();
    assert_eq!(stream.creator_alive(), Some(true), "stopped is not dead");
    creator.kill();
    assert_eq!(stream.creator_alive(), Some(false));
    stream.unlink().unwrap();
}
