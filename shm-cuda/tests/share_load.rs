//! Many clients at once: nobody is kept waiting by the others, nothing is built twice, nothing grows.
#![cfg(target_os = "linux")]

mod peer;
mod share_rig;

use peer::Peer;
use share_rig::{
    Place, assert_pattern, connect, handle, numbers, serve, serve_as_child, soon, stat, until,
    value,
};
use shm_cuda::share::{
    Ask, Client, ClientError, FailureKind, Handle, Outcome, Response, Stop, TaskState, Value,
};
use std::collections::{HashMap, HashSet};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn silent_connections_and_waiting_tasks_keep_nobody_waiting() {
    let place = Place::new();
    let (_server, _) = serve(&place);
    let silent: Vec<UnixStream> =
        (0..64).map(|_| UnixStream::connect(place.path()).unwrap()).collect();
    let client = connect(&place.path());
    let known = handle(&client, "managed", 1, 10);
    let busy = connect(&place.path());
    let tasks: Vec<u64> =
        (0..32).map(|_| busy.submit("doze", numbers([60_000]), soon()).unwrap()).collect();
    let waits: Vec<_> =
        tasks.iter().map(|task| busy.start(Ask::WaitTask(*task)).unwrap()).collect();
    let mut times: Vec<Duration> = (0..2000)
        .map(|_| {
            let begin = Instant::now();
            client.ping(soon()).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("ping beside them: p50 {:?}, p99 {:?}", times[1000], times[1980]);
    // Every worker dozes; what is known is served all the same.
    let again = handle(&client, "managed", 1, 10);
    assert_eq!(again.object(), known.object());
    assert!(again.release(soon()).unwrap() && known.release(soon()).unwrap());
    for task in &tasks {
        let _ = client.ask(Ask::CancelTask(*task), soon()).unwrap();
    }
    for wait in waits {
        let outcome = wait.wait(soon());
        match outcome {
            Ok(Response::Outcome(Outcome::Value(Value::Int(left)))) => assert!(left > 0),
            Err(ClientError::Failed(failure)) => assert_eq!(failure.kind, FailureKind::Task),
            other => panic!("{other:?}"),
        }
    }
    drop(silent);
}

#[test]
fn callers_of_one_key_get_one_build_or_one_error_each() {
    let place = Place::new();
    let (_server, builds) = serve(&place);
    for endpoint in ["slowly", "slow panic"] {
        let callers: Vec<_> = (0..32)
            .map(|_| {
                let client = connect(&place.path());
                std::thread::spawn(move || client.call(endpoint, numbers([200]), soon()))
            })
            .collect();
        for caller in callers {
            match caller.join().unwrap() {
                Ok(outcome) => {
                    assert!(matches!(value(outcome), Value::Int(1)) && endpoint == "slowly");
                }
                Err(ClientError::Failed(failure)) => {
                    assert_eq!((failure.kind, endpoint), (FailureKind::Build, "slow panic"));
                    assert!(failure.message.contains("as it was made to"), "{failure}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(builds.load(Ordering::Relaxed), 1);
}

#[test]
fn ten_thousand_tasks_leave_memory_as_it_was() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    let memory = |server: &mut Peer| -> i64 {
        server.tell("memory");
        server.hear().parse().unwrap()
    };
    let run = |numbers_of: std::ops::Range<u64>| {
        for number in numbers_of {
            let task = client.submit("tasked", numbers([number, 64]), soon()).unwrap();
            match client.wait_task(task, soon()).unwrap() {
                Outcome::Handle(handle) => assert!(handle.release(soon()).unwrap()),
                other => panic!("{other:?}"),
            }
        }
    };
    // As many as are remembered, cached and listed at the most.
    run(0..5_000);
    let before = memory(&mut server);
    run(5_000..15_000);
    let after = memory(&mut server);
    println!("private memory of the server: {before} bytes before 10,000 tasks, {after} after");
    assert!(after - before < 4 << 20, "{before} became {after}");
    server.tell("stop");
}

/// What a client may ask, beside a model that is plain to see.
#[test]
fn a_hundred_thousand_operations_of_16_clients_agree_with_a_plain_model() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let seed = std::env::var("SHM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SHM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut clients: Vec<Client> = (0..16).map(|_| connect(&place.path())).collect();
    let mut held: Vec<Vec<(u64, Handle)>> = (0..16).map(|_| Vec::new()).collect();
    // Key to object: what is cached or leased. Object to leases.
    let mut objects: HashMap<u64, u64> = HashMap::new();
    let mut leases: HashMap<u64, u64> = HashMap::new();
    let mut ended: Vec<u64> = Vec::new();
    let mut seen: HashSet<u64> = HashSet::new();
    for step in 0..100_000_u32 {
        let who = random.usize(..16);
        match random.u32(..100) {
            // A call of the endpoint whose objects live while they are leased.
            0..45 if held[who].len() < 40 => {
                let key = random.u64(..24);
                let got = handle(&clients[who], "fleeting", key, 16 + key);
                match objects.get(&key) {
                    Some(object) => assert_eq!(got.object(), *object, "step {step}"),
                    None => {
                        assert!(seen.insert(got.object()), "step {step}: a number was used again")
                    }
                }
                objects.insert(key, got.object());
                *leases.entry(got.object()).or_default() += 1;
                if step % 64 == 0 {
                    assert_pattern(got.value(), key, 16 + key as usize);
                }
                held[who].push((key, got));
            }
            // A release, by the handle or by dropping it.
            0..80 if !held[who].is_empty() => {
                let which = random.usize(..held[who].len());
                let (key, one) = held[who].swap_remove(which);
                ended.push(one.lease());
                release(&mut objects, &mut leases, key, one.object());
                if random.bool() {
                    assert!(one.release(soon()).unwrap());
                    assert!(!one.release(soon()).unwrap());
                } else {
                    drop(one);
                    clients[who].ping(soon()).unwrap();
                }
            }
            // A release of what is not one's own, or not any more.
            0..88 => {
                let foreign = held[(who + 1) % 16].first().map(|(_, one)| one.lease());
                let old = ended.last().copied();
                let wrong: Vec<u64> = foreign.into_iter().chain(old).chain([u64::MAX]).collect();
                let Response::Released(released) =
                    clients[who].ask(Ask::Release(wrong.clone()), soon()).unwrap()
                else {
                    panic!("step {step}")
                };
                assert_eq!(released, vec![false; wrong.len()], "step {step}");
            }
            // A question about an object.
            88..93 => {
                let Some((key, object)) = objects.iter().next() else { continue };
                let Response::Object(Some(info)) =
                    clients[who].ask(Ask::Object(*object), soon()).unwrap()
                else {
                    panic!("step {step}: no object for {key}")
                };
                assert_eq!(info.leases, leases[object], "step {step}");
            }
            // One more lease on it.
            93..96 if held[who].len() < 40 => {
                let Some((key, object)) =
                    objects.iter().next().map(|(key, object)| (*key, *object))
                else {
                    continue;
                };
                match clients[who].ask(Ask::Acquire(object), soon()).unwrap() {
                    Response::Outcome(Outcome::Handle(got)) => {
                        assert_eq!(got.object(), object);
                        *leases.get_mut(&object).unwrap() += 1;
                        held[who].push((key, got));
                    }
                    other => panic!("step {step}: {other:?}"),
                }
            }
            // Forgotten: those who have it keep it, later callers get another.
            96..98 => {
                let key = random.u64(..24);
                let ask = Ask::InvalidateCall("fleeting".into(), numbers([key, 16 + key]));
                let Response::Invalidated(forgotten) = clients[who].ask(ask, soon()).unwrap()
                else {
                    panic!("step {step}")
                };
                assert_eq!(forgotten, u64::from(objects.remove(&key).is_some()), "step {step}");
            }
            // A client goes and another comes.
            98 => {
                clients[who] = {
                    let gone = std::mem::take(&mut held[who]);
                    for (key, one) in &gone {
                        release(&mut objects, &mut leases, *key, one.object());
                    }
                    clients[who].close();
                    drop(gone);
                    let expected: u64 = leases.values().sum();
                    until("its leases end", || server.counters().leases == expected);
                    connect(&place.path())
                };
            }
            _ => clients[who].ping(soon()).unwrap(),
        }
        if step % 1000 == 0 {
            assert_eq!(server.counters().leases, leases.values().sum::<u64>(), "step {step}");
        }
    }
    let counters = server.counters();
    assert_eq!(counters.leases, leases.values().sum::<u64>());
    assert_eq!(counters.objects, leases.len() as u64);
    drop(held);
    for client in &clients {
        client.ping(soon()).unwrap();
    }
    let counters = server.counters();
    assert_eq!((counters.leases, counters.objects, counters.cache_entries), (0, 0, 0));
    assert!(server.stop(Stop::Drain, Duration::from_secs(10)));
}

fn release(objects: &mut HashMap<u64, u64>, leases: &mut HashMap<u64, u64>, key: u64, object: u64) {
    let left = leases.get_mut(&object).unwrap();
    *left -= 1;
    if *left == 0 {
        leases.remove(&object);
        if objects.get(&key) == Some(&object) {
            objects.remove(&key);
        }
    }
}

#[test]
fn a_thousand_idle_clients_cost_no_thread() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap().count();
    let connections = || stat(&client, "connections");
    let before = threads();
    let idle: Vec<UnixStream> =
        (0..1000).map(|_| UnixStream::connect(place.path()).unwrap()).collect();
    until("all are let in", || connections() == 1001);
    assert_eq!(threads(), before);
    drop(idle);
    until("all are gone", || connections() == 1);
    assert_eq!(threads(), before);
    server.tell("stop");
}

#[test]
fn invalidated_while_it_is_built_is_not_served_to_later_callers() {
    let place = Place::new();
    let (server, builds) = serve(&place);
    let client = connect(&place.path());
    let early = client.start(Ask::Call("slowly".into(), numbers([300]))).unwrap();
    until("it is built", || server.counters().builds == 1);
    let Response::Invalidated(0) =
        client.ask(Ask::InvalidateEndpoint("slowly".into()), soon()).unwrap()
    else {
        panic!("nothing was cached yet")
    };
    let late = value(client.call("slowly", numbers([300]), soon()).unwrap());
    let Response::Outcome(Outcome::Value(Value::Int(first))) = early.wait(soon()).unwrap() else {
        panic!()
    };
    let Value::Int(second) = late else { panic!() };
    assert_ne!(first, second);
    assert_eq!(builds.load(Ordering::Relaxed), 2);
    let again = value(client.call("slowly", numbers([300]), soon()).unwrap());
    assert!(matches!(again, Value::Int(found) if found == second), "the later build is cached");
}

#[test]
fn tasks_say_how_far_they_are() {
    let place = Place::new();
    let (_server, _) = serve(&place);
    let client = connect(&place.path());
    let task = client.submit("doze", numbers([60_000]), soon()).unwrap();
    let state = || match client.ask(Ask::Task(task), soon()).unwrap() {
        Response::Task(info) => info.state,
        other => panic!("{other:?}"),
    };
    until("it runs", || state() == TaskState::Running);
    match client.ask(Ask::TaskResult(task), soon()) {
        Err(ClientError::Failed(failure)) => assert_eq!(failure.kind, FailureKind::Task),
        other => panic!("{other:?}"),
    }
    let Response::Tasks(running) =
        client.ask(Ask::Tasks(Some(TaskState::Running)), soon()).unwrap()
    else {
        panic!()
    };
    assert_eq!(running.iter().map(|info| info.task).collect::<Vec<_>>(), [task]);
    client.ask(Ask::CancelTask(task), soon()).unwrap();
    until("it is over", || !matches!(state(), TaskState::Pending | TaskState::Running));
    let failing = client.submit("fails", numbers([]), soon()).unwrap();
    match client.wait_task(failing, soon()) {
        Err(ClientError::Failed(failure)) => {
            assert_eq!(
                (failure.kind, failure.error_type.as_str()),
                (FailureKind::Task, "LookupError")
            );
            assert!(failure.message.contains("no such model"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_fetches_of_one_task_are_two_leases() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let (one, two) = (connect(&place.path()), connect(&place.path()));
    let task = one.submit("tasked", numbers([5, 1000]), soon()).unwrap();
    let fetch = |client: &Client| match client.wait_task(task, soon()).unwrap() {
        Outcome::Handle(handle) => handle,
        other => panic!("{other:?}"),
    };
    let (first, second, third) = (fetch(&one), fetch(&one), fetch(&two));
    assert_eq!(server.counters().leases, 3);
    assert!(first.release(soon()).unwrap() && second.release(soon()).unwrap());
    assert_pattern(third.value(), 5, 1000);
    assert_eq!(third.info(soon()).unwrap().unwrap().leases, 1);
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Some((role, path)) = peer::role() else { return };
    assert_eq!(role, "serve");
    serve_as_child(&path);
}
