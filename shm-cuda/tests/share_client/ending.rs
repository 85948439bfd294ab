//! However a connection ends, every wait ends with it.

use crate::peer::Peer;
use crate::script::connected;
use crate::share_rig::{
    PATIENCE, Place, assert_pattern, connect, handle, numbers, serve, soon, until,
};
use rustix::process::{Pid, Signal, kill_process};
use shm_core::Deadline;
use shm_cuda::share::wire::Reply;
use shm_cuda::share::{
    Arguments, Ask, Client, ClientConfig, ClientError, Failure, FailureKind, Health, Limits,
    Pending,
};
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_server_that_dies_ends_every_wait() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    let (told, hears) = mpsc::channel();
    let notify = told.clone();
    client.on_gone(Box::new(move || notify.send("gone").unwrap()));
    // One that nobody waits for.
    let mut alone = client.start(doze()).unwrap();
    let notify = told.clone();
    alone.on_ready(Box::new(move || notify.send("ready").unwrap()));
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.ask(doze(), Deadline::NEVER))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    server.kill();
    for waiter in waiters {
        let outcome = waiter.join().unwrap();
        assert!(matches!(outcome, Err(ClientError::Gone { pid, .. }) if pid == server.id()));
    }
    let mut heard = [(); 2].map(|()| hears.recv_timeout(PATIENCE).unwrap());
    heard.sort_unstable();
    assert_eq!(heard, ["gone", "ready"]);
    assert!(matches!(alone.poll(), Some(Err(ClientError::Gone { .. }))));
    // Told at once from now on.
    client.on_gone(Box::new(move || told.send("again").unwrap()));
    assert_eq!(hears.try_recv().unwrap(), "again");
    assert!(matches!(client.start(Ask::Ping), Err(ClientError::Gone { .. })));
    assert!(matches!(client.start_all(vec![Ask::Ping]), Err(ClientError::Gone { .. })));
}

fn doze() -> Ask {
    Ask::Call("doze".to_owned(), numbers([60_000]))
}

#[test]
fn a_stopped_server_costs_each_caller_its_own_deadline() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    let dropped = handle(&client, "managed", 2, 100);
    let process = Pid::from_raw(server.id() as i32).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    until("all its threads stand still", || stands_still(server.id()));
    let waiters: Vec<_> = (1..=8)
        .map(|tens| {
            let client = client.clone();
            std::thread::spawn(move || {
                client.call(
                    "managed",
                    numbers([tens, 100]),
                    Deadline::after(Duration::from_millis(tens * 10)),
                )
            })
        })
        .collect();
    drop(dropped);
    for waiter in waiters {
        assert!(matches!(waiter.join().unwrap(), Err(ClientError::TimedOut)));
    }
    assert_eq!(kept.health(), Health::Live, "slow is not dead");
    kill_process(process, Signal::CONT).unwrap();
    client.ping(soon()).unwrap();
    assert_pattern(kept.value(), 1, 100);
    // Whatever was answered before it was cancelled has come back.
    until("only one lease is left", || {
        server.tell("counters");
        server.hear().starts_with("1 ")
    });
}

fn stands_still(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    })
}

#[test]
fn closing_ends_everything_at_once() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    let (told, hears) = mpsc::channel();
    let notify = told.clone();
    client.on_gone(Box::new(move || notify.send("gone").unwrap()));
    let mut alone = client.start(doze()).unwrap();
    alone.on_ready(Box::new(move || told.send("ready").unwrap()));
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || client.ask(doze(), Deadline::NEVER))
        })
        .collect();
    until("they are built", || server.counters().builds >= 1);
    client.close();
    for waiter in waiters {
        assert!(matches!(waiter.join().unwrap(), Err(ClientError::Closed { .. })));
    }
    assert!(!client.is_alive());
    // The callback of the server's end is gone without having been called.
    assert_eq!(hears.iter().collect::<Vec<_>>(), ["ready"]);
    assert!(matches!(client.ping(soon()), Err(ClientError::Closed { .. })));
    assert!(matches!(client.drive(), Err(ClientError::Closed { .. })));
    assert_eq!(kept.health(), Health::Released);
    assert!(matches!(kept.info(soon()), Err(ClientError::Closed { .. })));
    assert_pattern(kept.value(), 1, 100);
    client.close();
    until("the server has seen it", || {
        let counters = server.counters();
        (counters.connections, counters.leases, counters.builds) == (0, 0, 0)
    });
}

#[test]
fn a_callback_may_close_the_client() {
    for gone in [true, false] {
        let place = Place::new();
        let (script, client) = connected(&place);
        let (told, hears) = mpsc::channel();
        let mut pending = client.start(Ask::Ping).unwrap();
        let inner = client.clone();
        let close: Box<dyn FnOnce() + Send> = Box::new(move || {
            inner.close();
            drop(inner);
            told.send(()).unwrap();
        });
        if gone {
            client.on_gone(close)
        } else {
            pending.on_ready(close)
        }
        drop(client);
        drop(script);
        hears.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(pending.poll(), Some(Err(ClientError::Gone { .. }))));
    }
}

#[test]
fn the_last_to_go_ends_the_connection() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let pending: Pending = client.start(doze()).unwrap();
    until("it runs", || server.counters().builds == 1);
    drop(client);
    assert_eq!(server.counters().connections, 1);
    drop(pending);
    until("it ends", || server.counters().connections == 0 && server.counters().builds == 0);
}

#[test]
fn a_server_says_why_it_hangs_up() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let pending = client.start(Ask::Ping).unwrap();
    script.hear();
    script.say(0, &Reply::Stopping);
    let reason = Failure::new(FailureKind::Permission, "not any more");
    script.say(0, &Reply::Failed(reason.clone()));
    drop(script);
    match pending.wait(soon()) {
        Err(ClientError::Failed(failure)) => assert_eq!(failure, reason),
        other => panic!("{other:?}"),
    }
    assert!(!client.is_alive());
}

#[test]
fn noise_ends_the_connection_and_every_wait() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    let pending = client.start(Ask::Ping).unwrap();
    let mut other = client.start(Ask::Ping).unwrap();
    script.hear();
    script.socket().write_all(&[0x5a; 64]).unwrap();
    assert!(matches!(pending.wait(soon()), Err(ClientError::Protocol { .. })));
    assert!(matches!(other.poll(), Some(Err(ClientError::Protocol { .. }))));
}

#[test]
fn a_frame_beyond_the_limits_ends_the_connection() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let limits = Limits { body: 256, ..Limits::default() };
    let client =
        Client::connect(ClientConfig { limits, ..ClientConfig::new(place.path()) }).unwrap();
    client.ping(soon()).unwrap();
    let many = Arguments::positional((0..2000).map(|_| shm_cuda::share::Value::Int(5)));
    assert!(matches!(client.call("echo", many, soon()), Err(ClientError::Protocol { .. })));
    until("the server has seen it", || server.counters().connections == 0);
}
