//! Clients that die: what they leave goes with the next client, and nothing else does.

use crate::call::{PATIENCE, call, files_of, ms, regions_of, until};
use rustix::process::Signal;
use shm_core::{Stream, StreamConfig};
use shm_tests::triton::{Place, TestServer};
use shm_tests::{Peer, Scene};
use shm_triton::{ClientConfig, ModelConfig, Options};
use std::thread;

everywhere!(
    the_next_client_removes_what_a_dead_one_left,
    sweeping_tells_what_it_removed,
    what_was_never_finished_goes_too,
    sweeping_leaves_what_is_no_region_alone,
);

fn client_peer(scene: &Scene, place: &Place, server: &TestServer, model: &str) -> Peer {
    let mut peer = scene.peer();
    peer.ask(&format!("triton connect {}", server.url(place.wire))).unwrap();
    peer.ask(&format!("triton register {model} 3")).unwrap();
    peer
}

/// Lets it work for a moment, and ends it in the middle.
fn end_at_random(peer: &mut Peer, what: &str, signal: Signal) {
    peer.start(what).unwrap();
    thread::sleep(ms(fastrand::u64(0..60)));
    peer.signal(signal);
    assert_eq!(peer.ended_by(), Some(signal.as_raw()));
}

fn the_next_client_removes_what_a_dead_one_left(place: &Place) {
    let (scene, server) = (Scene::new("dead clients"), place.own_server());
    let own = place.client_of(&server);
    let model = own.register_model(ModelConfig::new("identity")).unwrap();
    let mut living = client_peer(&scene, place, &server, "identity");
    living.ask("triton hold").unwrap();
    let theirs = (regions_of(&own, living.pid()), files_of(living.pid()));
    assert_eq!((theirs.0.len(), theirs.1.len()), (1, 1));
    let ours = regions_of(&own, std::process::id());
    for (what, signal) in [
        ("triton work", Signal::KILL),
        ("triton cycle", Signal::KILL),
        ("triton work", Signal::TERM),
        ("triton cycle", Signal::TERM),
    ] {
        let mut dying = client_peer(&scene, place, &server, "slow");
        let pid = dying.pid();
        end_at_random(&mut dying, what, signal);
        if what == "triton work" {
            assert_eq!(regions_of(&own, pid).len(), 1, "nobody has removed it yet");
        }
        // Its last requests may still run, and the server keeps the region so long.
        until("a next client removes it", || {
            let mut next = scene.peer();
            next.ask(&format!("triton sweeping {}", server.url(place.wire))).unwrap();
            next.ask("triton register identity 1").unwrap();
            next.ask("triton infer").unwrap();
            next.ask("triton close").unwrap();
            assert_eq!(regions_of(&own, next.pid()), Vec::<String>::new());
            assert_eq!(files_of(next.pid()).len(), 0);
            assert_eq!(files_of(pid).len(), 0, "the file is not the server's to keep");
            regions_of(&own, pid).is_empty()
        });
        assert_eq!((regions_of(&own, living.pid()), files_of(living.pid())), theirs);
        assert_eq!(regions_of(&own, std::process::id()), ours);
    }
    living.ask("triton run").unwrap();
    call(&model, 8, &Options::new()).unwrap();
    living.ask("triton close").unwrap();
    assert_eq!((regions_of(&own, living.pid()).len(), files_of(living.pid()).len()), (0, 0));
}

fn sweeping_tells_what_it_removed(place: &Place) {
    let (scene, server) = (Scene::new("sweep"), place.own_server());
    let own = place.client_of(&server);
    let _model = own.register_model(ModelConfig::new("identity")).unwrap();
    let mut dead = Vec::new();
    for _ in 0..3 {
        let mut peer = client_peer(&scene, place, &server, "identity");
        dead.extend(regions_of(&own, peer.pid()));
        peer.kill();
    }
    assert_eq!(dead.len(), 3);
    dead.sort();
    let client = ClientConfig::new(server.url(place.wire)).connect().unwrap();
    let mut swept = client.sweep().unwrap();
    swept.unregistered.sort();
    assert_eq!(swept.unregistered, dead);
    assert_eq!(swept.left, []);
    assert_eq!(client.sweep().unwrap().unregistered.len(), 0);
    client.close(PATIENCE).unwrap();
}

fn what_was_never_finished_goes_too(place: &Place) {
    let scene = Scene::new("drafts");
    for point in ["create.drafted", "create.written"] {
        let mut peer = scene.peer();
        peer.ask(&format!("triton connect {}", place.url())).unwrap();
        peer.ask(&format!("arm {point} kill 1")).unwrap();
        peer.send("triton register identity 4");
        assert_eq!(peer.ended_by(), Some(Signal::KILL.as_raw()));
    }
    let client = place.client();
    client.sweep().unwrap();
    // That nothing is left, the scene looks at its end.
}

fn sweeping_leaves_what_is_no_region_alone(place: &Place) {
    let name = format!("triton.test-{}-{:?}-{:?}", std::process::id(), place.kind, place.wire);
    let config = StreamConfig::of::<u64>(&[4]).unwrap();
    drop(Stream::create(&name, &config).unwrap());
    place.client().sweep().unwrap();
    let kept = Stream::open(&name).map(drop);
    let removed = shm_core::unlink(&name);
    kept.unwrap();
    removed.unwrap();
}
