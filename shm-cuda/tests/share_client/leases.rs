//! What was leased comes back, whoever stopped to want it and when.

use crate::script::{Script, answer, connected};
use crate::share_rig::{Place, connect, handle, serve, soon, until};
use shm_core::Deadline;
use shm_cuda::share::wire::{Reply, Request};
use shm_cuda::share::{
    Arguments, Ask, Client, ClientError, Failure, FailureKind, Health, Outcome, Response,
};
use std::time::Duration;

fn call(client: &Client, script: &mut Script) -> (u64, shm_cuda::share::Pending) {
    let pending = client.start(Ask::Call("any".to_owned(), Arguments::default())).unwrap();
    (script.hear().0, pending)
}

fn assert_released(script: &mut Script, lease: u64) {
    match script.hear() {
        (0, Request::Release(leases)) => assert_eq!(leases, [lease]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_comes_too_late_goes_back() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let soon_over = Deadline::after(Duration::from_millis(20));
    let (id, pending) = call(&client, &mut script);
    assert!(matches!(pending.wait(soon_over), Err(ClientError::TimedOut)));
    assert!(matches!(script.hear(), (0, Request::Cancel(of)) if of == id));
    // The cancellation crossed the answer. Nobody waits for anything in the client.
    script.say(id, &answer(Some(77), Some(1)));
    assert_released(&mut script, 77);
}

#[test]
fn an_answer_that_nobody_looks_at_goes_back() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let (id, unseen) = call(&client, &mut script);
    script.say(id, &answer(Some(78), None));
    // Taken in by somebody who waits for something else.
    let ping = client.start(Ask::Ping).unwrap();
    let (other, _) = script.hear();
    script.say(other, &Reply::Pong);
    ping.wait(soon()).unwrap();
    drop(unseen);
    assert_released(&mut script, 78);
    // Seen, but not kept.
    let (id, mut seen) = call(&client, &mut script);
    script.say(id, &answer(Some(79), Some(2)));
    assert!(seen.ready(soon()));
    drop(seen.poll().unwrap().unwrap());
    assert_released(&mut script, 79);
}

#[test]
fn an_answer_that_cannot_be_read_goes_back() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let (id, pending) = call(&client, &mut script);
    // An object, but no lease on it.
    script.say(id, &answer(None, Some(5)));
    assert!(matches!(pending.wait(soon()), Err(ClientError::Protocol { .. })));
    // A lease, but a tensor of a dtype that is none.
    let (id, pending) = call(&client, &mut script);
    let Reply::Answer(mut reply) = answer(Some(80), Some(6)) else { unreachable!() };
    let mut body = reply.value.body.to_vec();
    let place = body.windows(5).position(|name| name == b"uint8").unwrap_or_else(|| {
        panic!("no dtype in {body:02x?}");
    });
    body[place..place + 5].copy_from_slice(b"zzzzz");
    reply.value.body = body.into();
    script.say(id, &Reply::Answer(reply));
    assert!(matches!(pending.wait(soon()), Err(ClientError::Protocol { .. })));
    assert_released(&mut script, 80);
    assert!(client.is_alive());
}

#[test]
fn a_lease_without_an_object_that_nothing_needs_goes_back_at_once() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let (id, pending) = call(&client, &mut script);
    script.say(id, &answer(Some(81), None));
    let response = pending.wait(soon()).unwrap();
    // Host memory stays without it.
    assert!(matches!(response, Response::Outcome(Outcome::Value(_))));
    assert_released(&mut script, 81);
}

#[test]
fn a_handle_is_released_once() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let first = handle(&client, "managed", 1, 100);
    let second = handle(&client, "managed", 1, 100);
    assert_eq!(first.object(), second.object());
    assert_ne!(first.lease(), second.lease());
    assert_eq!(server.counters().leases, 2);
    assert_eq!(first.health(), Health::Live);
    assert!(first.release(soon()).unwrap());
    assert!(!first.release(soon()).unwrap());
    assert_eq!(first.health(), Health::Released);
    assert_eq!(second.info(soon()).unwrap().unwrap().leases, 1);
    drop(first);
    drop(second);
    // In the order of the socket, behind the release that is not answered.
    client.ping(soon()).unwrap();
    assert_eq!(server.counters().leases, 0);
    // What remains of an object that went.
    let gone = handle(&client, "fleeting", 1, 100);
    let object = gone.object();
    drop(gone);
    match client.ask(Ask::Acquire(object), soon()) {
        Err(ClientError::Failed(Failure { kind: FailureKind::Stale, .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn leases_do_not_go_with_the_client_while_a_handle_is_there() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    drop(client);
    assert_eq!(kept.health(), Health::Live);
    assert!(kept.info(soon()).unwrap().is_some());
    assert_eq!((server.counters().leases, server.counters().connections), (1, 1));
    drop(kept);
    until("the connection ends", || server.counters().connections == 0);
}
