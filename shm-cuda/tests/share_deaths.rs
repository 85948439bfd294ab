//! Clients and servers that are killed: what ends with them, and what does not.
#![cfg(target_os = "linux")]

mod peer;
mod share_rig;

use peer::Peer;
use rustix::process::{Pid, Signal, kill_process};
use share_rig::{
    PATIENCE, Place, assert_pattern, config, connect, endpoints, handle, numbers, serve,
    serve_as_child, soon, stat, until, value,
};
use shm_core::Deadline;
use shm_cuda::share::{
    BindError, Client, ClientConfig, ClientError, Handle, Health, Server, ServerConfig, Value,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn a_killed_client_gives_back_its_leases_and_nobody_elses() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let other = connect(&place.path());
    // The same objects as the victim's, and one of its own.
    let kept: Vec<Handle> = (0..50).map(|number| handle(&other, "managed", number, 4096)).collect();
    let mut victim = Peer::new("hold", &place.text());
    assert_eq!(victim.hear(), "100");
    assert_eq!(server.counters().leases, 150);
    let killed = Instant::now();
    victim.kill();
    until("the victim's leases end", || server.counters().leases == 50);
    println!("100 leases of a killed client ended after {:?}", killed.elapsed());
    assert_eq!(server.counters().leases_hung_up, 100);
    for (number, one) in kept.iter().enumerate() {
        assert_eq!(one.health(), Health::Live);
        assert_eq!(one.info(soon()).unwrap().unwrap().leases, 1);
        assert_pattern(one.value(), number as u64, 4096);
        assert!(one.release(soon()).unwrap());
    }
    assert_eq!(server.counters().leases, 0);
}

#[test]
fn objects_that_are_kept_while_leased_go_with_a_killed_client() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let mut victim = Peer::new("hold fleeting", &place.text());
    assert_eq!(victim.hear(), "100");
    assert_eq!((server.counters().leases, server.counters().objects), (100, 100));
    victim.kill();
    until("the objects go", || server.counters().objects == 0);
    assert_eq!((server.counters().leases, server.counters().cache_entries), (0, 0));
}

#[test]
fn a_killed_server_is_noticed_at_once_and_what_it_gave_stays_readable() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let clients: Vec<Client> = (0..8).map(|_| connect(&place.path())).collect();
    let handles: Vec<Handle> = (0..8)
        .map(|number| handle(&clients[number as usize], "managed", number, 1 << 20))
        .collect();
    let (gone, notices) = mpsc::channel();
    for client in &clients {
        let gone = gone.clone();
        client.on_gone(Box::new(move || gone.send(Instant::now()).unwrap()));
    }
    // One of them waits for something that will never come.
    let waiting = clients[0].clone();
    let waiter = std::thread::spawn(move || waiting.call("doze", numbers([60_000]), soon()));
    until("it waits", || clients[1].server_pid() == server.id() && stat(&clients[1], "builds") > 0);
    let killed = Instant::now();
    server.kill();
    let slowest = (0..8)
        .map(|_| notices.recv_timeout(PATIENCE).expect("every client is told"))
        .map(|at| at.duration_since(killed))
        .max();
    println!("the slowest of 8 clients knew after {slowest:?}");
    assert!(matches!(waiter.join().unwrap(), Err(ClientError::Gone { .. })));
    for (number, (client, handle)) in clients.iter().zip(&handles).enumerate() {
        assert!(!client.is_alive());
        let asked = Instant::now();
        assert!(
            matches!(client.ping(soon()), Err(ClientError::Gone { pid, .. }) if pid == server.id())
        );
        assert!(matches!(handle.info(soon()), Err(ClientError::Gone { .. })));
        println!("two calls to a dead server returned after {:?}", asked.elapsed());
        assert_eq!(handle.health(), Health::ServerGone);
        assert!(handle.survives_server());
        assert_pattern(handle.value(), number as u64, 1 << 20);
    }
}

#[test]
fn a_stopped_server_costs_a_caller_its_deadline_and_no_more() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    client.ping(soon()).unwrap();
    signal(server.id(), Signal::STOP);
    until("it stands still", || state(server.id()) == 'T');
    let outcome = client.ping(Deadline::after(Duration::from_millis(100)));
    assert!(matches!(outcome, Err(ClientError::TimedOut)), "{outcome:?}");
    assert!(client.is_alive(), "slow is not dead");
    signal(server.id(), Signal::CONT);
    client.ping(soon()).unwrap();
    assert_pattern(&value(client.call("plain", numbers([3, 100]), soon()).unwrap()), 3, 100);
    server.tell("stop");
}

#[test]
fn a_client_that_dies_while_its_call_is_built_hinders_nobody() {
    let place = Place::new();
    let (server, builds) = serve(&place);
    let client = connect(&place.path());
    let mut victim = Peer::new("call slowly", &place.text());
    assert_eq!(victim.hear(), "calling");
    until("it is built", || server.counters().builds == 1);
    let joined = client.clone();
    let waiter = std::thread::spawn(move || joined.call("slowly", numbers([400]), soon()));
    until("the other one joins", || server.counters().joined == 1);
    victim.kill();
    let found = value(waiter.join().unwrap().unwrap());
    assert!(matches!(found, Value::Int(1)), "{found:?}");
    assert_eq!(builds.load(Ordering::Relaxed), 1, "one build for both");
}

#[test]
fn tasks_of_a_killed_client_end() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let mut victim = Peer::new("submit", &place.text());
    assert_eq!(victim.hear(), "32");
    assert_eq!(server.counters().tasks, 32);
    victim.kill();
    // The running ones are asked to stop, and listen.
    until("its tasks end", || server.counters().tasks == 0 && server.counters().builds == 0);
}

#[test]
fn children_that_were_forked_keep_nothing_of_the_dead_alive() {
    let place = Place::new();
    let mut server = Peer::new("serve and fork", &place.text());
    let orphans = Orphan(server.hear().parse().unwrap());
    let client = connect(&place.path());
    let mut victim = Peer::new("hold and fork", &place.text());
    let other = Orphan(victim.hear().parse().unwrap());
    assert_eq!(stat(&client, "leases"), 1);
    victim.kill();
    until("the lease of the killed client ends", || stat(&client, "leases") == 0);
    server.kill();
    until("the killed server is noticed", || !client.is_alive());
    assert!(matches!(client.ping(soon()), Err(ClientError::Gone { .. })));
    assert!(orphans.is_alive() && other.is_alive(), "their children are still there");
    // The path is free as well.
    let (_next, _) = serve(&place);
    connect(&place.path()).ping(soon()).unwrap();
}

/// A process that a peer has forked; it ends with the test.
struct Orphan(u32);

impl Orphan {
    fn is_alive(&self) -> bool {
        !matches!(state(self.0), 'Z' | 'X')
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        signal(self.0, Signal::KILL);
    }
}

/// In a child: has one more child, which does nothing, and says which.
fn fork_and_say() {
    // SAFETY: the new process only sleeps and ends, with async-signal-safe calls.
    let orphan = unsafe { libc::fork() };
    assert!(orphan >= 0);
    if orphan == 0 {
        for _ in 0..600 {
            // SAFETY: async-signal-safe, without arguments that could be wrong.
            unsafe { libc::usleep(100_000) };
        }
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(0) };
    }
    peer::say(&orphan.to_string());
}

#[test]
fn a_second_server_is_refused_and_a_dead_one_is_succeeded() {
    let place = Place::new();
    let mut first = Peer::new("serve", &place.text());
    assert_eq!(first.hear(), "serving");
    for _ in 0..3 {
        match Server::start(config(&place.path()), Vec::new()) {
            Err(BindError::Taken { pid, .. }) => assert_eq!(pid, first.id()),
            other => panic!("{other:?}"),
        }
    }
    connect(&place.path()).ping(soon()).unwrap();
    first.kill();
    let client = ClientConfig { connect_within: Duration::ZERO, ..ClientConfig::new(place.path()) };
    assert!(matches!(Client::connect(client), Err(ClientError::Unreachable { .. })));
    let (second, _) = serve(&place);
    connect(&place.path()).ping(soon()).unwrap();
    assert_ne!(second.id(), [0; 16]);
    drop(second);
    assert!(!place.path().exists(), "a server that ends puts its socket away");
}

#[test]
fn of_many_servers_that_find_a_dead_ones_path_one_wins() {
    for _ in 0..5 {
        let place = Place::new();
        let mut first = Peer::new("serve", &place.text());
        assert_eq!(first.hear(), "serving");
        first.kill();
        let starters: Vec<_> = (0..8)
            .map(|_| {
                let path = place.path();
                std::thread::spawn(move || Server::start(ServerConfig::new(path), Vec::new()))
            })
            .collect();
        let outcomes: Vec<_> = starters.into_iter().map(|one| one.join().unwrap()).collect();
        let winners = outcomes.iter().filter(|one| one.is_ok()).count();
        assert_eq!(winners, 1, "{outcomes:?}");
        for outcome in &outcomes {
            if let Err(error) = outcome {
                assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
            }
        }
        connect(&place.path()).ping(soon()).unwrap();
    }
}

/// The letter that says what a process does.
fn state(process: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process as i32).unwrap();
    kill_process(process, signal).unwrap();
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Some((role, path)) = peer::role() else { return };
    match role.as_str() {
        "serve" => serve_as_child(&path),
        "hold" | "hold fleeting" => {
            let client = connect(Path::new(&path));
            let endpoint = if role == "hold" { "managed" } else { "fleeting" };
            let handles: Vec<Handle> =
                (0..100).map(|number| handle(&client, endpoint, number, 4096)).collect();
            peer::say(&handles.len().to_string());
            peer::hear();
        }
        "serve and fork" => {
            let server =
                Server::start(config(Path::new(&path)), endpoints(&Arc::default())).unwrap();
            // There is a connection at the time.
            let own = connect(server.path());
            own.ping(soon()).unwrap();
            fork_and_say();
            peer::hear();
        }
        "hold and fork" => {
            let client = connect(Path::new(&path));
            let _held = handle(&client, "managed", 1, 4096);
            fork_and_say();
            peer::hear();
        }
        "call slowly" => {
            let client = connect(Path::new(&path));
            peer::say("calling");
            let _ = client.call("slowly", numbers([400]), soon());
            peer::hear();
        }
        "submit" => {
            let client = connect(Path::new(&path));
            let tasks: Vec<u64> = (0..32)
                .map(|_| client.submit("doze", numbers([60_000]), soon()).unwrap())
                .collect();
            peer::say(&tasks.len().to_string());
            peer::hear();
        }
        other => panic!("{other}"),
    }
}
