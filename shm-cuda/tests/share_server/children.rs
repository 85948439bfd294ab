//! What the processes do that the tests start.

use crate::peer::{self, hear, say};
use crate::raw::Raw;
use crate::{Gate, endpoints, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shm_cuda::share::{Arguments, BindError, Server, ServerConfig, Stop, socket_path};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Plays the role that the test gave to this process.
pub fn play() {
    let Some((role, argument)) = peer::role() else { return };
    let path = Path::new(&argument);
    match role.as_str() {
        "serve" => {
            let server = serve(path);
            say("serving");
            hear();
            drop(server);
        }
        "race" => loop {
            say("ready");
            hear();
            let outcome = Server::start(ServerConfig::new(path), Vec::new());
            match &outcome {
                Ok(_) => say("won"),
                Err(BindError::Taken { pid, .. }) => say(&format!("taken {pid}")),
                Err(error) => say(&format!("failed {error}")),
            }
            hear();
        },
        "serve and fork" => serve_and_fork(path),
        "path" => match socket_path(&argument) {
            Ok(path) => say(path.to_str().unwrap()),
            Err(error) => say(&format!("error {error}")),
        },
        "stranger" => be_a_stranger(&argument),
        "few descriptors" => {
            let server = serve(path);
            let most = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(40), maximum: most }).unwrap();
            say("serving");
            hear();
            drop(server);
        }
        "leaks" => count_leaks(path),
        other => panic!("{other}"),
    }
}

fn serve(path: &Path) -> Server {
    let config = ServerConfig { workers: 2, ..ServerConfig::new(path) };
    Server::start(config, endpoints(&Gate::default(), &Arc::default())).unwrap()
}

/// Forks twice: one child drops the server and ends, the other one lives on with all that it inherited.
fn serve_and_fork(path: &Path) {
    let server = serve(path);
    // SAFETY: the child drops the server, which makes no call to the parent's threads, and exits at once.
    let dropping = unsafe { libc::fork() };
    if dropping == 0 {
        let refused = server.invoke("echo", Arguments::default(), crate::soon()).is_err();
        drop(server);
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for an own child, and writes its status.
    assert_eq!(unsafe { libc::waitpid(dropping, &raw mut status, 0) }, dropping);
    say(&format!("dropped {status}"));
    hear();
    // SAFETY: the child does nothing but wait for a signal that ends it.
    let lasting = unsafe { libc::fork() };
    if lasting == 0 {
        // It ends also when the test does not get to ending it.
        // SAFETY: asks for a signal.
        unsafe { libc::alarm(60) };
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    say(&lasting.to_string());
    if hear() == "stop" {
        drop(server);
        say("stopped");
        hear();
    }
}

/// Connects as another user. The argument is `<user> <path>`.
fn be_a_stranger(argument: &str) {
    let (user, path) = argument.split_once(' ').unwrap();
    let user: u32 = user.parse().unwrap();
    // SAFETY: changes the ids of this process, which was started for it.
    assert_eq!(unsafe { libc::setresuid(user, user, user) }, 0);
    let mut raw = Raw::silent(Path::new(path));
    match raw.greet((1, 1)) {
        Ok(_) => {
            raw.ping();
            say("welcome");
        }
        Err(failure) => {
            raw.hear_end();
            say(&format!("{:?}", failure.kind));
        }
    }
}

/// Starts and stops servers in many ways, and says what this process has before and after.
fn count_leaks(path: &Path) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let have = || (count("/proc/self/fd"), count("/proc/self/task"));
    drop(serve(path));
    let before = have();
    for round in 0..10 {
        let server = serve(path);
        let mut clients: Vec<Raw> = (0..8).map(|_| Raw::greeted(path)).collect();
        clients[0].value("bytes", &crate::number(5000)).unwrap();
        clients[1].value("managed", &Arguments::default()).unwrap();
        server.invoke("bytes", crate::number(9000), crate::soon()).unwrap();
        clients[2].call("obedient", &Arguments::default());
        clients[3].submit("obedient", &Arguments::default());
        until("both are built", || server.counters().builds == 2);
        assert!(server.stop([Stop::Drain, Stop::Abort][round % 2], Duration::from_millis(50)));
        drop((server, clients));
    }
    let after = have();
    say(&format!("{before:?} {after:?}"));
}
