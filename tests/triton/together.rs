//! Several clients at one server, and forked ones.

use crate::call::{call, files_of, ms, regions_of};
use shm_tests::Scene;
use shm_tests::triton::Place;
use shm_triton::{ModelConfig, Options};
use std::thread;
use std::time::Instant;

everywhere!(processes_do_not_hear_each_other, a_forked_child_has_nothing_of_its_parents);

fn processes_do_not_hear_each_other(place: &Place) {
    let scene = Scene::new("two clients");
    let server = place.own_server();
    let mut peers = [scene.peer(), scene.peer()];
    for peer in &mut peers {
        peer.ask(&format!("triton connect {}", server.url(place.wire))).unwrap();
        peer.ask("triton register slow 3").unwrap();
        peer.start("triton work").unwrap();
    }
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("identity").slots(2)).unwrap();
    let end = Instant::now() + ms(1500);
    while Instant::now() < end {
        call(&model, 8, &Options::new()).unwrap();
        thread::sleep(ms(1));
    }
    for peer in &mut peers {
        let answered: u32 = peer.finish().unwrap().parse().unwrap();
        assert!(answered > 5, "{answered}");
        peer.ask("triton close").unwrap();
        assert_eq!((regions_of(&client, peer.pid()).len(), files_of(peer.pid()).len()), (0, 0));
    }
}

fn a_forked_child_has_nothing_of_its_parents(place: &Place) {
    let scene = Scene::new("fork");
    let server = place.own_server();
    let url = server.url(place.wire);
    let mut peer = scene.peer();
    peer.ask(&format!("triton connect {url}")).unwrap();
    peer.ask("triton register slow 2").unwrap();
    // Some are late, so the client has done all that it does on threads of its own.
    peer.start("triton work").unwrap();
    thread::sleep(ms(200));
    peer.finish().unwrap();
    peer.ask("triton infer").unwrap();
    peer.ask("triton hold").unwrap();
    let watcher = place.client_of(&server);
    let had = (regions_of(&watcher, peer.pid()), files_of(peer.pid()));
    assert_eq!((had.0.len(), had.1.len()), (1, 1));
    let has = |pid| (regions_of(&watcher, pid), files_of(pid));

    let child: u32 = peer.ask("fork").unwrap().parse().unwrap();
    for command in ["run", "infer", "hold", "register identity 1"] {
        let refusal = peer.refusal(&format!("triton {command}"));
        assert!(
            refusal.starts_with("Closed") || refusal.starts_with("Call"),
            "{command}: {refusal}"
        );
        assert!(refusal.contains("forked"), "{command}: {refusal}");
    }
    peer.ask("triton close").unwrap();
    assert_eq!(has(peer.pid()), had, "they are the parent's");
    // A client of its own is one like any other.
    peer.ask(&format!("triton connect {url}")).unwrap();
    peer.ask("triton register identity 1").unwrap();
    peer.ask("triton infer").unwrap();
    assert_eq!((has(child).0.len(), has(child).1.len()), (1, 1));
    peer.ask("triton close").unwrap();
    assert_eq!((has(child).0.len(), has(child).1.len()), (0, 0));
    assert_eq!(peer.ask("exit").unwrap(), "ended", "now the parent talks again");
    assert_eq!(has(peer.pid()), had);
    peer.ask("triton run").unwrap();
    peer.ask("triton infer").unwrap();
    peer.ask("triton close").unwrap();
    assert_eq!((has(peer.pid()).0.len(), has(peer.pid()).1.len()), (0, 0));
}
