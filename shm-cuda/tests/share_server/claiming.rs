//! Whose path it is.

use crate::peer::Peer;
use crate::raw::Raw;
use crate::{Place, Scene, is_root, until};
use rustix::process::{Pid, Signal, kill_process};
use shm_cuda::share::{BindError, Server, ServerConfig};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

fn start(path: &Path) -> Result<Server, BindError> {
    Server::start(ServerConfig::new(path), Vec::new())
}

fn taken_by(outcome: Result<Server, BindError>) -> u32 {
    match outcome {
        Err(BindError::Taken { pid, .. }) => pid,
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: Result<Server, BindError>) -> String {
    match outcome {
        Err(error @ BindError::Unsafe { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn serving(place: &Place) -> Peer {
    let mut peer = Peer::new("serve", &place.text());
    assert_eq!(peer.hear(), "serving");
    peer
}

#[test]
fn a_live_servers_path_is_taken_and_says_by_whom() {
    let place = Place::new();
    let mut first = serving(&place);
    for _ in 0..3 {
        assert_eq!(taken_by(start(&place.path())), first.id());
    }
    Raw::greeted(&place.path()).ping();
    first.tell("stop");
    assert!(first.wait().success());
    assert_eq!(place.names(), Vec::<String>::new(), "it left something behind");
    drop(start(&place.path()).unwrap());
}

#[test]
fn a_killed_servers_path_is_taken_over() {
    let place = Place::new();
    for _ in 0..5 {
        let mut first = serving(&place);
        first.kill();
        assert!(place.path().exists(), "a killed server cannot put it away");
    }
    let _second = start(&place.path()).unwrap();
    Raw::greeted(&place.path()).ping();
}

#[test]
fn a_stopped_server_keeps_its_path() {
    let place = Place::new();
    let first = serving(&place);
    let process = Pid::from_raw(first.id() as i32).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    assert_eq!(taken_by(start(&place.path())), first.id());
    kill_process(process, Signal::CONT).unwrap();
    Raw::greeted(&place.path()).ping();
}

#[test]
fn of_processes_that_race_for_a_dead_servers_path_one_wins_and_the_others_know_it() {
    let place = Place::new();
    let mut racers: Vec<Peer> = (0..4).map(|_| Peer::new("race", &place.text())).collect();
    for _ in 0..10 {
        serving(&place).kill();
        racers.iter_mut().for_each(|racer| assert_eq!(racer.hear(), "ready"));
        racers.iter_mut().for_each(|racer| racer.tell("go"));
        let said: Vec<(u32, String)> =
            racers.iter_mut().map(|racer| (racer.id(), racer.hear())).collect();
        let winners: Vec<u32> =
            said.iter().filter(|(_, said)| said == "won").map(|(pid, _)| *pid).collect();
        assert_eq!(winners.len(), 1, "{said:?}");
        for (_, said) in said.iter().filter(|(_, said)| said != "won") {
            assert_eq!(*said, format!("taken {}", winners[0]));
        }
        Raw::greeted(&place.path()).ping();
        racers.iter_mut().for_each(|racer| racer.tell("again"));
        until("the winner ends", || place.names().is_empty());
    }
}

#[test]
fn of_threads_that_race_one_wins_and_its_lock_stays() {
    let place = Place::new();
    for _ in 0..20 {
        let starters: Vec<_> = (0..4)
            .map(|_| {
                let path = place.path();
                std::thread::spawn(move || start(&path))
            })
            .collect();
        let mut outcomes: Vec<_> = starters.into_iter().map(|one| one.join().unwrap()).collect();
        let winner = outcomes.iter().position(Result::is_ok).expect("nobody won");
        let _winner = outcomes.swap_remove(winner).unwrap();
        for outcome in outcomes {
            assert_eq!(taken_by(outcome), std::process::id());
        }
        // The lock is a process's: those who lost must not have dropped it.
        let mut rival = Peer::new("race", &place.text());
        assert_eq!(rival.hear(), "ready");
        rival.tell("go");
        assert_eq!(rival.hear(), format!("taken {}", std::process::id()));
    }
}

#[test]
fn a_server_that_begins_or_ends_has_its_pid_known() {
    let place = Place::new();
    // Over and over, so that rivals meet it while it takes the lock, writes its pid, and puts both away.
    let path = place.path();
    let ends = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                drop(start(&path));
            }
        });
        let mut rival = Peer::new("race", &place.text());
        for _ in 0..200 {
            assert_eq!(rival.hear(), "ready");
            rival.tell("go");
            let said = rival.hear();
            let mine = format!("taken {}", std::process::id());
            assert!(said == "won" || said == mine, "{said}");
            rival.tell("again");
        }
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn folders_that_others_could_change_are_refused() {
    let place = Place::new();
    for mode in [0o770, 0o707, 0o1777] {
        place.set_mode(mode);
        assert!(refused(start(&place.path())).contains(&format!("mode {mode:04o}")));
    }
    place.set_mode(0o755);
    drop(start(&place.path()).unwrap());

    let link = place.folder().join("link");
    fs::create_dir(place.folder().join("real")).unwrap();
    symlink(place.folder().join("real"), &link).unwrap();
    assert!(refused(start(&link.join("service.sock"))).contains("symbolic link"));

    let missing = start(&place.folder().join("missing/service.sock"));
    assert!(matches!(missing, Err(BindError::System { .. })), "{missing:?}");
    let long = place.folder().join("x".repeat(100));
    assert!(refused(start(&long)).contains("bytes"));
    if is_root() {
        chown(place.folder(), Some(12345), None).unwrap();
        assert!(refused(start(&place.path())).contains("12345"));
    }
}

#[test]
fn what_is_no_socket_of_ours_is_left_alone() {
    let place = Place::new();
    fs::write(place.path(), "a letter").unwrap();
    assert!(refused(start(&place.path())).contains("RegularFile"));
    assert_eq!(fs::read(place.path()).unwrap(), b"a letter");
    fs::remove_file(place.path()).unwrap();

    symlink("/etc/hostname", place.path()).unwrap();
    assert!(refused(start(&place.path())).contains("Symlink"));
    fs::remove_file(place.path()).unwrap();

    for what in ["link", "folder"] {
        let _ = fs::remove_file(place.lock());
        match what {
            "link" => symlink(place.folder().join("elsewhere"), place.lock()).unwrap(),
            _ => fs::create_dir(place.lock()).unwrap(),
        }
        refused(start(&place.path()));
        assert!(!place.folder().join("elsewhere").exists());
    }
    fs::remove_dir(place.lock()).unwrap();

    if is_root() {
        drop(UnixListener::bind(place.path()).unwrap());
        chown(place.path(), Some(12345), None).unwrap();
        assert!(refused(start(&place.path())).contains("12345"));
        assert!(place.path().exists());
    }
}

#[test]
fn a_socket_without_a_lock_is_anothers_while_it_accepts() {
    let place = Place::new();
    let other = UnixListener::bind(place.path()).unwrap();
    assert_eq!(taken_by(start(&place.path())), std::process::id());
    // Too many wait there for one more to be let in: it lives all the same.
    let _waiting: Vec<UnixStream> = std::iter::from_fn(|| {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let address = rustix::net::SocketAddrUnix::new(place.path()).unwrap();
        rustix::net::connect(&socket, &address).ok().map(|()| socket.into())
    })
    .take(5000)
    .collect();
    taken_by(start(&place.path()));
    assert!(place.path().exists());
    // A process that another test begins at this moment may have a copy until it is there.
    rustix::net::shutdown(&other, rustix::net::Shutdown::Both).unwrap();
    drop(other);
    let _server = start(&place.path()).unwrap();
    Raw::greeted(&place.path()).ping();
}

#[test]
fn a_server_that_ends_puts_away_its_own_socket_and_no_other() {
    let scene = Scene::new();
    let place = &scene.place;
    let found = fs::symlink_metadata(place.path()).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.lock()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(place.lock()).unwrap(), format!("{}\n", std::process::id()));
    fs::remove_file(place.path()).unwrap();
    let other = UnixListener::bind(place.path()).unwrap();
    let inode = fs::symlink_metadata(place.path()).unwrap().ino();
    let Scene { place, server, .. } = scene;
    drop(server);
    assert_eq!(fs::symlink_metadata(place.path()).unwrap().ino(), inode);
    assert_eq!(place.names(), ["service.sock"]);
    drop(other);
}

#[test]
fn a_forked_child_is_no_server() {
    let place = Place::new();
    let mut parent = Peer::new("serve and fork", &place.text());
    assert_eq!(parent.hear(), "dropped 0");
    // A child that dropped its copy of the server did nothing to it.
    Raw::greeted(&place.path()).ping();
    assert_eq!(taken_by(start(&place.path())), parent.id());
    parent.tell("go on");
    let child: i32 = parent.hear().parse().unwrap();
    parent.kill();
    // The child lives, and has neither the listening socket nor the lock, once it is up.
    until("the socket is gone", || UnixStream::connect(place.path()).is_err());
    let second = start(&place.path());
    kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    let _second = second.unwrap();
    Raw::greeted(&place.path()).ping();
}

#[test]
fn a_forked_child_does_not_hide_that_the_server_stopped() {
    let place = Place::new();
    let mut parent = Peer::new("serve and fork", &place.text());
    assert_eq!(parent.hear(), "dropped 0");
    let mut raw = Raw::greeted(&place.path());
    // A name that stays, to look for a listener when the server has put away its own.
    fs::hard_link(place.path(), place.folder().join("kept")).unwrap();
    parent.tell("go on");
    let child = Pid::from_raw(parent.hear().parse().unwrap()).unwrap();
    parent.tell("stop");
    assert_eq!(parent.hear(), "stopped");
    raw.hear();
    raw.hear_end();
    let refused = UnixStream::connect(place.folder().join("kept"));
    kill_process(child, Signal::KILL).unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn services_are_found_by_name_in_the_users_own_folder() {
    let runtime = tempfile::tempdir().unwrap();
    let ask = |name: &str, folder: &str| {
        let mut peer = Peer::with("path", name, &[("XDG_RUNTIME_DIR", folder)]);
        peer.hear()
    };
    let folder = runtime.path().to_str().unwrap();
    assert_eq!(ask("weights", folder), format!("{folder}/shm-share/weights.sock"));
    let made = runtime.path().join("shm-share");
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["", ".hidden", "a/b", "../up", "a b"] {
        assert!(ask(name, folder).starts_with("error"), "{name:?}");
    }
    fs::set_permissions(&made, PermissionsExt::from_mode(0o750)).unwrap();
    assert!(ask("weights", folder).contains("0700"));
    fs::remove_dir(&made).unwrap();
    symlink("/tmp", &made).unwrap();
    assert!(ask("weights", folder).contains("symbolic link"));

    let user = rustix::process::geteuid().as_raw();
    for missing in ["", "relative", "/does/not/exist"] {
        let expected = format!("/tmp/shm-share-{user}/weights.sock");
        assert_eq!(ask("weights", missing), expected);
    }
}
