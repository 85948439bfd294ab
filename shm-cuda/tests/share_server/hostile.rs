//! Clients that break the rules, or die while they keep them.

use crate::peer::Peer;
use crate::raw::{Raw, value};
use crate::{Place, Scene, number, until};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shm_cuda::share::wire::{HEADER_LEN, Header, Received, Reply, Request};
use shm_cuda::share::{FailureKind, Limits};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PING: u16 = 2;
const CALL: u16 = 5;

fn frame(kind: u16, descriptors: u16, request: u64, body: &[u8]) -> Vec<u8> {
    let header = Header { kind, descriptors, request, body: body.len() as u32 };
    [&header.to_bytes()[..], body].concat()
}

fn refused(raw: &mut Raw) {
    let failure = value(raw.hear().1).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Protocol, "{failure}");
    raw.hear_end();
}

#[test]
fn garbage_ends_its_own_connection() {
    let scene = Scene::new();
    let mut witness = Raw::greeted(&scene.path());
    let mut random = fastrand::Rng::with_seed(7);
    for greeted in [false, true] {
        for _ in 0..50 {
            let mut raw = Raw::silent(&scene.path());
            if greeted {
                raw.greet((1, 1)).unwrap();
            }
            let noise: Vec<u8> = (0..random.usize(24..2000)).map(|_| random.u8(..)).collect();
            raw.channel.socket().write_all(&noise).unwrap();
            refused(&mut raw);
            witness.ping();
        }
    }
    // Close to a frame, each with one thing wrong.
    let limits = Limits::default();
    let good = frame(PING, 0, 9, &[]);
    let wrong: Vec<Vec<u8>> = vec![
        [b"SHR2", &good[4..]].concat(),
        frame(0, 0, 9, &[]),
        frame(18, 0, 9, &[]),
        frame(0x8001, 0, 9, &[]),
        frame(0x800c, 0, 9, &[]),
        frame(PING, 300, 9, &[]),
        frame(CALL, 5, 9, &[0; 10]),
        Header { kind: CALL, descriptors: 0, request: 9, body: limits.body as u32 + 1 }
            .to_bytes()
            .to_vec(),
        Header { kind: CALL, descriptors: 0, request: 9, body: u32::MAX }.to_bytes().to_vec(),
        [&good[..20], &[1, 0, 0, 0]].concat(),
    ];
    for bytes in wrong {
        let mut raw = Raw::greeted(&scene.path());
        raw.channel.socket().write_all(&bytes).unwrap();
        refused(&mut raw);
        witness.ping();
    }
    until("all are gone", || scene.server.counters().connections == 1);
}

#[test]
fn a_wrong_body_fails_its_request_and_nothing_else() {
    let scene = Scene::new();
    let mut raw = Raw::greeted(&scene.path());
    let mut random = fastrand::Rng::with_seed(8);
    for kind in 2..=16 {
        for _ in 0..50 {
            let body: Vec<u8> = (0..random.usize(1..60)).map(|_| random.u8(..)).collect();
            raw.channel.socket().write_all(&frame(kind, 0, 70_000, &body)).unwrap();
            let (request, received) = raw.hear();
            assert_eq!(request, 70_000);
            // By chance it may be a right one, of a task or object that is not there.
            if let Received::Reply(Reply::Failed(failure)) = received {
                assert_ne!(failure.message, "");
            }
        }
    }
    raw.ping();
}

#[test]
fn halves_of_frames_wait_for_the_rest() {
    let scene = Scene::new();
    let mut witness = Raw::greeted(&scene.path());
    let mut slow = Raw::greeted(&scene.path());
    for byte in frame(PING, 0, 50, &[]) {
        slow.channel.socket().write_all(&[byte]).unwrap();
        witness.ping();
    }
    let (50, Received::Reply(Reply::Pong)) = slow.hear() else { panic!("no pong") };
    // Clients that go in the middle of a header, or of a body.
    let whole = frame(CALL, 0, 51, &[0; 1000]);
    for len in [1, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + 500] {
        let raw = Raw::greeted(&scene.path());
        raw.channel.socket().write_all(&whole[..len]).unwrap();
        witness.ping();
    }
    drop(slow);
    until("all are gone", || scene.server.counters().connections == 1);
    witness.ping();
}

#[test]
fn descriptors_that_nobody_announced_are_closed() {
    let place = Place::new();
    let mut server = Peer::new("serve", &place.text());
    assert_eq!(server.hear(), "serving");
    let mut witness = Raw::greeted(&place.path());
    let folder = format!("/proc/{}/fd", server.id());
    let count = || std::fs::read_dir(&folder).unwrap().count();
    let before = count();
    let file = std::fs::File::open("/dev/null").unwrap();
    let send = |socket: &UnixStream, bytes: &[u8], how_many: usize| {
        let all: Vec<BorrowedFd<'_>> = vec![file.as_fd(); how_many];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&all)));
        sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    };
    for (announced, sent) in [(0, 1), (0, 253), (1, 253), (253, 200), (300, 253)] {
        let mut raw = Raw::greeted(&place.path());
        send(raw.channel.socket(), &frame(CALL, announced, 60, &[]), sent);
        if announced == 300 || usize::from(announced) > sent {
            refused(&mut raw);
        } else {
            // The frame is looked at first, and its body is no call; then the rest is too many.
            while raw.try_hear().is_some() {}
        }
        witness.ping();
    }
    // Three hundred, a hundred at a time, before the first frame is there.
    let mut raw = Raw::greeted(&place.path());
    let bytes = frame(CALL, 253, 61, &[0; 100]);
    for part in 0..3 {
        send(raw.channel.socket(), &bytes[part * 10..part * 10 + 10], 100);
    }
    refused(&mut raw);
    // With half a header, and then gone.
    let raw = Raw::greeted(&place.path());
    send(raw.channel.socket(), &bytes[..10], 253);
    witness.ping();
    drop(raw);
    until("all are closed", || count() == before);
    server.tell("stop");
    assert!(server.wait().success());
}

#[test]
fn a_client_that_never_reads_is_not_served_for_ever_and_keeps_nobody_from_it() {
    let scene = Scene::new();
    let mut witness = Raw::greeted(&scene.path());
    let mut deaf = Raw::greeted(&scene.path());
    let pings: Vec<u8> = (1..=1000).flat_map(|request| frame(PING, 0, request, &[])).collect();
    let mut sent = 0;
    let mut rest = &pings[..];
    let mut stuck = 0;
    // Until the server takes no more of it.
    while stuck < 50 {
        match rustix::net::send(deaf.channel.socket(), rest, SendFlags::DONTWAIT) {
            Ok(len) => {
                (sent, stuck) = (sent + len, 0);
                rest = if len == rest.len() { &pings } else { &rest[len..] };
            }
            Err(Errno::AGAIN) => {
                witness.ping();
                stuck += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "it takes everything");
    }
    assert_eq!(scene.server.counters().connections, 2);
    // Reading at last, it gets every answer to what it has sent.
    for _ in 0..sent / HEADER_LEN {
        let (_, Received::Reply(Reply::Pong)) = deaf.hear() else { panic!("no pong") };
    }
    if !rest.len().is_multiple_of(HEADER_LEN) {
        let begun = &rest[..rest.len() % HEADER_LEN];
        deaf.channel.socket().write_all(begun).unwrap();
        let (_, Received::Reply(Reply::Pong)) = deaf.hear() else { panic!("no pong") };
    }
    deaf.ping();
    // One that goes without having read anything is gone.
    let deaf = Raw::greeted(&scene.path());
    while rustix::net::send(deaf.channel.socket(), &pings, SendFlags::DONTWAIT).is_ok() {}
    drop(deaf);
    until("it is gone", || scene.server.counters().connections == 2);
}

#[test]
fn who_closes_one_half_has_gone() {
    let scene = Scene::new();
    let raw = Raw::greeted(&scene.path());
    raw.channel.socket().shutdown(std::net::Shutdown::Write).unwrap();
    let mut socket = raw.channel.socket();
    let mut nothing = [0; 16];
    until("the server closes too", || matches!(socket.read(&mut nothing), Ok(0)));
    until("it is gone", || scene.server.counters().connections == 0);
}

#[test]
fn what_a_client_said_before_it_went_counts() {
    let scene = Scene::new();
    scene.server.invoke("bytes", number(10), crate::soon()).unwrap();
    let mut raw = Raw::greeted(&scene.path());
    raw.send(&Request::InvalidateEndpoint("bytes".into()));
    drop(raw);
    until("it is forgotten", || scene.server.counters().invalidated == 1);
}

#[test]
fn without_descriptors_it_rests_and_goes_on_when_there_are_some() {
    let place = Place::new();
    let mut server = Peer::new("few descriptors", &place.text());
    assert_eq!(server.hear(), "serving");
    let mut first = Raw::greeted(&place.path());
    let mut crowd: Vec<UnixStream> =
        (0..60).map(|_| UnixStream::connect(place.path()).unwrap()).collect();
    let folder = format!("/proc/{}/fd", server.id());
    until("it has no more", || std::fs::read_dir(&folder).unwrap().count() >= 38);
    first.ping();
    let before = ticks(server.id());
    std::thread::sleep(Duration::from_millis(1000));
    let spent = ticks(server.id()) - before;
    assert!(spent < 50, "{spent} hundredths of a second in one second: it spins");
    first.ping();
    crowd.clear();
    Raw::greeted(&place.path()).ping();
    first.ping();
    server.tell("stop");
    assert!(server.wait().success());
}

/// Hundredths of a second that a process has worked.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
