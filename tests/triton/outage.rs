//! Servers that die, come back, or stand still.

use crate::call::{
    PATIENCE, assert_all_free, call, files_of, ms, regions_of, shape, taking, until,
};
use shm_tests::Scene;
use shm_tests::triton::{Kind, Place};
use shm_triton::{
    CallError, ClientConfig, CloseError, InferError, ModelConfig, Options, RegisterError,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

everywhere!(
    a_server_that_comes_back_is_found_again,
    registering_survives_servers_that_die,
    a_server_that_stands_still_costs_the_deadline_and_no_more,
);

fn a_server_that_comes_back_is_found_again(place: &Place) {
    let mut server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("slow").slots(3)).unwrap();
    let (good, bad, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    match call(&model, 4, &taking(fastrand::i64(0..10)).within(ms(5000))) {
                        Ok(()) => good.fetch_add(1, Ordering::Relaxed),
                        Err(InferError::Lost { .. } | InferError::Unavailable { .. }) => {
                            thread::sleep(ms(5));
                            bad.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
        let work = || {
            let before = good.load(Ordering::Relaxed);
            until("calls are answered", || good.load(Ordering::Relaxed) > before + 5);
        };
        work();
        for round in 0..3 {
            server.kill();
            if round == 1 {
                thread::sleep(ms(150));
            }
            server.restart();
            work();
        }
        end.store(true, Ordering::Relaxed);
    });
    println!("{good:?} answered, {bad:?} not; {:?}", client.stats());
    assert!(bad.into_inner() > 0);
    let stats = client.stats();
    assert!(stats.registered_again + stats.retired >= 3, "{stats:?}");
    assert_all_free(&client, &model);
    until("the server is told of what was given up", || client.stats().owed == 0);
    assert_eq!(regions_of(&client, std::process::id()).len(), 1);
    model.unregister(PATIENCE).unwrap();
    assert_eq!(regions_of(&client, std::process::id()).len(), 0);
}

fn registering_survives_servers_that_die(place: &Place) {
    let scene = Scene::new("register");
    let mut server = place.own_server();
    let mut peer = scene.peer();
    peer.ask(&format!("triton connect {}", server.url(place.wire))).unwrap();
    peer.start("triton endure").unwrap();
    // A real server takes a second to start.
    for _ in 0..if place.kind == Kind::Embedded { 6 } else { 2 } {
        thread::sleep(ms(fastrand::u64(20..80)));
        server.restart();
    }
    thread::sleep(ms(50));
    let done = peer.finish().unwrap();
    println!("{done} times registered, called and unregistered");
    peer.ask("triton register identity 2").unwrap();
    peer.ask("triton infer").unwrap();
    let watcher = place.client_of(&server);
    until("what failed is gone from the server", || regions_of(&watcher, peer.pid()).len() == 1);
    assert_eq!(files_of(peer.pid()).len(), 1);
    peer.ask("triton close").unwrap();
    assert_eq!((regions_of(&watcher, peer.pid()).len(), files_of(peer.pid()).len()), (0, 0));
}

fn a_server_that_stands_still_costs_the_deadline_and_no_more(place: &Place) {
    let server = place.own_server();
    let config = ClientConfig::new(server.url(place.wire)).sweep(false).timeout(Some(ms(300)));
    let client = config.connect().unwrap();
    let model = client.register_model(ModelConfig::new("identity").slots(2)).unwrap();
    call(&model, 1, &Options::new()).unwrap();
    server.stop();
    let begun = Instant::now();
    let kept = |what: &str, within: Duration, act: &mut dyn FnMut()| {
        let begun = Instant::now();
        act();
        let took = begun.elapsed();
        assert!(took + ms(20) >= within, "{what} gave up after {took:?}");
        assert!(took < within + Duration::from_secs(10), "{what} took {took:?}");
    };
    let within = || Options::new().within(ms(400));
    for call_number in 0..2 {
        kept("a call", ms(400), &mut || {
            let error = call(&model, 1, &within()).unwrap_err();
            assert!(matches!(error, InferError::Timeout { .. }), "{call_number}: {error}");
        });
    }
    kept("a call without a slot", ms(400), &mut || {
        let error = call(&model, 1, &within()).unwrap_err();
        assert!(matches!(error, InferError::NoSlot { in_use: 2, .. }), "{error}");
    });
    kept("a question", ms(300), &mut || {
        let error = client.statistics("identity").unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    });
    kept("a registration", ms(300), &mut || {
        let error = client.register_model(ModelConfig::new("normal")).unwrap_err();
        assert!(matches!(error, RegisterError::Call(CallError::Timeout { .. })), "{error}");
    });
    kept("the wait for a server", ms(300), &mut || {
        assert!(client.wait_ready(ms(300)).is_err());
    });
    // A larger slot has to be registered.
    kept("a growing slot", ms(300), &mut || {
        let dynamic = ModelConfig::new("any").slots(1);
        assert!(client.register_model(dynamic).is_err());
    });
    kept("the end", ms(300), &mut || {
        let error = model.unregister(ms(300)).unwrap_err();
        assert!(matches!(error, CloseError::InUse { .. }), "{error}");
    });
    println!("stood still for {:.1?}", begun.elapsed());
    server.resume();
    until("it answers", || client.stats().in_flight == 0 && client.is_ready().unwrap_or(false));
    let again = client.register_model_within(ModelConfig::new("identity"), PATIENCE).unwrap();
    assert_eq!(shape(&again, 3), [3, 16]);
    call(&again, 8, &Options::new().within(PATIENCE)).unwrap();
    client.close(PATIENCE).unwrap();
}
