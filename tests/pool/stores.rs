//! A store between workers of which some are killed or stopped: an entry is whole or not there, a lease
//! is never evicted, and nothing leaks.

use crate::rig::{SIGKILL, refused_as, until};
use rustix::process::Signal;
use shm_pool::fault::POINTS;
use shm_pool::{Store, StoreConfig};
use shm_tests::pool::StoreStage;
use shm_tests::{Peer, Scene};
use std::time::Duration;

#[test]
fn killed_at_every_point() {
    let scene = Scene::new("store points");
    let mut stage = StoreStage::new(&scene, "stage").unwrap();
    let mut played = 0;
    for &point in POINTS.iter().filter(|point| point.starts_with("store.")) {
        for nth in [1, 2, 6] {
            let place = format!("{point}, passing {nth}");
            let mut victim = stage.peer(&scene).unwrap();
            stage.begin().unwrap();
            victim.ask(&format!("arm {point} kill {nth}")).unwrap();
            victim.send("pool store-any");
            assert_eq!(victim.ended_by(), SIGKILL, "{place}: it never passed the point");
            std::thread::sleep(Duration::from_millis(5));
            stage.rest().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            stage.settle().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            played += 1;
        }
    }
    println!(
        "{played} workers killed at named points, {} entries stored, {} verified",
        stage.stored(),
        stage.verified()
    );
    assert!(stage.stored() > 0 && stage.verified() > 0);
}

#[test]
fn killed_and_stopped_at_any_moment() {
    let (scene, mut rng) = (Scene::new("store moments"), fastrand::Rng::new());
    let mut stage = StoreStage::new(&scene, "stage").unwrap();
    for round in 0..25 {
        let mut victims = [stage.peer(&scene).unwrap(), stage.peer(&scene).unwrap()];
        stage.begin().unwrap();
        for victim in &mut victims {
            victim.start("pool store-any").unwrap();
        }
        std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
        victims[0].kill();
        victims[1].signal(Signal::STOP);
        victims[1].await_stop();
        std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
        match rng.bool() {
            true => victims[1].kill(),
            false => {
                victims[1].resume();
                victims[1].finish().unwrap();
            }
        }
        stage.rest().unwrap_or_else(|failure| panic!("round {round}: {failure}"));
        drop(victims);
        stage.settle().unwrap_or_else(|failure| panic!("round {round}: {failure}"));
    }
    println!("25 rounds, {} entries stored, {} verified", stage.stored(), stage.verified());
}

fn store(scene: &Scene) -> (Store, impl Fn() -> Peer) {
    let config = StoreConfig::new(256 << 10).unwrap().granule(4096).unwrap();
    let store = Store::create(&scene.name("store"), &config).unwrap();
    let name = store.name().to_owned();
    let peer = move || {
        let mut peer = scene.peer();
        peer.ask(&format!("pool store-open {name}")).unwrap();
        peer
    };
    (store, peer)
}

#[test]
fn an_unfinished_entry_is_never_seen_and_goes_with_its_worker() {
    let scene = Scene::new("unfinished");
    let (store, peer) = store(&scene);
    let (mut dying, mut other) = (peer(), peer());
    dying.ask("pool store-half 3 100000").unwrap();
    assert_eq!(refused_as(&mut other, "pool store-get 3 50"), "Missing");
    assert_eq!(store.stats().filling, 1);
    other.send("pool store-get 3 60000");
    other.await_parked();
    dying.kill();
    // The key is free for the next one, whom the one who waits hears of.
    let mut next = peer();
    next.ask("pool store-put 3 200000 20000").unwrap();
    assert_eq!(other.receive().unwrap(), next.pid().to_string());
    assert_eq!(other.ask("pool store-verify").unwrap(), "1");
}

#[test]
fn a_leased_entry_stays_under_pressure_also_of_a_stopped_worker() {
    let scene = Scene::new("leased");
    let (store, peer) = store(&scene);
    let (mut reader, mut writer) = (peer(), peer());
    writer.ask("pool store-put 0 60000 0").unwrap();
    reader.ask("pool store-get 0 0").unwrap();
    reader.signal(Signal::STOP);
    reader.await_stop();
    for number in 1..200 {
        writer.ask(&format!("pool store-put {number} 40000 1000")).unwrap();
    }
    println!("{} entries were evicted beside a stopped worker's lease", store.stats().evicted);
    assert!(store.stats().evicted > 150);
    assert_eq!(refused_as(&mut writer, "pool store-remove 0"), "Leased");
    reader.resume();
    assert_eq!(reader.ask("pool store-verify").unwrap(), "1");
    reader.ask("pool store-get 0 0").unwrap();
    reader.ask("pool store-release").unwrap();
    assert_eq!(writer.ask("pool store-remove 0").unwrap(), "true");
    // And a dead worker's lease holds nothing.
    reader.ask("pool store-get 199 0").unwrap();
    reader.kill();
    let waited = until("the lease of the dead", || {
        store.reap();
        store.remove(b"prefix/199").is_ok()
    });
    println!("a killed worker's lease was given back after {waited:.1?}");
}

#[test]
fn workers_never_take_the_store_away() {
    let scene = Scene::new("workers");
    let (store, peer) = store(&scene);
    let mut worker = peer();
    worker.ask("pool store-put 1 1000 0").unwrap();
    worker.ask("close").unwrap();
    worker.kill();
    let mut worker = peer();
    worker.ask("pool store-get 1 0").unwrap();
    worker.kill();
    assert!(store.contains(b"prefix/1"));
    assert!(Store::open(store.name()).unwrap().unlink().is_err());
    let mut owner = scene.peer();
    let name = scene.name("owned");
    owner.ask(&format!("pool store-create {name} 65536 4096")).unwrap();
    assert_eq!(
        refused_as(&mut peer(), &format!("pool store-create {name} 65536 4096")),
        "AlreadyOwned"
    );
    owner.kill();
    shm_pool::remove(&name).unwrap();
    assert!(Store::open(&name).is_err());
}
