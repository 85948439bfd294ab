//! How a server stops, whatever state it is in.

use crate::peer::Peer;
use crate::raw::{Raw, value};
use crate::{Opening, PATIENCE, Place, Scene, number, soon, until};
use rustix::net::SendFlags;
use shm_core::Deadline;
use shm_cuda::share::wire::{Received, Reply, Request};
use shm_cuda::share::{
    Arguments, Endpoint, EndpointOptions, FailureKind, Server, ServerConfig, Stop, Value,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(100);

fn stopping(raw: &mut Raw) {
    let (request, Received::Reply(Reply::Stopping)) = raw.hear() else { panic!("no notice") };
    assert_eq!(request, 0);
}

#[test]
fn an_idle_server_stops_and_leaves_nothing() {
    for how in [Stop::Drain, Stop::Abort] {
        let scene = Scene::new();
        let mut raw = Raw::greeted(&scene.path());
        let mut silent = Raw::silent(&scene.path());
        assert!(scene.server.stop(how, PATIENCE));
        stopping(&mut raw);
        raw.hear_end();
        stopping(&mut silent);
        silent.hear_end();
        assert_eq!(scene.place.names(), Vec::<String>::new());
        // Again, and from others.
        assert!(scene.server.stop(how, PATIENCE));
        assert!(scene.server.wait(Deadline::NOW));
        let failure = scene.server.invoke("echo", Arguments::default(), soon()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Stopping);
        assert!(scene.server.invalidate_endpoint("echo").is_err());
        assert_eq!(scene.server.counters().connections_total, 2);
        assert!(matches!(scene.server.info(), Value::Map(map) if !map.is_empty()));
        drop(Server::start(ServerConfig::new(scene.path()), Vec::new()).unwrap());
    }
}

#[test]
fn a_drain_finishes_what_was_accepted_and_accepts_no_more() {
    let scene = Scene::new();
    let _opening = Opening(&scene.gate);
    let mut waiting = Raw::greeted(&scene.path());
    let mut other = Raw::greeted(&scene.path());
    let calls: Vec<u64> = (0..3).map(|_| waiting.call("held", &Arguments::default())).collect();
    until("the workers are busy", || scene.gate.inside() == 2);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| scene.server.stop(Stop::Drain, PATIENCE));
        stopping(&mut waiting);
        stopping(&mut other);
        let failure = other.value("bytes", &number(5)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Stopping);
        assert!(scene.server.invoke("bytes", number(5), soon()).is_err());
        other.ping();
        assert!(!scene.path().exists());
        assert!(Server::start(ServerConfig::new(scene.path()), Vec::new()).is_err());
        assert!(!scene.server.wait(Deadline::after(Duration::from_millis(20))));
        scene.gate.open();
        for call in calls {
            let (request, received) = waiting.hear();
            assert!(matches!(value(received), Ok(Value::Str(_))), "{call} {request}");
        }
        waiting.hear_end();
        assert!(stop.join().unwrap());
    });
}

#[test]
fn a_drain_whose_time_is_up_tells_who_waits() {
    let scene = Scene::new();
    let opening = Opening(&scene.gate);
    let mut raw = Raw::greeted(&scene.path());
    let call = raw.call("held", &Arguments::default());
    until("it is built", || scene.gate.inside() == 1);
    assert!(!scene.server.stop(Stop::Drain, SOON), "an endpoint has not ended");
    stopping(&mut raw);
    let (request, received) = raw.hear();
    assert_eq!((request, value(received).unwrap_err().kind), (call, FailureKind::Stopping));
    raw.hear_end();
    // Its thread is left to end by itself, and the path is free meanwhile.
    drop(Server::start(ServerConfig::new(scene.path()), Vec::new()).unwrap());
    drop(opening);
    until("it ends", || scene.gate.inside() == 0);
}

#[test]
fn an_abort_tells_who_waits_and_asks_endpoints_to_stop() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    let calls: Vec<u64> = (0..20).map(|_| raw.call("obedient", &Arguments::default())).collect();
    raw.submit("obedient", &Arguments::default());
    assert!(matches!(raw.hear(), (_, Received::Reply(Reply::Submitted(_)))));
    until("the workers are busy", || scene.server.counters().builds == 21);
    assert!(scene.server.stop(Stop::Abort, PATIENCE));
    stopping(&mut raw);
    let mut told: Vec<u64> = calls
        .iter()
        .map(|_| {
            let (request, received) = raw.hear();
            assert_eq!(value(received).unwrap_err().kind, FailureKind::Stopping);
            request
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, calls);
    raw.hear_end();
}

#[test]
fn dropping_it_stops_it_even_if_an_endpoint_does_not_end() {
    let Scene { place, gate, server, .. } = Scene::new();
    let opening = Opening(&gate);
    let mut raw = Raw::greeted(&place.path());
    raw.call("held", &Arguments::default());
    until("it is built", || gate.inside() == 1);
    drop(server);
    assert_eq!(place.names(), Vec::<String>::new());
    stopping(&mut raw);
    assert_eq!(value(raw.hear().1).unwrap_err().kind, FailureKind::Stopping);
    raw.hear_end();
    drop(opening);
}

#[test]
fn an_abort_overtakes_a_drain() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    raw.call("obedient", &Arguments::default());
    until("it is built", || scene.server.counters().builds == 1);
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| scene.server.stop(Stop::Drain, PATIENCE));
        stopping(&mut raw);
        let aborts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| scene.server.stop(Stop::Abort, PATIENCE))).collect();
        aborts.into_iter().for_each(|abort| assert!(abort.join().unwrap()));
        assert!(drain.join().unwrap());
    });
    assert_eq!(value(raw.hear().1).unwrap_err().kind, FailureKind::Stopping);
}

#[test]
fn an_endpoint_may_stop_its_server() {
    let place = Place::new();
    let own: Arc<OnceLock<Server>> = Arc::default();
    let stopped = own.clone();
    let uncached = EndpointOptions { cache: false, ..EndpointOptions::default() };
    let stop = Endpoint::new("stop", move |_: &_, _: &_| {
        // It cannot end before it returns: false.
        let server = stopped.get().expect("set before it is called");
        Ok(Value::Bool(server.stop(Stop::Drain, SOON)))
    });
    let server = Server::start(ServerConfig::new(place.path()), vec![stop.with(uncached)]).unwrap();
    own.set(server).unwrap();
    let mut raw = Raw::greeted(&place.path());
    raw.call("stop", &Arguments::default());
    stopping(&mut raw);
    assert_eq!(value(raw.hear().1).unwrap_err().kind, FailureKind::Stopping);
    raw.hear_end();
    let server = own.get().unwrap();
    assert!(server.wait(soon()));
    until("the path is free", || place.names().is_empty());
}

#[test]
fn a_client_that_does_not_read_does_not_extend_a_stop() {
    let scene = Scene::new();
    let deaf = Raw::greeted(&scene.path());
    let mut pings = Vec::new();
    for request in 1..1000_u64 {
        pings.extend(
            shm_cuda::share::wire::Header { kind: 2, descriptors: 0, request, body: 0 }.to_bytes(),
        );
    }
    while rustix::net::send(deaf.channel.socket(), &pings, SendFlags::DONTWAIT).is_ok() {}
    assert!(scene.server.stop(Stop::Drain, Duration::from_millis(300)));
    assert_eq!(scene.place.names(), Vec::<String>::new());
}

#[test]
fn who_comes_while_it_stops_finds_no_server() {
    let scene = Scene::new();
    let _opening = Opening(&scene.gate);
    let mut raw = Raw::greeted(&scene.path());
    // Let in, but silent: it may still say who it is, and is told then.
    let mut late = Raw::silent(&scene.path());
    until("it is let in", || scene.server.counters().connections == 2);
    raw.call("held", &Arguments::default());
    until("it is built", || scene.gate.inside() == 1);
    std::thread::scope(|scope| {
        scope.spawn(|| scene.server.stop(Stop::Drain, PATIENCE));
        stopping(&mut raw);
        assert!(std::os::unix::net::UnixStream::connect(scene.path()).is_err());
        stopping(&mut late);
        late.greet((1, 1)).unwrap();
        late.send(&Request::Ping);
        while !matches!(late.hear(), (_, Received::Reply(Reply::Pong))) {}
        scene.gate.open();
    });
}

#[test]
fn nothing_is_left_of_many_servers() {
    let place = Place::new();
    let mut peer = Peer::new("leaks", &place.text());
    let said = peer.hear();
    let (before, after) = said.split_once(") (").unwrap();
    assert_eq!(format!("{before})"), format!("({after}"), "descriptors and threads");
    assert!(peer.wait().success());
    assert_eq!(place.names(), Vec::<String>::new());
}
