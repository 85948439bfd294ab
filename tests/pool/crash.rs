//! Death at every named point, for pools of slots and of chunks, beside processes that go on.

use crate::rig::SIGKILL;
use shm_pool::fault::POINTS;
use shm_tests::Scene;
use shm_tests::pool::{Kind, Stage};
use shm_tests::rounds::{Role, role_at};

#[test]
fn every_point_has_somebody_who_passes_it() {
    for &point in POINTS {
        let other = point.starts_with("queue.") || point.starts_with("store.");
        assert!(other || role_at(point).is_some(), "fault point '{point}' has no role: add one");
    }
}

fn killed_at_every_point(kind: Kind) {
    let scene = Scene::new("every point");
    let mut stage = Stage::new(&scene, kind, "stage").unwrap();
    let mut played = 0;
    for &point in POINTS {
        let Some(role) = role_at(point) else { continue };
        if kind != Kind::Chunks && point == "lend.granule" {
            continue;
        }
        for nth in [1, 2, 7] {
            if role == Role::Reaper && nth > 1 {
                continue;
            }
            let place = format!("{kind:?}, {point}, passing {nth}");
            let mut victim = role.begin(&scene, &mut stage, point, nth).unwrap();
            assert_eq!(victim.ended_by(), SIGKILL, "{place}: it never passed the point");
            if role != Role::Reaper {
                stage.rest().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            }
            stage.settle().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            played += 1;
        }
    }
    println!(
        "{kind:?}: {played} processes killed at named points, {} publications verified, \
         {} slots reclaimed",
        stage.verified(),
        stage.pool().stats().reclaimed
    );
    assert!(stage.verified() > 0);
}

#[test]
fn of_a_pool_of_slots() {
    killed_at_every_point(Kind::Slots);
}

#[test]
fn of_a_chunk_pool() {
    killed_at_every_point(Kind::Chunks);
}

#[test]
fn of_a_pool_with_more_than_eight_consumers() {
    killed_at_every_point(Kind::Lanes);
}
