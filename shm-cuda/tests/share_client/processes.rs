//! What has to be seen in a process of its own: descriptors, threads, forks, devices.

use crate::peer::{self, Peer};
use crate::script::{answer, connected};
use crate::share_rig::{
    PATIENCE, Place, assert_pattern, connect, handle, numbers, serve, serve_as_child, soon, until,
};
use crate::simulation;
use shm_core::{Deadline, Dtype};
use shm_cuda::share::wire::{Reply, Request};
use shm_cuda::share::{
    Arguments, Ask, ClientError, DeviceStorage, Endpoint, EndpointOptions, Handle, Health, Outcome,
    Response, Route, Server, ServerConfig, Storage, Tensor, Value,
};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn nothing_is_left_of_a_client() {
    alone("nothing is left");
}

#[test]
fn a_client_that_is_let_go_by_its_own_thread_leaves_nothing() {
    alone("let go by its own thread");
}

#[test]
fn late_answers_leave_no_descriptors() {
    alone("late answers");
}

#[test]
fn a_forked_child_neither_uses_nor_disturbs_the_client() {
    alone("fork");
}

#[test]
fn device_memory_stays_leased_until_its_last_storage_goes() {
    alone("device");
}

/// Runs a role in a process where nothing else runs.
fn alone(role: &str) {
    let place = Place::new();
    let mut process = Peer::new(role, &place.text());
    assert_eq!(process.hear(), "done");
    assert!(process.wait().success());
}

pub fn play(role: &str, path: &str) {
    match role {
        "serve" => return serve_as_child(path),
        "serve device" => return serve_device(path),
        "nothing is left" => nothing_is_left(),
        "let go by its own thread" => let_go_by_its_own_thread(),
        "late answers" => late_answers(),
        "fork" => fork(),
        "device" => device(path),
        other => panic!("{other}"),
    }
    peer::say("done");
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn nothing_is_left() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let before = (open_descriptors(), threads());
    for round in 0..20u64 {
        let client = connect(&place.path());
        let kept = handle(&client, "managed", 1, 100);
        let pending = client.start(Ask::Call("doze".to_owned(), numbers([60_000]))).unwrap();
        let late =
            client.call("doze", numbers([60_000]), Deadline::after(Duration::from_millis(1)));
        assert!(matches!(late, Err(ClientError::TimedOut)));
        if round % 2 == 0 {
            client.close();
            // The kernel takes one that was joined off its list a moment later.
            until("its thread is gone", || threads() == before.1);
            drop(client);
            // One of the memory, and none of the connection.
            assert_eq!(open_descriptors(), before.0 + 1);
        }
        assert_eq!(kept.value().kind(), "tensor");
        drop((kept, pending));
    }
    until("the threads are gone", || threads() == before.1);
    assert_eq!(open_descriptors(), before.0);
    // The same when it was the server that went.
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    server.kill();
    until("it is known", || !client.is_alive());
    drop(client);
    until("all but the memory goes", || open_descriptors() <= before.0 + 1);
    assert_eq!(kept.health(), Health::ServerGone);
    assert_pattern(kept.value(), 1, 100);
    drop(kept);
    until("the thread goes", || threads() == before.1);
    assert!(open_descriptors() <= before.0);
}

fn let_go_by_its_own_thread() {
    let before = (open_descriptors(), threads());
    for close in [true, false, true, false] {
        let place = Place::new();
        let (mut script, client) = connected(&place);
        // As long as this one may be answered, the client's own thread takes answers in.
        drop(client.start(Ask::Ping).unwrap());
        let (given_up, _) = script.hear();
        assert!(matches!(script.hear(), (0, Request::Cancel(of)) if of == given_up));
        let mut pending = client.start(Ask::Ping).unwrap();
        let (id, _) = script.hear();
        let (entered, enters) = std::sync::mpsc::channel();
        let (leave, leaves) = std::sync::mpsc::channel::<()>();
        pending.on_ready(Box::new(move || {
            if close {
                client.close();
            }
            entered.send(()).unwrap();
            leaves.recv().unwrap();
            drop(client);
        }));
        script.say(id, &Reply::Pong);
        enters.recv_timeout(PATIENCE).unwrap();
        // Then that thread has the last of it.
        drop(pending);
        leave.send(()).unwrap();
        until("the thread is gone", || threads() == before.1);
        drop(script);
        drop(place);
    }
    assert_eq!(open_descriptors(), before.0);
}

fn late_answers() {
    let place = Place::new();
    let (mut script, client) = connected(&place);
    // Once, so that everything that is made on first use is there.
    for round in 0..11u64 {
        let before = open_descriptors();
        let mut ids = Vec::new();
        for _ in 0..20 {
            let pending = client.start(Ask::Call("any".to_owned(), Arguments::default())).unwrap();
            ids.push(script.hear().0);
            drop(pending);
            assert!(matches!(script.hear(), (0, Request::Cancel(_))));
        }
        for &id in &ids {
            script.say(id, &answer(Some(id), Some(id)));
        }
        for &id in &ids {
            match script.hear() {
                (0, Request::Release(leases)) => assert_eq!(leases, [id]),
                other => panic!("{other:?}"),
            }
        }
        until("they are closed", || round == 0 || open_descriptors() == before);
    }
}

fn fork() {
    let place = Place::new();
    let (server, _) = serve(&place);
    let client = connect(&place.path());
    let kept = handle(&client, "managed", 1, 100);
    let mut pending = client.start(Ask::Call("slowly".to_owned(), numbers([300]))).unwrap();
    until("it is built", || server.counters().builds == 1);
    // SAFETY: the child only uses what must work there, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            in_child(client, kept, pending);
        }));
        // SAFETY: always sound; nothing of the parent's is run down.
        unsafe { libc::_exit(if fine.is_ok() { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable, and the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "what the child saw is printed above");
    // Nothing of it has reached the server, nor ended anything here.
    assert!(client.is_alive());
    client.ping(soon()).unwrap();
    assert_eq!((server.counters().leases, server.counters().connections), (1, 1));
    assert_eq!(kept.health(), Health::Live);
    assert!(pending.ready(soon()));
    assert!(matches!(pending.poll(), Some(Ok(Response::Outcome(Outcome::Value(_))))));
    assert!(kept.release(soon()).unwrap());
}

fn in_child(client: shm_cuda::share::Client, kept: Handle, mut pending: shm_cuda::share::Pending) {
    let inherited = |error: &ClientError| match error {
        ClientError::Closed { reason, .. } => reason.contains("forked"),
        _ => false,
    };
    assert!(!client.is_alive());
    assert!(inherited(&client.ping(Deadline::NEVER).unwrap_err()));
    assert!(inherited(&client.start(Ask::Ping).unwrap_err()));
    assert!(inherited(&client.start_all(vec![Ask::Ping]).unwrap_err()));
    assert!(inherited(&client.drive().unwrap_err()));
    assert!(inherited(&kept.release(Deadline::NEVER).unwrap_err()));
    assert!(inherited(&kept.info(Deadline::NEVER).unwrap_err()));
    assert!(inherited(&pending.poll().unwrap().unwrap_err()));
    assert_eq!(kept.health(), Health::Released);
    // The memory is there all the same.
    assert_pattern(kept.value(), 1, 100);
    let before = open_descriptors();
    drop((pending, kept));
    client.close();
    drop(client);
    assert!(open_descriptors() <= before - 3, "the socket is closed, and the memory");
}

const LEN: usize = 4096;

fn serve_device(path: &str) {
    let device = simulation::device().unwrap();
    let endpoint = |name: &str, route, managed| {
        let device = device.clone();
        let options = EndpointOptions { managed, ..EndpointOptions::default() };
        Endpoint::new(name, move |_: &_, _: &_| {
            let storage = DeviceStorage::allocate_for(&device, LEN, route).unwrap();
            let storage = Storage::Device(Arc::new(storage));
            // Two tensors over one storage.
            let halves = [0, LEN / 2].map(|offset| {
                let half = Tensor::contiguous(storage.clone(), Dtype::U8, &[LEN / 2], offset);
                Value::Tensor(half.unwrap())
            });
            Ok(Value::List(halves.to_vec()))
        })
        .with(options)
    };
    let endpoints = vec![
        endpoint("legacy", Route::Legacy, false),
        endpoint("legacy managed", Route::Legacy, true),
        endpoint("vmm", Route::Vmm, false),
        endpoint("vmm managed", Route::Vmm, true),
    ];
    let server = Server::start(ServerConfig::new(Path::new(path)), endpoints).unwrap();
    peer::say("serving");
    while peer::listen().is_some() {
        peer::say(&server.counters().leases.to_string());
    }
}

fn device(_: &str) {
    let Some(_driver) = simulation::driver() else { return };
    let place = Place::new();
    let mut server = Peer::new("serve device", &place.text());
    assert_eq!(server.hear(), "serving");
    let client = connect(&place.path());
    let call = |endpoint: &str| client.call(endpoint, Arguments::default(), soon()).unwrap();
    let mut leases = || {
        client.ping(soon()).unwrap();
        server.tell("leases");
        server.hear().parse::<u64>().unwrap()
    };
    // A lease that nobody sees, until the last tensor goes.
    let Outcome::Value(Value::List(mut halves)) = call("legacy") else { panic!() };
    assert_eq!(leases(), 1);
    let last = halves.pop();
    drop(halves);
    assert_eq!(leases(), 1);
    drop(last);
    assert_eq!(leases(), 0);
    // Tensors that outlive their handle.
    let Outcome::Handle(handle) = call("legacy managed") else { panic!() };
    assert!(!handle.survives_server());
    let Value::List(halves) = handle.value().clone() else { panic!() };
    drop(handle);
    assert_eq!(leases(), 1);
    drop(halves);
    assert_eq!(leases(), 0);
    // What keeps itself needs no lease.
    let Outcome::Value(value) = call("vmm") else { panic!() };
    assert_eq!(leases(), 0);
    drop(value);
    let Outcome::Handle(handle) = call("vmm managed") else { panic!() };
    assert!(handle.survives_server());
    assert_eq!(leases(), 1);
    let Outcome::Handle(lost) = call("legacy managed") else { panic!() };
    server.kill();
    until("it is known", || !client.is_alive());
    assert_eq!((handle.health(), lost.health()), (Health::ServerGone, Health::Lost));
}

/// A socket of another user's; `None` if this one cannot be another.
pub fn listen_as(user: u32, place: &Place) -> Option<UnixListener> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let path = place.path();
    let folder = path.parent().unwrap();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let listening = std::thread::spawn(move || {
        // SAFETY: the system call itself, which changes the user of this thread alone.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, user, -1) };
        assert_eq!(changed, 0);
        UnixListener::bind(path)
    });
    Some(listening.join().unwrap().unwrap())
}
