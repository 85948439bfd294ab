//! Finding the server: what is waited for, what is an error at once, and who is trusted.

use crate::processes::listen_as;
use crate::script::{Script, hail};
use crate::share_rig::{Place, connect, serve, soon};
use shm_cuda::share::wire::{Reply, VERSION, Welcome};
use shm_cuda::share::{Client, ClientConfig, ClientError, Failure, FailureKind, ServerConfig};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

/// The error of an attempt that does not wait.
fn refused(path: impl Into<PathBuf>) -> ClientError {
    let config = ClientConfig { connect_within: Duration::ZERO, ..ClientConfig::new(path) };
    Client::connect(config).unwrap_err()
}

fn assert_unreachable(error: &ClientError, says: &str) {
    let ClientError::Unreachable { reason, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains(says), "{reason}");
}

#[test]
fn what_is_no_server_is_said_to_be_what_it_is() {
    let place = Place::new();
    assert_unreachable(&refused(place.path()), "no such path");
    std::fs::write(place.path(), "text").unwrap();
    // Not one of those that come to be if one waits.
    let patient = ClientConfig { connect_within: Duration::MAX, ..ClientConfig::new(place.path()) };
    assert_unreachable(&Client::connect(patient).unwrap_err(), "regular file");
    let long = ClientConfig {
        connect_within: Duration::MAX,
        ..ClientConfig::new(format!("/tmp/{}", "x".repeat(200)))
    };
    assert_unreachable(&Client::connect(long).unwrap_err(), "107 bytes");
    std::fs::remove_file(place.path()).unwrap();
    drop(UnixListener::bind(place.path()).unwrap());
    assert_unreachable(&refused(place.path()), "nobody listens");
}

#[test]
fn a_server_that_comes_later_is_waited_for() {
    for stale in [false, true] {
        let place = Place::new();
        if stale {
            drop(UnixListener::bind(place.path()).unwrap());
        }
        let path = place.path();
        let client = std::thread::spawn(move || connect(&path));
        std::thread::sleep(Duration::from_millis(40));
        let (server, _) = serve(&place);
        let client = client.join().unwrap();
        client.ping(soon()).unwrap();
        assert_eq!(client.server_id(), server.id());
        assert_eq!(client.server_pid(), std::process::id());
        assert_eq!(client.path(), place.path());
    }
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_not_waited_for_for_ever() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.path()).unwrap();
    assert_unreachable(&refused(place.path()), "said nothing");
}

#[test]
fn a_full_queue_is_not_waited_for_for_ever() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // Connected, and never accepted.
    let _waiting = std::os::unix::net::UnixStream::connect(place.path()).unwrap();
    assert_unreachable(&refused(place.path()), "more connections waiting");
}

#[test]
fn a_server_that_is_replaced_while_one_connects_is_no_error() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    let config = ClientConfig::new(place.path());
    let client = std::thread::spawn(move || Client::connect(config));
    // The first one accepts and ends.
    drop(listener.accept().unwrap());
    let mut script = Script::welcome(&listener);
    let client = client.join().unwrap().unwrap();
    let pending = client.start(shm_cuda::share::Ask::Ping).unwrap();
    let (id, _) = script.hear();
    script.say(id, &Reply::Pong);
    pending.wait(soon()).unwrap();
}

#[test]
fn a_server_may_refuse_a_client() {
    let place = Place::new();
    let failure = Failure::new(FailureKind::Permission, "not you");
    let newer = Welcome { version: VERSION + 1, ..hail() };
    for (index, reply) in
        [Reply::Failed(failure.clone()), Reply::Welcome(newer), Reply::Pong].iter().enumerate()
    {
        let path = place.path().with_extension(index.to_string());
        let listener = UnixListener::bind(&path).unwrap();
        let config = ClientConfig::new(path);
        let client = std::thread::spawn(move || Client::connect(config));
        let _script = Script::answering(&listener, reply);
        match client.join().unwrap().unwrap_err() {
            ClientError::Failed(found) => assert_eq!((index, found), (0, failure.clone())),
            ClientError::Protocol { reason, .. } => assert!(index > 0, "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn more_connections_than_the_server_takes_are_refused() {
    let place = Place::new();
    let config = ServerConfig { connections: 2, ..ServerConfig::new(place.path()) };
    let _server = shm_cuda::share::Server::start(config, Vec::new()).unwrap();
    let _taken = [(); 2].map(|()| connect(&place.path()));
    let error = refused(place.path());
    println!("{error}");
    assert!(
        matches!(&error, ClientError::Failed(failure) if failure.kind == FailureKind::Busy)
            || matches!(error, ClientError::Unreachable { .. })
    );
}

#[test]
fn a_server_of_somebody_else_is_not_talked_to() {
    let place = Place::new();
    let nobody = 65_534;
    let Some(listener) = listen_as(nobody, &place) else {
        println!("SKIPPED: only root can be another user");
        return;
    };
    match refused(place.path()) {
        ClientError::Untrusted { user, expected, .. } => {
            assert_eq!((user, expected), (nobody, rustix::process::geteuid().as_raw()));
        }
        other => panic!("{other:?}"),
    }
    // It was hung up on without a word.
    let (mut socket, _) = listener.accept().unwrap();
    assert_eq!(std::io::Read::read(&mut socket, &mut [0; 1]).unwrap(), 0);
    let config = ClientConfig { trust_users: vec![nobody], ..ClientConfig::new(place.path()) };
    let client = std::thread::spawn(move || Client::connect(config));
    let _script = Script::welcome(&listener);
    client.join().unwrap().unwrap();
}
