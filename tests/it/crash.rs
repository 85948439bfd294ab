//! Death at every named point, and what the others find.

use crate::announced;
use crate::names;
use crate::rig::{Rig, SIGKILL, SIZES};
use shm_core::fault::POINTS;
use shm_tests::Scene;

/// What a process does that passes a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Publishing,
    Announcing,
    Creating,
    Unlinking,
}

fn doing(point: &str) -> Option<Doing> {
    match point.split_once('.')? {
        ("lock" | "publish", _) => Some(Doing::Publishing),
        ("announce", _) => Some(Doing::Announcing),
        ("create", _) => Some(Doing::Creating),
        ("unlink", _) => Some(Doing::Unlinking),
        _ => None,
    }
}

/// What becomes of the frame that a writer was at when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It never was complete.
    Lost,
    /// It is complete; the next writer hands it over.
    HandedOver,
    /// It was published.
    Published,
}

fn fate(point: &str) -> Fate {
    match point {
        "lock.taken" | "lock.recovered" | "publish.begin" | "publish.odd" | "publish.mid_copy"
        | "publish.copied" => Fate::Lost,
        "publish.even" => Fate::HandedOver,
        "publish.latest" | "publish.woken" | "lock.released" => Fate::Published,
        other => panic!("no writer passes '{other}', or this test does not know it"),
    }
}

fn publish_points() -> impl Iterator<Item = &'static str> {
    POINTS.iter().copied().filter(|point| doing(point) == Some(Doing::Publishing))
}

#[test]
fn every_point_has_a_scenario() {
    let scene = Scene::new("every point");
    for &point in POINTS {
        match doing(point) {
            Some(Doing::Publishing) => writer_dies(&scene, point, 8, 2),
            Some(Doing::Announcing) => announced::writer_dies(&scene, point, 8, 2),
            Some(Doing::Creating) => names::creator_dies(&scene, point),
            Some(Doing::Unlinking) => names::unlinker_dies(&scene, point),
            None => panic!("fault point '{point}' has no scenario: add one"),
        }
    }
}

#[test]
fn killed_on_the_first_frame() {
    let scene = Scene::new("first frame");
    for point in publish_points() {
        for words in SIZES {
            writer_dies(&scene, point, words, 0);
        }
    }
}

#[test]
fn killed_on_a_later_frame() {
    let scene = Scene::new("later frame");
    for point in publish_points() {
        for words in SIZES {
            for before in [1, 2, 3, 7] {
                writer_dies(&scene, point, words, before);
            }
        }
    }
}

#[test]
fn killed_within_a_run_of_frames() {
    let scene = Scene::new("run of frames");
    for point in publish_points().filter(|point| point.starts_with("publish.")) {
        let mut rig = Rig::new(&scene, point, 5_000);
        let mut writer = rig.locking_peer();
        writer.ask(&format!("arm {point} kill 50")).unwrap();
        writer.send("publish 60");
        assert_eq!(writer.ended_by(), SIGKILL);
        let complete = if fate(point) == Fate::Published { 50 } else { 49 };
        assert_eq!(rig.read(), complete, "{point}");
        let handed_over = u64::from(fate(point) == Fate::HandedOver);
        assert_eq!(rig.goes_on(), complete + handed_over + 1, "{point}");
    }
}

/// A writer dies at `point` of the frame after `before` others.
fn writer_dies(scene: &Scene, point: &str, words: usize, before: u64) {
    let place = format!("{point}, {words} words, after {before} frames");
    let mut rig = Rig::new(scene, point, words);
    let mut writer = rig.writing_peer();
    if before > 0 {
        writer.ask(&format!("locked {before} 0")).unwrap();
        assert_eq!(rig.read(), before);
    }
    writer.ask(&format!("arm {point} kill 1")).unwrap();
    writer.send("writer 0\npublish 1\nunlock");
    assert_eq!(writer.ended_by(), SIGKILL, "{place}");

    let complete = before + u64::from(fate(point) == Fate::Published);
    assert_eq!(rig.read(), complete, "{place}: the last complete frame is readable at once");
    let handed_over = u64::from(fate(point) == Fate::HandedOver);
    let mut next = rig.lock();
    assert_eq!(rig.read(), complete + handed_over, "{place}: after the next writer came");
    for more in 1..=4 {
        let count = rig.publish(&mut next);
        assert_eq!(count, complete + handed_over + more, "{place}: no gap");
    }
}

#[test]
fn a_blocked_reader_survives_the_writer() {
    let scene = Scene::new("blocked reader");
    for point in publish_points() {
        for before in [0, 3] {
            let mut rig = Rig::new(&scene, point, 5_000);
            let mut writer = rig.writing_peer();
            writer.ask(&format!("locked {before} 0")).unwrap();
            let mut reader = rig.blocked_peer(before);
            writer.ask(&format!("arm {point} kill 1")).unwrap();
            writer.send("writer 0\npublish 1\nunlock");
            assert_eq!(writer.ended_by(), SIGKILL);
            match fate(point) {
                // Whoever died before it could wake anyone: the sleeper looks for itself.
                Fate::Published => {
                    assert_eq!(reader.receive().unwrap(), (before + 1).to_string(), "{point}");
                    rig.goes_on();
                }
                // Handed over, or replaced by the next.
                Fate::HandedOver => {
                    assert_eq!(rig.read(), before);
                    drop(rig.lock());
                    assert_eq!(reader.receive().unwrap(), (before + 1).to_string(), "{point}");
                    assert_eq!(rig.goes_on(), before + 2);
                }
                Fate::Lost => {
                    assert_eq!(rig.read(), before);
                    assert_eq!(rig.goes_on(), before + 1);
                    assert_eq!(reader.receive().unwrap(), (before + 1).to_string(), "{point}");
                }
            }
        }
    }
}

#[test]
fn successors_may_die_too() {
    let scene = Scene::new("successors");
    for last in publish_points() {
        let mut rig = Rig::new(&scene, last, 5_000);
        rig.goes_on();
        let mut expected = 1;
        for point in ["publish.even", "lock.taken", "publish.odd", "publish.even", last] {
            let mut writer = rig.writing_peer();
            writer.ask(&format!("arm {point} kill 1")).unwrap();
            writer.send("writer 0\npublish 1\nunlock");
            assert_eq!(writer.ended_by(), SIGKILL);
            let read = rig.read();
            assert!(read >= expected, "{last}: frame {read} after frame {expected}");
            expected = read;
        }
        // Frame 2 was finished by the first, handed over by the third, frame 3 finished by the
        // fourth, and handed over by the fifth unless it died before it could.
        let mut next = rig.lock();
        let lost = u64::from(fate(last) == Fate::Lost);
        assert_eq!(rig.read(), 4 - lost, "{last}");
        assert_eq!(rig.publish(&mut next), 5 - lost, "{last}");
    }
}

#[test]
fn killed_with_half_a_frame_in_place() {
    let scene = Scene::new("half loan");
    for words in SIZES {
        for before in [0, 1, 5] {
            let mut rig = Rig::new(&scene, "loan", words);
            let mut writer = rig.locking_peer();
            writer.ask(&format!("loan {before}")).unwrap();
            let mut reader = rig.blocked_peer(before);
            writer.ask("loan-half").unwrap();
            assert_eq!(rig.read(), before, "while half of the next is in place");
            writer.kill();
            assert_eq!(rig.read(), before, "{words} words");
            assert_eq!(rig.goes_on(), before + 1);
            assert_eq!(reader.receive().unwrap(), (before + 1).to_string());
        }
    }
}

#[test]
fn a_zombie_holds_nothing() {
    let scene = Scene::new("zombie");
    for (words, command) in [(8, "publish 3"), (5_000, "loan-half"), (500_000, "loan 2")] {
        let mut rig = Rig::new(&scene, "zombie", words);
        let mut writer = rig.locking_peer();
        writer.ask(command).unwrap();
        let complete = rig.read();
        writer.kill_unreaped();
        let status = std::fs::read_to_string(format!("/proc/{}/stat", writer.pid())).unwrap();
        assert!(status.contains(") Z "), "still a zombie: {status}");
        assert_eq!(rig.read(), complete);
        assert_eq!(rig.goes_on(), complete + 1);
        assert_eq!(shm_core::stat(&rig.name).unwrap().holders.len(), 2, "this process's handles");
    }
}
