//! Clients of event loops: nothing blocks, and callbacks may do what they like.

use crate::script::connected;
use crate::share_rig::{PATIENCE, Place, connect, handle, numbers, serve, soon, until, value};
use rustix::event::{PollFd, PollFlags, Timespec};
use shm_core::Deadline;
use shm_cuda::share::wire::Reply;
use shm_cuda::share::{Ask, Client, ClientError, Response, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn wait_readable(client: &Client) {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let descriptor = client.descriptor();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1));
}

#[test]
fn an_event_loop_needs_no_thread() {
    let place = Place::new();
    let (_server, _) = serve(&place);
    let client = connect(&place.path());
    let done = Arc::new(AtomicU64::new(0));
    let mut all = Vec::new();
    for number in 0..1000u64 {
        let mut pending = client.start(Ask::Call("echo".to_owned(), numbers([number]))).unwrap();
        let done = done.clone();
        pending.on_ready(Box::new(move || {
            done.fetch_add(1, Ordering::Relaxed);
        }));
        all.push(pending);
    }
    while done.load(Ordering::Relaxed) < 1000 {
        wait_readable(&client);
        client.drive().unwrap();
    }
    for (number, mut pending) in all.into_iter().enumerate() {
        match pending.poll().unwrap().unwrap() {
            Response::Outcome(outcome) => match value(outcome) {
                Value::List(items) => {
                    assert!(matches!(items[..], [Value::Int(same)] if same == number as i128));
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        // It is there.
        let (told, hears) = mpsc::channel();
        pending.on_ready(Box::new(move || told.send(()).unwrap()));
        hears.try_recv().unwrap();
    }
}

#[test]
fn driving_takes_nothing_from_those_who_wait() {
    let place = Place::new();
    let (_server, _) = serve(&place);
    let client = connect(&place.path());
    let stop = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) < 4 {
                    client.drive().unwrap();
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    client.ping(soon()).unwrap();
                }
                stop.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
}

#[test]
fn a_callback_may_use_the_client() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    let (told, hears) = mpsc::channel();
    let mut first = client.start(Ask::Ping).unwrap();
    let inner = client.clone();
    first.on_ready(Box::new(move || {
        // Asks, waits, releases, and starts what is cancelled at once.
        inner.ping(soon()).unwrap();
        drop(kept);
        drop(inner.start(Ask::Ping).unwrap());
        told.send(()).unwrap();
    }));
    // This thread takes the first answer in while it waits for its own.
    client.call("slowly", numbers([50]), soon()).unwrap();
    hears.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(first.poll(), Some(Ok(Response::Pong))));
    client.ping(soon()).unwrap();
    assert_eq!(server.counters().leases, 0);
}

#[test]
fn a_callback_that_takes_long_holds_up_nobody_else() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let mut first = client.start(Ask::Ping).unwrap();
    let (first_id, _) = script.hear();
    let (entered, enters) = mpsc::channel();
    let (leave, leaves) = mpsc::channel::<()>();
    first.on_ready(Box::new(move || {
        entered.send(()).unwrap();
        leaves.recv_timeout(PATIENCE).unwrap();
    }));
    std::thread::scope(|scope| {
        let held_up = scope.spawn(|| client.ping(soon()));
        let (held_id, _) = script.hear();
        script.say(first_id, &Reply::Pong);
        // The thread that waits runs the callback, and does not come out of it.
        enters.recv_timeout(PATIENCE).unwrap();
        let free = scope.spawn(|| client.ping(soon()));
        let (free_id, _) = script.hear();
        script.say(free_id, &Reply::Pong);
        free.join().unwrap().unwrap();
        leave.send(()).unwrap();
        script.say(held_id, &Reply::Pong);
        held_up.join().unwrap().unwrap();
    });
}

#[test]
fn a_callback_that_panics_stops_nobody_else() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let mut first = client.start(Ask::Ping).unwrap();
    let (first_id, _) = script.hear();
    first.on_ready(Box::new(|| panic!("as it was made to")));
    let unlucky = client.clone();
    let thread = std::thread::spawn(move || unlucky.ping(soon()));
    let (_, _) = script.hear();
    script.say(first_id, &Reply::Pong);
    assert!(thread.join().is_err());
    let pending = client.start(Ask::Ping).unwrap();
    let id = loop {
        // The cancellation of the one that was given up lies before it.
        if let (id @ 1.., _) = script.hear() {
            break id;
        }
    };
    script.say(id, &Reply::Pong);
    pending.wait(soon()).unwrap();
}

#[test]
fn an_event_loop_hears_of_the_end_after_everything_that_came_before() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let mut answered = client.start(Ask::Ping).unwrap();
    let mut unanswered = client.start(Ask::Ping).unwrap();
    let (told, hears) = mpsc::channel();
    unanswered.on_ready(Box::new(move || told.send(()).unwrap()));
    let (id, _) = script.hear();
    script.hear();
    script.say(id, &Reply::Pong);
    drop(script);
    hears.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(answered.poll(), Some(Ok(Response::Pong))));
    assert!(matches!(unanswered.poll(), Some(Err(ClientError::Gone { pid: 4242, .. }))));
    until("the end is told", || client.drive().is_err());
    let over = Deadline::after(Duration::from_millis(1));
    assert!(matches!(client.ping(over), Err(ClientError::Gone { .. })));
}
