//! Device streams whose processes are killed at any point: what was complete stays, nobody hangs, and
//! nothing is left over.

mod peer;
mod simulation;
mod stream;

use peer::{Peer, hear, role, say};
use shm_core::fault::{Action, arm, arm_in};
use shm_core::{OpenError, ReadError, Reader};
use shm_cuda::{
    DeviceOpenError, DeviceReadError, DeviceStream, DeviceStreamConfig, Mirror, fault, ipc,
};
use std::time::{Duration, Instant};
use stream::frames::{assert_frame, frame};
use stream::{Named, Rig, SOON, name, turn};

const LEN: usize = 32 * 1024;

/// The points that a publish passes, of this crate and of the one below.
const PUBLISHING: [&str; 8] = [
    "announce.stored",
    "announce.rung",
    "cuda.publish.announced",
    "cuda.publish.begun",
    "cuda.publish.copied",
    "cuda.publish.finished",
    "announce.begun",
    "announce.finished",
];

/// What the processes of these tests do: `argument` is `stream point via_host`.
#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let (Some((role, argument)), Some(_turn)) = (role(), turn()) else { return };
    let rig = Rig::new();
    let mut arguments = argument.split(' ');
    let (name, point) = (arguments.next().unwrap(), arguments.next().unwrap());
    let via_host = arguments.next() == Some("true");
    simulation::delay_us(2000, 4000);
    match role.as_str() {
        "publish" => {
            let stream = DeviceStream::open(name, &rig.device).unwrap();
            publish_until_killed(&rig, &stream, point, via_host);
        }
        "create and publish" => {
            let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
            let stream = config.create(name, &rig.device).unwrap();
            publish_until_killed(&rig, &stream, point, via_host);
        }
        "publish on and on" => {
            let stream = DeviceStream::open(name, &rig.device).unwrap();
            stream.set_via_host_functions(via_host);
            simulation::delay_us(0, 1000);
            let (other, sources) = (rig.queue(), [rig.room(LEN), rig.room(LEN), rig.room(LEN)]);
            let mut writer = stream.writer(SOON).unwrap();
            say("on");
            for turn in 0.. {
                let (next, queue) = (stream.host().announced() + 1, [&rig.queue, &other][turn % 2]);
                let source = &sources[turn % 3];
                // One queue's order is not the other's.
                writer.settle().unwrap();
                source.as_slice().upload(&frame(next, LEN), queue.as_ref()).unwrap();
                writer.publish(source.as_slice(), queue.as_ref()).unwrap();
            }
        }
        "create" => {
            kill_at(point);
            let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
            let stream = config.create(name, &rig.device);
            panic!("{stream:?} although killed at {point}");
        }
        "open" => {
            kill_at(point);
            let stream = DeviceStream::open(name, &rig.device);
            panic!("{stream:?} although killed at {point}");
        }
        "read" => {
            let stream = DeviceStream::open(name, &rig.device).unwrap();
            let out = rig.room(LEN);
            let (mut reader, view) = (stream.reader(), stream.reader().view().unwrap());
            let _pending = reader.start(out.as_slice(), rig.queue.as_ref()).unwrap();
            say("reading");
            hear();
            drop(view);
        }
        other => panic!("{other}"),
    }
}

fn kill_at(point: &str) {
    match fault::POINTS.contains(&point) {
        true => arm_in(fault::POINTS, point, Action::Kill, 1),
        false => arm(point, Action::Kill, 1),
    }
}

/// Publishes two frames, tells, and is killed in the third.
fn publish_until_killed(rig: &Rig, stream: &DeviceStream, point: &str, via_host: bool) {
    stream.set_via_host_functions(via_host);
    let mut writer = stream.writer(SOON).unwrap();
    let sources: Vec<_> = (1..=3).map(|number| rig.upload(&frame(number, LEN))).collect();
    for source in &sources[..2] {
        writer.publish(source.as_slice(), rig.queue.as_ref()).unwrap();
    }
    writer.settle().unwrap();
    say("two");
    hear();
    kill_at(point);
    writer.publish(sources[2].as_slice(), rig.queue.as_ref()).unwrap();
    writer.settle().unwrap();
    panic!("alive although killed at {point}");
}

/// Points on the host's functions are passed only where those publish.
fn passes(point: &str, via_host: bool) -> bool {
    via_host || !matches!(point, "announce.begun" | "announce.finished")
}

#[test]
fn a_writer_killed_at_any_point_costs_nobody_a_complete_frame() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        for point in PUBLISHING.into_iter().filter(|point| passes(point, via_host)) {
            let stream = rig.stream("killed", LEN, Mirror::Host);
            let mut peer = Peer::new("publish", &format!("{} {point} {via_host}", stream.name()));
            assert_eq!(peer.hear(), "two");
            let (mut reader, mut out) = (stream.reader(), vec![0; LEN]);
            peer.tell("go on");
            assert!(!peer.wait().success(), "{point}");
            let info = reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
            assert!(matches!(info.count, 2 | 3), "{point}: {info:?}");
            assert_frame(&out, info.count);
            assert_frame(&stream.host().reader().read::<u8>().unwrap().data, info.count);
            // Who waits for a frame that will never come is not kept longer than it asked for.
            let waited = reader.wait_after(info.count, Duration::from_millis(200));
            assert!(waited.is_err(), "{point}: {waited:?}");
            let begun = Instant::now();
            let mut writer = stream.writer(SOON).unwrap();
            let next = stream.count() + 1;
            let data = rig.upload(&frame(next, LEN));
            assert_eq!(writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap(), next);
            drop(writer);
            assert!(begun.elapsed() < Duration::from_secs(5), "{point}: {:?}", begun.elapsed());
            let info = reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
            assert_eq!(info.count, next, "{point}");
            assert_frame(&out, next);
            assert_eq!(stream.host().announced(), next, "{point}");
        }
    }
    simulation::assert_clean();
}

#[test]
fn writers_killed_at_any_moment_are_followed_by_others() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("moments", LEN, Mirror::Host);
    let (mut reader, mut out, mut last) = (stream.reader(), vec![0; LEN], 0);
    for round in 0..12_u64 {
        let via_host = round % 2 == 1;
        let mut peer =
            Peer::new("publish on and on", &format!("{} none {via_host}", stream.name()));
        assert_eq!(peer.hear(), "on");
        reader.wait_after(last, SOON).unwrap();
        std::thread::sleep(Duration::from_micros(1700 * round));
        peer.kill();
        let info = reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
        assert!(info.count > last, "{} after {last}", info.count);
        last = info.count;
        assert_frame(&out, last);
        let mirrored = stream.host().reader().read::<u8>().unwrap();
        assert_frame(&mirrored.data, mirrored.info.count);
    }
    simulation::assert_clean();
}

#[test]
fn a_creator_killed_while_it_publishes_leaves_its_mirror() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        for point in PUBLISHING.into_iter().filter(|point| passes(point, via_host)) {
            let name = name("creator");
            let role = "create and publish";
            let mut peer = Peer::new(role, &format!("{name} {point} {via_host}"));
            assert_eq!(peer.hear(), "two");
            let stream = Named(DeviceStream::open(&name, &rig.device).unwrap());
            peer.tell("go on");
            assert!(!peer.wait().success(), "{point}");
            let mut out = vec![0; LEN];
            let error = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap_err();
            assert!(matches!(error, DeviceReadError::CreatorGone { .. }), "{point}: {error}");
            let found = Reader::open(&name).unwrap().read::<u8>().unwrap();
            assert!(matches!(found.info.count, 2 | 3), "{point}: {:?}", found.info);
            assert_frame(&found.data, found.info.count);
            let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
            drop(Named(config.replace_existing(true).create(&name, &rig.device).unwrap()));
        }
    }
}

#[test]
fn a_creator_killed_at_any_point_leaves_nothing_in_the_way() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let points =
        ["cuda.create.allocated", "cuda.create.exported", "create.drafted", "create.written"];
    for point in points {
        let name = name("unborn");
        let mut peer = Peer::new("create", &format!("{name} {point}"));
        assert!(!peer.wait().success(), "{point}");
        let error = DeviceStream::open(&name, &rig.device).unwrap_err();
        assert!(
            matches!(error, DeviceOpenError::Stream(OpenError::NotFound { .. })),
            "{point}: {error}"
        );
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
        let stream = Named(config.create(&name, &rig.device).unwrap());
        let mut out = vec![0; LEN];
        let error = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap_err();
        assert!(matches!(error, DeviceReadError::Read(ReadError::Empty { .. })), "{error}");
    }
    // What was never given a name is swept with the other drafts of the dead.
    shm_core::segment::remove_drafts().unwrap();
    // Killed with the name given, before it could publish: the memory is gone with it.
    let name = name("born");
    let mut peer = Peer::new("create", &format!("{name} create.published"));
    assert!(!peer.wait().success());
    let error = DeviceStream::open(&name, &rig.device).unwrap_err();
    assert!(matches!(error, DeviceOpenError::CreatorGone { .. }), "{error}");
    shm_core::unlink(&name).unwrap();
}

#[test]
fn memory_is_freed_after_readers_were_killed() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for _ in 0..3 {
        let stream = rig.stream("readers", LEN, Mirror::None);
        let data = rig.upload(&frame(1, LEN));
        stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
        let mut opening = Peer::new("open", &format!("{} cuda.open.imported", stream.name()));
        assert!(!opening.wait().success());
        let mut reading = Peer::new("read", &format!("{} none", stream.name()));
        assert_eq!(reading.hear(), "reading");
        drop(stream);
        assert!(ipc::collect().kept >= 3 * LEN);
        reading.kill();
        assert_eq!(ipc::collect().kept, 0);
    }
    simulation::assert_clean();
}
