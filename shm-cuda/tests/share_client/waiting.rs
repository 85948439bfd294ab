//! Many threads on one connection: each gets its own answer, whoever reads it.

use crate::script::{answer, connected};
use crate::share_rig::{Place, connect, numbers, serve, soon, until, value};
use shm_core::Deadline;
use shm_cuda::share::wire::{Reply, Request};
use shm_cuda::share::{
    Arguments, Ask, Cancellation, Client, ClientError, Endpoint, Failure, FailureKind, Pending,
    Response, Server, ServerConfig, Value,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn ms(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

fn pong(answer: &Result<Response, ClientError>) -> bool {
    matches!(answer, Ok(Response::Pong))
}

#[test]
fn each_thread_gets_its_own_answer() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let late = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (client, late) = (&client, &late);
            scope.spawn(move || {
                for round in 0..200u64 {
                    let number = thread * 1000 + round;
                    match round % 4 {
                        0 => client.ping(soon()).unwrap(),
                        1 => assert_echo(client, number),
                        // Over before, while or after the answer comes.
                        2 => match client.call("echo", numbers([number]), us(round)) {
                            Ok(outcome) => assert_is(&value(outcome), number),
                            Err(ClientError::TimedOut) => {
                                late.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(other) => panic!("{other}"),
                        },
                        // Nobody waits for the first; the last is waited for first.
                        _ => {
                            let mut all: Vec<Pending> =
                                client.start_all(vec![Ask::Ping; 5]).unwrap();
                            drop(all.remove(0));
                            for pending in all.into_iter().rev() {
                                assert!(pong(&pending.wait(soon())));
                            }
                        }
                    }
                }
            });
        }
    });
    println!("{} of 800 calls were given up", late.load(Ordering::Relaxed));
    client.ping(soon()).unwrap();
    assert_eq!(server.counters().leases, 0);
}

fn us(microseconds: u64) -> Deadline {
    Deadline::after(Duration::from_micros(microseconds))
}

fn assert_echo(client: &Client, number: u64) {
    assert_is(&value(client.call("echo", numbers([number]), soon()).unwrap()), number);
}

fn assert_is(found: &Value, number: u64) {
    let Value::List(items) = found else { panic!("{found:?}") };
    assert!(matches!(items[..], [Value::Int(same)] if same == i128::from(number)), "{found:?}");
}

#[test]
fn a_reader_whose_time_is_up_hands_over() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    std::thread::scope(|scope| {
        let hurried = scope.spawn(|| client.ping(ms(50)));
        let (first, _) = script.hear();
        // Sleeps while the first one reads, and reads when that one has left.
        let patient = scope.spawn(|| client.ping(soon()));
        let (second, _) = script.hear();
        assert!(matches!(hurried.join().unwrap(), Err(ClientError::TimedOut)));
        assert!(matches!(script.hear(), (0, Request::Cancel(id)) if id == first));
        script.say(second, &Reply::Pong);
        patient.join().unwrap().unwrap();
    });
}

#[test]
fn a_reader_that_has_its_answer_hands_over() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..8 {
            threads.push(scope.spawn(|| client.ping(soon())));
            numbers.push(script.hear().0);
        }
        // One by one, each after the one before has returned.
        for (thread, number) in threads.into_iter().zip(numbers) {
            script.say(number, &Reply::Pong);
            thread.join().unwrap().unwrap();
        }
    });
}

#[test]
fn waiting_for_a_while_does_not_give_up() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let mut pending = client.start(Ask::Ping).unwrap();
    let (id, _) = script.hear();
    assert!(!pending.ready(ms(5)));
    assert!(pending.poll().is_none());
    script.say(id, &Reply::Pong);
    assert!(pending.ready(soon()));
    assert!(pong(&pending.poll().unwrap()));
    assert!(pending.poll().is_none(), "it was given");
    client.ping(Deadline::NOW).unwrap_err();
    // Nothing was cancelled but the last one.
    let (last, request) = script.hear();
    assert!(matches!(request, Request::Ping));
    assert!(matches!(script.hear(), (0, Request::Cancel(id)) if id == last));
}

#[test]
fn a_server_that_does_not_read_holds_nobody_up() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let large = || {
        let arguments = Arguments::positional([Value::Bytes(vec![5; 900 << 10])]);
        Ask::Call("swallow".to_owned(), arguments)
    };
    let mut pending = Vec::new();
    let refused = loop {
        match client.start(large()) {
            Ok(sent) => pending.push(sent),
            Err(error) => break error,
        }
        assert!(pending.len() < 1000);
    };
    let busy = |failure: &Failure| failure.kind == FailureKind::Busy;
    assert!(matches!(&refused, ClientError::Failed(failure) if busy(failure)), "{refused}");
    // One that may wait does so until its deadline.
    assert!(matches!(client.ask(large(), ms(20)), Err(ClientError::TimedOut)));
    // What has no answer is queued all the same.
    let given_up = pending.pop().unwrap();
    drop(given_up);
    // Once it reads, everything arrives in order, written by a thread that nobody waits for.
    for index in 0..=pending.len() {
        let (id, request) = script.hear();
        assert!(matches!(request, Request::Call { .. }), "{index}: {request:?}");
        if index < pending.len() {
            script.say(id, &answer(None, None));
        }
    }
    assert!(matches!(script.hear(), (0, Request::Cancel(_))));
    for one in pending {
        assert!(matches!(one.wait(soon()), Ok(Response::Outcome(_))));
    }
}

#[test]
fn what_is_too_long_for_the_server_is_refused_here() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let arguments = Arguments::positional([Value::Bytes(vec![0; 2 << 20])]);
    match client.call("any", arguments, soon()) {
        Err(ClientError::Failed(failure)) => {
            assert_eq!(failure.kind, FailureKind::Value, "{failure}");
        }
        other => panic!("{other:?}"),
    }
    // Nothing of it was sent.
    let pending = client.start(Ask::Ping).unwrap();
    let (id, request) = script.hear();
    assert!(matches!(request, Request::Ping));
    script.say(id, &Reply::Pong);
    pending.wait(soon()).unwrap();
}

#[test]
fn an_answer_to_another_question_is_an_error_of_that_question() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let pending = client.start(Ask::Endpoints).unwrap();
    let (id, _) = script.hear();
    script.say(id, &Reply::Cancelled(true));
    assert!(matches!(pending.wait(soon()), Err(ClientError::Protocol { .. })));
    assert!(client.is_alive());
}

#[test]
fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let pending = client.start(Ask::Ping).unwrap();
    script.hear();
    script.say(99, &Reply::Pong);
    match pending.wait(soon()) {
        Err(ClientError::Protocol { reason, .. }) => assert!(reason.contains("99"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!client.is_alive());
    assert!(matches!(client.ping(soon()), Err(ClientError::Protocol { .. })));
}

#[test]
fn a_call_is_cancelled_when_nobody_waits_for_it() {
    let place = Place::new();
    let build = Endpoint::new("until nobody waits", |_: &_, cancellation: &Cancellation| {
        while !cancellation.is_requested() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Value::Null)
    });
    let server = Server::start(ServerConfig::new(place.path()), vec![build]).unwrap();
    let client = connect(&place.path());
    let ask = || Ask::Call("until nobody waits".to_owned(), Arguments::default());
    let pending = client.start(ask()).unwrap();
    until("it runs", || server.counters().builds == 1);
    drop(pending);
    until("it is cancelled", || server.counters().builds == 0);
}
