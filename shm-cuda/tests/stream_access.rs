//! Other ways to frames of device streams: loans, views, reads under way; and what is refused.

mod simulation;
mod stream;

use shm_core::{Deadline, FrameTag, PublishError, ReadError, Stream, StreamConfig};
use shm_cuda::{
    Device, DeviceOpenError, DevicePublishError, DeviceReadError, DeviceStream, DeviceStreamConfig,
    Mirror,
};
use std::time::Duration;
use stream::frames::{assert_frame, frame, is_frame};
use stream::{Named, Rig, SOON, is_simulated, name, turn};

const LEN: usize = 4096;

#[test]
fn a_loan_is_a_frame_once_it_is_committed_and_never_if_it_is_dropped() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
        let stream = rig.stream_of("loans", &config.via_host_functions(via_host));
        let mut writer = stream.writer(SOON).unwrap();
        let (mut reader, mut out) = (stream.reader(), vec![0; LEN]);
        simulation::delay_us(500, 2000);
        let queue = rig.queue.as_ref();
        let sources: Vec<_> = (0..=8).map(|number| rig.upload(&frame(number, LEN))).collect();

        let lent = writer.loan(queue).unwrap();
        assert_eq!(lent.count(), 1);
        lent.slice().copy_from(sources[1].as_slice(), queue).unwrap();
        assert_eq!(lent.commit(FrameTag::default()).unwrap(), 1);
        reader.wait_after(0, SOON).unwrap();
        reader.read_to_host(&mut out, queue).unwrap();
        assert_frame(&out, 1);

        let other = rig.queue();
        let lent = writer.loan(other.as_ref()).unwrap();
        lent.slice().copy_from(sources[0].as_slice(), other.as_ref()).unwrap();
        drop(lent);
        assert_eq!((stream.count(), stream.host().announced()), (1, 1));

        // What was aborted leaves no trace, though it was on another queue; frames before and after
        // a loan with a tag are in flight.
        writer.publish(sources[2].as_slice(), queue).unwrap();
        writer.publish(sources[3].as_slice(), other.as_ref()).unwrap();
        let lent = writer.loan(queue).unwrap();
        assert_eq!(lent.count(), 4);
        lent.slice().copy_from(sources[4].as_slice(), queue).unwrap();
        assert_eq!(lent.commit(FrameTag::id(77).acquired_ns(5)).unwrap(), 4);
        let mut tagged = stream.reader();
        tagged.wait_after(3, SOON).unwrap();
        let info = tagged.read_to_host(&mut out, queue).unwrap();
        assert_frame(&out, 4);
        assert_eq!((info.count, info.frame_id, info.acquired_wall_ns), (4, 77, 5));
        let info = reader.read_to_host(&mut out, queue).unwrap();
        assert_eq!((info.missed, reader.missed_total(), reader.seen()), (2, 2, 4));

        writer.publish(sources[5].as_slice(), other.as_ref()).unwrap();
        let lent = writer.loan(queue).unwrap();
        drop(lent);
        writer.publish(sources[6].as_slice(), queue).unwrap();
        drop(writer);
        let mut history = Vec::new();
        for view in reader.history(9).unwrap() {
            let bytes = view.slice().to_vec(queue).unwrap();
            view.validate_after(queue).unwrap();
            assert_frame(&bytes, view.info().count);
            history.push(view.info().count);
        }
        assert!(history.ends_with(&[5, 6]), "{history:?}");
        assert_frame(&stream.host().reader().read::<u8>().unwrap().data, 6);
    }
    simulation::assert_clean();
}

#[test]
fn a_loan_apart_from_its_writer_is_committed_returned_or_taken_back() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
        let stream = rig.stream_of("lent", &config.via_host_functions(via_host));
        let mut writer = stream.writer(SOON).unwrap();
        let queue = rig.queue.as_ref();
        simulation::delay_us(500, 2000);
        let sources: Vec<_> = (0..=4).map(|number| rig.upload(&frame(number, LEN))).collect();
        let lent = writer.lend(queue).unwrap();
        lent.slice().copy_from(sources[1].as_slice(), queue).unwrap();
        for error in [
            writer.publish(sources[2].as_slice(), queue).unwrap_err(),
            writer.lend(queue).unwrap_err(),
        ] {
            assert!(matches!(error, DevicePublishError::Lent { count: 1, .. }), "{error}");
        }
        writer.settle().unwrap();
        assert_eq!((stream.count(), writer.commit_loan(lent, FrameTag::id(7), queue)), (0, Ok(1)));
        let lent = writer.lend(queue).unwrap();
        lent.slice().copy_from(sources[0].as_slice(), queue).unwrap();
        writer.return_loan(lent, queue).unwrap();
        assert_eq!((stream.count(), stream.host().announced()), (1, 1));

        let other = rig.queue();
        let lent = writer.lend(other.as_ref()).unwrap();
        lent.slice().copy_from(sources[0].as_slice(), other.as_ref()).unwrap();
        drop(lent);
        assert_eq!(writer.publish(sources[2].as_slice(), queue).unwrap(), 2);

        // Another writer's loan, dead or alive, is none of this one's.
        let foreign = rig.stream("foreign", LEN, Mirror::None);
        let mut stranger = foreign.writer(SOON).unwrap();
        let lent = stranger.lend(queue).unwrap();
        drop(stranger);
        assert_eq!((foreign.count(), foreign.host().announced()), (0, 0));
        let error = writer.commit_loan(lent, FrameTag::default(), queue).unwrap_err();
        assert!(
            matches!(
                error,
                DevicePublishError::Publish(PublishError::Loan { expected: 3, found: 1, .. })
            ),
            "{error}"
        );
        let lent = writer.lend(other.as_ref()).unwrap();
        lent.slice().copy_from(sources[3].as_slice(), other.as_ref()).unwrap();
        assert_eq!(writer.commit_loan(lent, FrameTag::default(), other.as_ref()).unwrap(), 3);
        writer.publish(sources[4].as_slice(), queue).unwrap();
        drop(writer);
        for view in stream.reader().history(2).unwrap() {
            let bytes = view.slice().to_vec(queue).unwrap();
            view.validate_after(queue).unwrap();
            assert_frame(&bytes, view.info().count);
        }
        assert_frame(&stream.host().reader().read::<u8>().unwrap().data, 4);
    }
    simulation::assert_clean();
}

#[test]
fn a_view_copies_nothing_and_knows_when_its_frame_is_gone() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("views", LEN, Mirror::None);
    let (mut writer, mut reader) = (stream.writer(SOON).unwrap(), stream.reader());
    let queue = rig.queue.as_ref();
    let publish = |writer: &mut shm_cuda::DeviceWriter, number| {
        let data = rig.upload(&frame(number, LEN));
        writer.publish(data.as_slice(), queue).unwrap();
        writer.settle().unwrap();
    };
    publish(&mut writer, 1);
    let view = reader.view().unwrap();
    let again = reader.view().unwrap();
    assert_eq!(view.slice().address(), again.slice().address());
    assert_eq!(view.slice().address() % 256, 0);
    let bytes = view.slice().to_vec(queue).unwrap();
    view.validate_after(queue).unwrap();
    assert_frame(&bytes, 1);
    publish(&mut writer, 2);
    publish(&mut writer, 3);
    view.validate().unwrap();
    publish(&mut writer, 4);
    let error = view.validate_after(queue).unwrap_err();
    assert!(
        matches!(error, DeviceReadError::Read(ReadError::Overwritten { count: 1, .. })),
        "{error}"
    );
    // A view outlives every handle.
    let view = reader.view().unwrap();
    drop((reader, writer));
    let alone = Named(DeviceStream::clone(&stream));
    drop(stream);
    drop(alone);
    assert_frame(&view.slice().to_vec(queue).unwrap(), 4);
    simulation::assert_clean();
}

#[test]
fn a_read_under_way_is_waited_for_when_the_caller_likes() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("pending", LEN, Mirror::None);
    let (mut writer, mut reader) = (stream.writer(SOON).unwrap(), stream.reader());
    let queue = rig.queue.as_ref();
    let data = rig.upload(&frame(1, LEN));
    writer.publish(data.as_slice(), queue).unwrap();
    writer.settle().unwrap();
    let out = rig.room(LEN);
    simulation::delay_us(150_000, 150_000);
    let pending = reader.start(out.as_slice(), queue).unwrap();
    if is_simulated() {
        assert!(!pending.is_done().unwrap());
    }
    assert_eq!(pending.info().count, 1);
    assert_eq!(pending.finish().unwrap().count, 1);
    simulation::delay_us(0, 0);
    assert_frame(&rig.bytes(&out), 1);

    if is_simulated() {
        // Overwritten while the copy is on its way: known afterwards.
        let slow = rig.queue();
        simulation::delay_us(60_000, 60_000);
        let pending = reader.start(out.as_slice(), slow.as_ref()).unwrap();
        simulation::delay_us(0, 0);
        for _ in 0..3 {
            writer.publish(data.as_slice(), queue).unwrap();
        }
        writer.settle().unwrap();
        let error = pending.finish().unwrap_err();
        assert!(matches!(error, DeviceReadError::Read(ReadError::Overwritten { .. })), "{error}");
    }
    simulation::assert_clean();
}

#[test]
fn a_reader_that_waits_is_woken_by_the_frame() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
        let stream = rig.stream_of("waits", &config.via_host_functions(via_host));
        std::thread::scope(|scope| {
            let woken = scope.spawn(|| {
                let (queue, out) = (rig.queue(), rig.room(LEN));
                let mut reader = stream.reader();
                let info = reader.read_new(out.as_slice(), queue.as_ref(), SOON).unwrap();
                assert_frame(&rig.bytes(&out), info.count);
            });
            std::thread::sleep(Duration::from_millis(30));
            let mut writer = stream.writer(SOON).unwrap();
            for number in 1.. {
                let data = rig.upload(&frame(number, LEN));
                writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
                writer.settle().unwrap();
                if woken.is_finished() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            woken.join().unwrap();
        });
        assert!(stream.reader().age().is_some_and(|age| age < SOON));
    }
}

#[test]
fn a_segment_that_says_anything_else_of_its_frames_is_refused() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for mirror in [Mirror::None, Mirror::Host] {
        let good = rig.stream("placement", LEN, mirror);
        let bytes = good.host().external().unwrap().to_vec();
        let open = |bytes: &[u8], len: usize, cells: usize, mirrored: bool| {
            let config = StreamConfig::of::<u8>(&[len]).unwrap().cells(cells).unwrap();
            let stream = config.external(bytes, mirrored).unwrap().create(&name("bad")).unwrap();
            let outcome = DeviceStream::open(stream.name(), &rig.device);
            stream.unlink().unwrap();
            outcome.map(drop)
        };
        let mirrored = mirror == Mirror::Host;
        // The bytes themselves are fine: memory of this process.
        open(&bytes, LEN, 3, mirrored).unwrap();
        let refused = |outcome: Result<(), DeviceOpenError>| {
            let error = outcome.unwrap_err();
            assert!(matches!(error, DeviceOpenError::Placement { .. }), "{error}");
        };
        refused(open(&bytes, LEN, 4, mirrored));
        refused(open(&bytes, LEN - 1, 3, mirrored));
        refused(open(&bytes, LEN, 3, !mirrored));
        refused(open(&bytes[1..], LEN, 3, mirrored));
        refused(open(&[], LEN, 3, mirrored));
        for at in 0..bytes.len() {
            for bit in [0, 7] {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                refused(open(&bad, LEN, 3, mirrored));
            }
        }
    }
    simulation::assert_clean();
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let queue = rig.queue.as_ref();
    let stream = rig.stream("refusals", LEN, Mirror::None);
    let (mut writer, mut reader) = (stream.writer(SOON).unwrap(), stream.reader());
    let (right, wrong) = (rig.room(LEN), rig.room(LEN / 2));

    let error = writer.publish(wrong.as_slice(), queue).unwrap_err();
    let expected = |error: &DevicePublishError| {
        matches!(
            error,
            DevicePublishError::Publish(PublishError::Length { expected: LEN, found: 2048, .. })
        )
    };
    assert!(expected(&error), "{error}");
    let error = writer.publish_host(&[0; LEN / 2], FrameTag::default(), queue).unwrap_err();
    assert!(expected(&error), "{error}");
    let error = reader.read_into(right.as_slice(), queue).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Empty { .. })), "{error}");
    let error = reader.view().unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Empty { .. })), "{error}");
    let error = reader.history(3).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Empty { .. })), "{error}");
    let error = reader.read_into(wrong.as_slice(), queue).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Length { .. })), "{error}");
    let error = reader.read_new(right.as_slice(), queue, Duration::from_millis(5)).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Timeout { .. })), "{error}");
    assert_eq!((stream.count(), stream.host().announced()), (0, 0));

    // Ordinary publishing and reading say where the frames are.
    let other = rig.stream("other", LEN, Mirror::None);
    let mut lock = other.host().writer(SOON).unwrap();
    let error = lock.publish(&[0_u8; LEN]).unwrap_err().to_string();
    assert!(error.contains("DeviceWriter"), "{error}");
    let ordinary = name("ordinary");
    let plain = Stream::create(&ordinary, &StreamConfig::of::<u8>(&[4]).unwrap()).unwrap();
    let error = DeviceStream::open(&ordinary, &rig.device).unwrap_err();
    assert!(matches!(error, DeviceOpenError::NotOnDevice { .. }), "{error}");
    plain.unlink().unwrap();
    let error = DeviceStream::open(&ordinary, &rig.device).unwrap_err();
    assert!(matches!(error, DeviceOpenError::Stream(_)), "{error}");

    stream.unlink().unwrap();
    let error = writer.publish(right.as_slice(), queue).unwrap_err();
    assert!(matches!(error, DevicePublishError::Publish(PublishError::Stale { .. })), "{error}");
    let error = reader.read_into(right.as_slice(), queue).unwrap_err();
    assert!(matches!(error, DeviceReadError::Read(ReadError::Stale { .. })), "{error}");
    simulation::assert_clean();
}

#[test]
fn data_of_another_device_is_published_and_read_where_the_two_reach_each_other() {
    let Some(_turn) = turn() else { return };
    if Device::count().unwrap() < 2 {
        eprintln!("SKIPPED: one device");
        return;
    }
    let (rig, other) = (Rig::new(), Device::open(1).unwrap());
    assert_ne!(rig.device.uuid(), other.uuid());
    let stream = rig.stream("devices", LEN, Mirror::None);
    let theirs = shm_cuda::DeviceBuffer::new(&other, LEN).unwrap();
    let their_queue = shm_cuda::CudaStream::new(&other).unwrap();
    theirs.as_slice().upload(&frame(1, LEN), their_queue.as_ref()).unwrap();
    let mut writer = stream.writer(SOON).unwrap();
    let mut reader = stream.reader();
    if !rig.device.can_access(&other) {
        let error = writer.publish(theirs.as_slice(), rig.queue.as_ref()).unwrap_err();
        assert!(matches!(error, DevicePublishError::WrongDevice { .. }), "{error}");
        return;
    }
    rig.device.enable_access(&other).unwrap();
    writer.publish(theirs.as_slice(), rig.queue.as_ref()).unwrap();
    writer.settle().unwrap();
    theirs.as_slice().fill(0, their_queue.as_ref()).unwrap();
    their_queue.synchronize().unwrap();
    reader.read_into(theirs.as_slice(), rig.queue.as_ref()).unwrap();
    assert_frame(&theirs.as_slice().to_vec(their_queue.as_ref()).unwrap(), 1);
    // The same process with its other device.
    let there = DeviceStream::open(stream.name(), &other).unwrap();
    assert!(there.is_own());
    let mut out = vec![0; LEN];
    there.reader().read_to_host(&mut out, their_queue.as_ref()).unwrap();
    assert_frame(&out, 1);
    simulation::assert_clean();
}

#[test]
fn a_process_opens_its_own_stream_without_mapping_anything_and_keeps_its_memory() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let before = shm_cuda::ipc::imports_open();
    let stream = rig.stream("own", LEN, Mirror::None);
    let opened = DeviceStream::open(stream.name(), &rig.device).unwrap();
    assert!(stream.is_own() && opened.is_own());
    assert_eq!(shm_cuda::ipc::imports_open(), before);
    let data = rig.upload(&frame(1, LEN));
    opened.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    // The creator's handle goes first: what is open stays readable, and then all is freed.
    drop(stream);
    let kept = shm_cuda::ipc::collect();
    assert!(kept.kept >= 3 * LEN, "{kept:?}");
    let mut out = vec![0; LEN];
    opened.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    assert!(is_frame(&out, 1));
    assert_eq!(opened.creator_alive(), Some(true));
    drop(opened);
    assert_eq!(shm_cuda::ipc::collect().kept, 0);
    simulation::assert_clean();
}

#[test]
fn a_stream_whose_memory_was_freed_cannot_be_opened() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    let lonely = name("lonely");
    drop(config.create(&lonely, &rig.device).unwrap());
    assert_eq!(shm_cuda::ipc::collect().kept, 0);
    let error = DeviceStream::open_within(&lonely, &rig.device, Deadline::NOW).unwrap_err();
    assert!(matches!(error, DeviceOpenError::CreatorGone { .. }), "{error}");
    let again = config.replace_existing(true).create(&lonely, &rig.device).unwrap();
    DeviceStream::open(&lonely, &rig.device).unwrap();
    again.unlink().unwrap();
    simulation::assert_clean();
}
