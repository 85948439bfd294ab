//! Device streams between processes: memory that is mapped, given back, and lost with its process.

mod peer;
mod simulation;
mod stream;

use peer::{Peer, hear, role, say};
use shm_core::{Deadline, FrameTag, LockError, ReadError, Reader, Stream};
use shm_cuda::{
    Device, DeviceLockError, DeviceOpenError, DeviceReadError, DeviceStream, DeviceStreamConfig,
    Mirror, ipc,
};
use std::time::{Duration, Instant};
use stream::frames::{assert_frame, frame};
use stream::{Named, Rig, SOON, is_simulated, name, turn};

const LEN: usize = 32 * 1024;

/// What the processes of these tests do.
#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let (Some((role, argument)), Some(_turn)) = (role(), turn()) else { return };
    let rig = Rig::new();
    match role.as_str() {
        "read" => read_again_and_again(&rig, &argument),
        "create" => create_and_publish(&rig, &argument, Mirror::None),
        "create mirrored" => create_and_publish(&rig, &argument, Mirror::Host),
        "publish" => publish_when_told(&rig, &argument),
        "open on" => open_on(&argument),
        other => panic!("{other}"),
    }
}

/// Opens, reads and closes, as often as it is told.
fn read_again_and_again(rig: &Rig, stream: &str) {
    say("ready");
    loop {
        let times: u64 = hear().parse().unwrap();
        for _ in 0..times {
            let stream = DeviceStream::open(stream, &rig.device).unwrap();
            let mut out = vec![0; stream.desc().byte_len()];
            let info = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
            assert_frame(&out, info.count);
        }
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        simulation::assert_clean();
        let imports = ipc::imports_open();
        let mapped = simulation::report().map_or(0, |report| report["imports"].as_u64().unwrap());
        say(&format!("{open} {imports} {mapped}"));
    }
}

/// Creates a stream of two frames and keeps it until told otherwise.
fn create_and_publish(rig: &Rig, name: &str, mirror: Mirror) {
    let config = DeviceStreamConfig::of::<u8>(&[LEN], mirror).unwrap();
    let stream = config.replace_existing(true).create(name, &rig.device).unwrap();
    let mut writer = stream.writer(SOON).unwrap();
    for number in [1, 2] {
        let data = rig.upload(&frame(number, LEN));
        writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    }
    drop(writer);
    say("ready");
    hear();
    drop(stream);
    say(&format!("kept {}", ipc::collect().kept));
    hear();
    say(&format!("kept {}", ipc::collect().kept));
}

/// Opens a stream, and publishes a frame for every line.
fn publish_when_told(rig: &Rig, name: &str) {
    let stream = DeviceStream::open(name, &rig.device).unwrap();
    say("ready");
    loop {
        hear();
        let mut writer = stream.writer(SOON).unwrap();
        let next = stream.count() + 1;
        let data = rig.upload(&frame(next, LEN));
        writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
        drop(writer);
        say(&next.to_string());
    }
}

/// Opens a stream on the device of this process that is numbered 0, and on the stream's own.
fn open_on(name: &str) {
    let device = Device::open(0).unwrap();
    let outcome = match DeviceStream::open(name, &device) {
        Ok(_) => "open".to_owned(),
        Err(DeviceOpenError::WrongDevice { found, wanted, .. }) => {
            assert_ne!(found, wanted);
            "wrong device".to_owned()
        }
        Err(error) => error.to_string(),
    };
    say(&format!("{} {outcome}", device.uuid()));
}

fn read(rig: &Rig, stream: &DeviceStream) -> u64 {
    let mut out = vec![0; LEN];
    let info = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    assert_frame(&out, info.count);
    info.count
}

#[test]
fn memory_stays_flat_over_a_hundred_attachments() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("attach", LEN, Mirror::None);
    let data = rig.upload(&frame(1, LEN));
    stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    let mut peer = Peer::new("read", stream.name());
    assert_eq!(peer.hear(), "ready");
    let before = simulation::report();
    peer.tell("1");
    let first = peer.hear();
    peer.tell("100");
    assert_eq!(peer.hear(), first);
    assert!(first.ends_with(" 0 0"), "{first}");
    if let (Some(before), Some(after)) = (before, simulation::report()) {
        assert_eq!(after["allocations"], before["allocations"]);
        assert_eq!(after["allocated_bytes"], before["allocated_bytes"]);
    }
    drop(peer);
    drop(stream);
    assert_eq!(ipc::collect().kept, 0);
    simulation::assert_clean();
}

#[test]
fn memory_stays_flat_over_a_hundred_streams_that_another_process_opens() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let name = name("streams");
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    let mut flat = None;
    let data = rig.upload(&frame(1, LEN));
    let mut reader = None;
    for turn in 0..100 {
        let stream = Named(config.create(&name, &rig.device).unwrap());
        stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
        let peer = reader.get_or_insert_with(|| {
            let mut peer = Peer::new("read", &name);
            assert_eq!(peer.hear(), "ready");
            peer
        });
        peer.tell("1");
        peer.hear();
        drop(stream);
        if let Some(report) = simulation::report() {
            let now = (report["allocations"].clone(), report["allocated_bytes"].clone());
            assert_eq!(*flat.get_or_insert(now.clone()), now, "stream {turn}");
        }
    }
    simulation::assert_clean();
}

#[test]
fn memory_is_kept_for_who_has_it_open_and_freed_after_the_last() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let name = name("kept");
    let mut peer = Peer::new("create", &name);
    assert_eq!(peer.hear(), "ready");
    let stream = Named(DeviceStream::open_within(&name, &rig.device, SOON).unwrap());
    assert!(!stream.is_own());
    assert_eq!(ipc::imports_open(), 1);
    assert_eq!(read(&rig, &stream), 2);
    peer.tell("close");
    assert_eq!(peer.hear(), format!("kept {}", 3 * LEN));
    assert_eq!(read(&rig, &stream), 2);
    let data = rig.upload(&frame(3, LEN));
    stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    assert_eq!(read(&rig, &stream), 3);
    let reader = stream.reader();
    drop(stream);
    assert_eq!((reader.count(), ipc::imports_open()), (3, 1));
    drop(reader);
    assert_eq!(ipc::imports_open(), 0);
    peer.tell("collect");
    assert_eq!(peer.hear(), "kept 0");
    assert!(peer.wait().success());
    simulation::assert_clean();
}

#[test]
fn frames_go_with_their_process_and_a_mirror_stays() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for mirror in [Mirror::None, Mirror::Host] {
        let name = name("gone");
        let role = if mirror == Mirror::Host { "create mirrored" } else { "create" };
        let mut peer = Peer::new(role, &name);
        assert_eq!(peer.hear(), "ready");
        let stream = Named(DeviceStream::open(&name, &rig.device).unwrap());
        let mut reader = stream.reader();
        let mut out = vec![0; LEN];
        reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
        assert_frame(&out, 2);
        let (view, room) = (reader.view().unwrap(), rig.room(LEN));
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let begun = Instant::now();
                let error = stream.reader().wait_after(2, SOON).unwrap_err();
                assert!(matches!(error, DeviceReadError::CreatorGone { .. }), "{error}");
                begun.elapsed()
            });
            std::thread::sleep(Duration::from_millis(50));
            peer.kill();
            waiting.join().unwrap()
        });
        assert!(waiting < Duration::from_secs(3), "{waiting:?}");
        assert_eq!(stream.creator_alive(), Some(false));
        let queue = rig.queue.as_ref();
        let gone = |error: DeviceReadError| {
            assert!(matches!(error, DeviceReadError::CreatorGone { .. }), "{error}");
        };
        gone(reader.read_to_host(&mut out, queue).unwrap_err());
        gone(reader.read_into(room.as_slice(), queue).unwrap_err());
        gone(reader.start(room.as_slice(), queue).unwrap_err());
        gone(reader.view().unwrap_err());
        gone(reader.history(2).unwrap_err());
        gone(view.validate().unwrap_err());
        let mut writer = stream.writer(SOON).unwrap();
        let error = writer.publish(room.as_slice(), queue).unwrap_err();
        assert!(matches!(error, shm_cuda::DevicePublishError::CreatorGone { .. }), "{error}");
        drop(writer);
        let error = DeviceStream::open(&name, &rig.device).unwrap_err();
        assert!(matches!(error, DeviceOpenError::CreatorGone { .. }), "{error}");
        let mirrored = Reader::open(&name).unwrap().read::<u8>();
        match mirror {
            Mirror::Host => assert_frame(&mirrored.unwrap().data, 2),
            Mirror::None => assert!(matches!(mirrored, Err(ReadError::NoHostPayload { .. }))),
        }
        // Somebody else takes the name over; who has the old stream is told so.
        let config = DeviceStreamConfig::of::<u8>(&[LEN], mirror).unwrap();
        let again = Named(config.replace_existing(true).create(&name, &rig.device).unwrap());
        let error = reader.read_to_host(&mut out, queue).unwrap_err();
        assert!(matches!(error, DeviceReadError::Read(ReadError::Stale { .. })), "{error}");
        drop((again, stream));
    }
}

#[test]
fn a_stream_created_anew_in_another_shape_is_another_stream() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let name = name("anew");
    let mut peer = Peer::new("create", &name);
    assert_eq!(peer.hear(), "ready");
    let old = DeviceStream::open(&name, &rig.device).unwrap();
    let mut reader = old.reader();
    let mut out = vec![0; LEN];
    reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    let config = DeviceStreamConfig::of::<u8>(&[LEN * 2], Mirror::None).unwrap();
    let new = Named(config.replace_existing(true).create(&name, &rig.device).unwrap());
    let data = rig.upload(&frame(1, LEN * 2));
    new.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    let error = reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Stale { .. })), "{error}");
    let error = old.writer(SOON).unwrap_err();
    assert!(matches!(error, DeviceLockError::Lock(LockError::Stale { .. })), "{error}");
    let opened = DeviceStream::open(&name, &rig.device).unwrap();
    let mut large = vec![0; LEN * 2];
    opened.reader().read_to_host(&mut large, rig.queue.as_ref()).unwrap();
    assert_frame(&large, 1);
    // The old memory is there for who has it.
    let view = old.reader().view();
    assert!(view.is_ok(), "{view:?}");
    simulation::assert_clean();
}

#[test]
fn another_process_publishes_into_the_creators_memory() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("theirs", LEN, Mirror::Host);
    let mut peer = Peer::new("publish", stream.name());
    assert_eq!(peer.hear(), "ready");
    for number in 1..=10 {
        peer.tell("go");
        assert_eq!(peer.hear(), number.to_string());
        assert_eq!(read(&rig, &stream), number);
        assert_frame(&stream.host().reader().read::<u8>().unwrap().data, number);
    }
    simulation::assert_clean();
}

#[test]
fn devices_are_told_apart_by_what_they_are_and_not_by_their_numbers() {
    let Some(_turn) = turn() else { return };
    if Device::count().unwrap() < 2 {
        eprintln!("SKIPPED: one device");
        return;
    }
    let (rig, other) = (Rig::new(), Device::open(1).unwrap());
    let stream = rig.stream("uuid", LEN, Mirror::None);
    let ask = |visible: &str| {
        Peer::with("open on", stream.name(), &[("CUDA_VISIBLE_DEVICES", visible)]).hear()
    };
    assert_eq!(ask("0"), format!("{} open", rig.device.uuid()));
    assert_eq!(ask("1"), format!("{} wrong device", other.uuid()));
    let reached = if other.can_access(&rig.device) { "open" } else { "wrong device" };
    assert_eq!(ask("1,0"), format!("{} {reached}", other.uuid()));
}

#[test]
fn a_mirrored_stream_is_read_and_waited_for_without_a_device() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("deviceless", LEN, Mirror::Host);
    let mut reader = Reader::open(stream.name()).unwrap();
    let waiting = std::thread::spawn(move || {
        let found = reader.read_after::<u8>(0, SOON).unwrap();
        assert_frame(&found.data, found.info.count);
        found.info.frame_id
    });
    std::thread::sleep(Duration::from_millis(20));
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish_host(&frame(1, LEN), FrameTag::id(9), rig.queue.as_ref()).unwrap();
    assert_eq!(waiting.join().unwrap(), 9);
    let opened = Stream::open(stream.name()).unwrap();
    let placement = shm_cuda::Placement::from_bytes(opened.external().unwrap()).unwrap();
    assert_eq!((placement.device(), placement.pid()), (rig.device.uuid(), std::process::id()));
    assert_eq!(placement.mirror(), Mirror::Host);
    assert!(is_simulated() || !rig.device.is_simulated());
}
