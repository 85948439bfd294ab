//! Who is served, and how.

use crate::peer::Peer;
use crate::raw::{Raw, value};
use crate::{Gate, Opening, Scene, endpoints, is_root, number, soon, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shm_core::Deadline;
use shm_cuda::share::wire::{Received, Reply, Request};
use shm_cuda::share::{Arguments, Endpoint, FailureKind, TaskState, Value};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

fn assert_bytes(found: &Value, len: usize) {
    let Value::Tensor(tensor) = found else { panic!("{found:?}") };
    let expected: Vec<u8> = (0..len).map(|index| (index * 7) as u8).collect();
    assert!(tensor.to_vec().unwrap() == expected);
}

#[test]
fn calls_are_answered_with_shared_memory() {
    let scene = Scene::new();
    let mut raw = Raw::silent(&scene.path());
    let welcome = raw.greet((1, 3)).unwrap();
    assert_eq!(
        (welcome.version, welcome.server, welcome.pid),
        (1, scene.server.id(), std::process::id())
    );
    for len in [0, 1, 5000, 3 << 20] {
        assert_bytes(&raw.value("bytes", &number(len)).unwrap(), len as usize);
    }
    let again = raw.value("bytes", &number(5000)).unwrap();
    assert_bytes(&again, 5000);
    assert_eq!(scene.builds(), 4);
    // Arguments lie in shared memory too.
    let sent = Arguments::positional([again, Value::Int(4)]);
    let Value::List(items) = raw.value("echo", &sent).unwrap() else { panic!("no list") };
    assert_bytes(&items[0], 5000);
    drop(scene);
    assert_bytes(&items[0], 5000);
}

#[test]
fn the_silent_and_the_waiting_do_not_keep_others_from_being_served() {
    let scene = Scene::new();
    let _opening = Opening(&scene.gate);
    let silent: Vec<Raw> = (0..64).map(|_| Raw::silent(&scene.path())).collect();
    let mut waiting: Vec<Raw> = (0..32).map(|_| Raw::greeted(&scene.path())).collect();
    let mut tasks = Vec::new();
    for raw in &mut waiting {
        raw.call("held", &Arguments::default());
        raw.submit("held task", &Arguments::default());
        match raw.hear() {
            (_, Received::Reply(Reply::Submitted(task))) => tasks.push(task),
            other => panic!("{other:?}"),
        }
        raw.send(&Request::WaitTask(tasks[tasks.len() - 1]));
    }
    until("both workers are busy", || scene.gate.inside() == 2);
    let mut raw = Raw::greeted(&scene.path());
    for _ in 0..100 {
        raw.ping();
    }
    raw.send(&Request::ServerInfo);
    let (_, Received::Reply(Reply::Info(Value::Map(info)))) = raw.hear() else { panic!("no info") };
    assert!(info.iter().any(|(name, _)| name == "stats"));
    raw.send(&Request::Tasks(Some(TaskState::Running)));
    let (_, Received::Reply(Reply::Tasks(running))) = raw.hear() else { panic!("no tasks") };
    assert!(running.len() <= 2);
    raw.send(&Request::CancelTask(tasks[31]));
    assert!(matches!(raw.hear(), (_, Received::Reply(Reply::Cancelled(true)))));
    assert_eq!(scene.server.counters().connections, 97);
    scene.gate.open();
    for (index, raw) in waiting.iter_mut().enumerate() {
        for _ in 0..2 {
            match value(raw.hear().1) {
                Ok(Value::Str(text)) => assert_eq!(text, "passed"),
                Err(failure) => assert_eq!((failure.kind, index), (FailureKind::Task, 31)),
                other => panic!("{other:?}"),
            }
        }
    }
    drop(silent);
    until("they are gone", || scene.server.counters().connections == 33);
}

#[test]
fn requests_are_answered_by_number_whatever_order_they_are_done_in() {
    let scene = Scene::new();
    let _opening = Opening(&scene.gate);
    let mut raw = Raw::greeted(&scene.path());
    let held = raw.call("held", &Arguments::default());
    let pings: Vec<u64> = (0..5000).map(|_| raw.send(&Request::Ping)).collect();
    for ping in pings {
        let (request, Received::Reply(Reply::Pong)) = raw.hear() else { panic!("no pong") };
        assert_eq!(request, ping);
    }
    let dropped = raw.call("held", &Arguments::default());
    raw.send(&Request::Cancel(dropped));
    let (request, received) = raw.hear();
    assert_eq!((request, value(received).unwrap_err().kind), (dropped, FailureKind::Cancelled));
    scene.gate.open();
    let (request, received) = raw.hear();
    assert_eq!(request, held);
    assert!(matches!(value(received), Ok(Value::Str(_))));
}

#[test]
fn a_thousand_idle_connections_cost_descriptors_and_nothing_else() {
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let scene = Scene::new();
    let idle: Vec<UnixStream> =
        (0..1000).map(|_| UnixStream::connect(scene.path()).unwrap()).collect();
    until("all are let in", || scene.server.counters().connections == 1000);
    let mut raw = Raw::greeted(&scene.path());
    raw.ping();
    assert_bytes(&raw.value("bytes", &number(100)).unwrap(), 100);
    drop(idle);
    until("all are gone", || scene.server.counters().connections == 1);
    raw.ping();
    assert_eq!(scene.server.counters().connections_total, 1001);
}

#[test]
fn a_client_too_many_is_told_so_unless_somebody_was_silent_for_too_long() {
    let scene = Scene::with(|config| config.connections = 3);
    let mut greeted = Raw::greeted(&scene.path());
    let mut silent = [Raw::silent(&scene.path()), Raw::silent(&scene.path())];
    until("they are let in", || scene.server.counters().connections == 3);
    let mut late = Raw::silent(&scene.path());
    let failure = value(late.hear().1).unwrap_err();
    assert_eq!((failure.kind, failure.detail("limit")), (FailureKind::Busy, Some("3")));
    late.hear_end();
    // Longer than a client may be silent while others want its place.
    std::thread::sleep(Duration::from_millis(5100));
    Raw::greeted(&scene.path()).ping();
    silent[0].hear_end();
    silent[1].greet((1, 1)).unwrap();
    silent[1].ping();
    greeted.ping();
}

#[test]
fn who_does_not_say_hello_is_not_served() {
    let scene = Scene::new();
    let mut early = Raw::silent(&scene.path());
    early.send(&Request::Ping);
    assert_eq!(value(early.hear().1).unwrap_err().kind, FailureKind::Protocol);
    early.hear_end();

    let mut future = Raw::silent(&scene.path());
    let failure = future.greet((2, 9)).unwrap_err();
    assert_eq!((failure.kind, failure.detail("expected")), (FailureKind::Protocol, Some("1")));
    future.hear_end();

    let mut twice = Raw::greeted(&scene.path());
    assert_eq!(twice.greet((1, 1)).unwrap_err().kind, FailureKind::Protocol);
    twice.ping();
}

#[test]
fn other_users_are_let_in_by_name_only() {
    if !is_root() {
        return; // Only root can be somebody else.
    }
    let scene = Scene::with(|config| config.allow_users = vec![12345]);
    scene.place.set_mode(0o755);
    let try_as = |user: u32, scene: &Scene| {
        let mut peer = Peer::new("stranger", &format!("{user} {}", scene.place.text()));
        peer.hear()
    };
    assert_eq!(try_as(12345, &scene), "welcome");
    assert_eq!(try_as(12346, &scene), "Permission");
    Raw::greeted(&scene.path()).ping();
}

#[test]
fn an_endpoint_that_panics_fails_its_callers_and_nobody_else() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    for (endpoint, message) in [("panics", "as it was made to"), ("panics twice", "no message")] {
        // More often than there are workers.
        for _ in 0..4 {
            let failure = raw.value(endpoint, &Arguments::default()).unwrap_err();
            assert_eq!((failure.kind, &*failure.error_type), (FailureKind::Build, "panic"));
            assert!(failure.message.contains(message), "{failure}");
        }
    }
    assert_bytes(&raw.value("bytes", &number(10)).unwrap(), 10);
    let failure = scene.server.invoke("panics", Arguments::default(), soon()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Build);
}

#[test]
fn the_own_process_shares_what_clients_had_built() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    assert_bytes(&raw.value("bytes", &number(777)).unwrap(), 777);
    let own = scene.server.invoke("bytes", number(777), soon()).unwrap();
    assert_bytes(&own, 777);
    assert_eq!(scene.builds(), 1);
    let managed = scene.server.invoke("managed", Arguments::default(), soon()).unwrap();
    let Value::Tensor(tensor) = managed else { panic!("{managed:?}") };
    assert_eq!(tensor.to_vec().unwrap(), [1, 2, 3]);
    let counters = scene.server.counters();
    assert_eq!((counters.leases, counters.objects, counters.connections), (0, 1, 1));

    assert_eq!(scene.server.invalidate_call("bytes", number(777)).unwrap(), 1);
    assert_eq!(scene.server.invalidate_call("bytes", number(777)).unwrap(), 0);
    assert_eq!(scene.server.invalidate_endpoint("managed").unwrap(), 1);
    assert_bytes(&raw.value("bytes", &number(777)).unwrap(), 777);
    assert_eq!(scene.builds(), 3);
    assert_bytes(&own, 777);

    let unknown = scene.server.invoke("nothing", Arguments::default(), soon()).unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Endpoint);
    assert!(scene.server.invalidate_endpoint("nothing").is_err());
}

#[test]
fn a_local_caller_gives_up_at_its_deadline() {
    let scene = Scene::new();
    let _opening = Opening(&scene.gate);
    let deadline = Deadline::after(Duration::from_millis(30));
    let failure = scene.server.invoke("held", Arguments::default(), deadline).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
    let deadline = Deadline::after(Duration::from_millis(30));
    scene.server.invoke("obedient", Arguments::default(), deadline).unwrap_err();
    // Nobody waits for it any more, so it is asked to stop.
    until("the obedient one stops", || scene.server.counters().builds == 1);
}

#[test]
fn endpoints_come_later_too() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    let late = || Endpoint::new("late", |_: &_, _: &_| Ok(Value::Int(5)));
    assert_eq!(raw.value("late", &number(1)).unwrap_err().kind, FailureKind::Endpoint);
    scene.server.register(late()).unwrap();
    assert!(matches!(raw.value("late", &number(1)), Ok(Value::Int(5))));
    assert_eq!(scene.server.register(late()).unwrap_err().kind, FailureKind::Endpoint);

    let twice = [endpoints(&Gate::default(), &Arc::default()), vec![late(), late()]].concat();
    let place = crate::Place::new();
    let refused =
        shm_cuda::share::Server::start(shm_cuda::share::ServerConfig::new(place.path()), twice);
    assert!(matches!(refused, Err(shm_cuda::share::BindError::Endpoint(_))), "{refused:?}");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn it_says_what_it_is() {
    let scene = Scene::new();
    let Value::Map(own) = scene.server.info() else { panic!("no map") };
    let of = |name: &str| own.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let Some(Value::Str(path)) = of("socket_path") else { panic!("no path") };
    assert_eq!(*path, scene.place.text());
    assert!(matches!(of("pid"), Some(Value::Int(pid)) if *pid == i128::from(std::process::id())));
    assert!(matches!(of("workers"), Some(Value::Int(2))));
    assert!(matches!(of("ready"), Some(Value::Bool(true))));
    let Some(Value::Map(can)) = of("capabilities") else { panic!("no capabilities") };
    assert!(can.iter().any(|(name, value)| name == "cuda" && matches!(value, Value::Bool(_))));
    assert_eq!(scene.server.path(), scene.path());

    let mut raw = Raw::greeted(&scene.path());
    raw.send(&Request::ServerInfo);
    let (_, Received::Reply(Reply::Info(Value::Map(told)))) = raw.hear() else { panic!("no info") };
    let names =
        |map: &[(String, Value)]| map.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&told), names(&own));
}
