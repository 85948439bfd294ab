//! Device streams on devices that fail or refuse: nothing wrong becomes readable, and what happened is
//! said.

mod peer;
mod simulation;
mod stream;

use peer::{Peer, hear, role, say};
use shm_core::{FrameTag, OpenError, Stream};
use shm_cuda::{
    CudaErrorKind, DeviceCreateError, DeviceOpenError, DevicePublishError, DeviceStream,
    DeviceStreamConfig, DeviceWriter, Mirror, Publication, ipc,
};
use simulation::Failure;
use stream::frames::{assert_frame, frame};
use stream::{Named, Rig, SOON, Turn, is_simulated, name, turn};

const LEN: usize = 32 * 1024;

/// These need a driver that fails on demand.
fn simulated_turn() -> Option<Turn> {
    let turn = turn()?;
    if !is_simulated() {
        eprintln!("SKIPPED: a real device does not fail on demand");
        return None;
    }
    Some(turn)
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let (Some((role, name)), Some(_turn)) = (role(), turn()) else { return };
    let rig = Rig::new();
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    if role == "publish" {
        let stream = rig.stream_of("without", &config);
        let publication = stream.publication();
        publish(&rig, &mut stream.writer(SOON).unwrap(), 1).unwrap();
        assert_eq!(stream.publication(), publication);
        say(&format!("{publication:?} {}", stream.fallbacks()));
        return;
    }
    let stream = config.create(&name, &rig.device).unwrap();
    say("ready");
    hear();
    drop(stream);
    say(&format!("kept {}", ipc::collect().kept));
}

fn publish(rig: &Rig, writer: &mut DeviceWriter, number: u64) -> Result<u64, DevicePublishError> {
    let data = rig.upload(&frame(number, LEN));
    let count = writer.publish(data.as_slice(), rig.queue.as_ref())?;
    writer.settle()?;
    Ok(count)
}

fn assert_newest(rig: &Rig, stream: &DeviceStream, number: u64) {
    let mut out = vec![0; LEN];
    let info = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    assert_eq!(info.count, number);
    assert_frame(&out, number);
    assert_mirrored(stream, number);
}

fn assert_mirrored(stream: &DeviceStream, number: u64) {
    let found = stream.host().reader().read::<u8>().unwrap();
    assert_eq!(found.info.count, number);
    assert_frame(&found.data, number);
}

#[test]
fn a_device_without_room_leaves_nothing_behind() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let before = simulation::report().map(|report| report["allocated_bytes"].clone());
    let name = name("huge");
    let config = DeviceStreamConfig::of::<u8>(&[1 << 40], Mirror::None).unwrap();
    let error = config.create(&name, &rig.device).unwrap_err();
    let DeviceCreateError::Memory { need, source, .. } = &error else { panic!("{error}") };
    assert_eq!((*need, source.kind()), (3 << 40, CudaErrorKind::OutOfMemory));
    let error = Stream::open(&name).unwrap_err();
    assert!(matches!(error, OpenError::NotFound { .. }), "{error}");
    let small = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
    if is_simulated() {
        simulation::inject(Failure::OutOfMemory, 1);
        let error = small.create(&name, &rig.device).unwrap_err();
        assert!(matches!(error, DeviceCreateError::Memory { .. }), "{error}");
    }
    // A name that is taken costs no memory either.
    let taken = Named(small.create(&name, &rig.device).unwrap());
    let error = small.create(&name, &rig.device).unwrap_err();
    assert!(matches!(error, DeviceCreateError::Stream(_)), "{error}");
    drop(taken);
    assert_eq!(simulation::report().map(|report| report["allocated_bytes"].clone()), before);
    simulation::assert_clean();
}

#[test]
fn a_device_that_cannot_store_words_publishes_through_host_functions_and_says_so() {
    let Some(_turn) = simulated_turn() else { return };
    let rig = Rig::new();
    // Neither pages that cannot be registered, nor a refusal before or after the payload.
    for (failure, after) in [(Failure::Registration, 1), (Failure::MemOp, 1), (Failure::MemOp, 2)] {
        let stream = rig.stream("fallback", LEN, Mirror::Host);
        assert_eq!(stream.publication(), Publication::StreamOrdered);
        simulation::inject(failure, after);
        let mut writer = stream.writer(SOON).unwrap();
        for number in 1..=3 {
            assert_eq!(publish(&rig, &mut writer, number).unwrap(), number);
            assert_newest(&rig, &stream, number);
        }
        assert_eq!(stream.publication(), Publication::HostFunction, "{failure:?}");
        assert_eq!(stream.fallbacks(), 3, "{failure:?}");
    }
    simulation::assert_clean();
}

#[test]
fn a_device_that_says_that_it_cannot_store_words_is_believed() {
    let Some(_turn) = simulated_turn() else { return };
    let publication = |memops| {
        let mut peer = Peer::with("publish", "", &[("SHM_CUDA_SIM_NO_MEMOPS", memops)]);
        let said = peer.hear();
        assert!(peer.wait().success());
        said
    };
    assert_eq!(publication("1"), "HostFunction 1");
    assert_eq!(publication("0"), "StreamOrdered 0");
}

#[test]
fn work_that_fails_publishes_nothing_and_the_newest_frame_stays() {
    let Some(_turn) = simulated_turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        for failure in [Failure::Launch, Failure::DeviceLost] {
            // Wherever it strikes: at any call or piece of work of the publish.
            for after in 1..=12 {
                simulation::reset();
                let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
                let stream = rig.stream_of("lost", &config.via_host_functions(via_host));
                let mut writer = stream.writer(SOON).unwrap();
                publish(&rig, &mut writer, 1).unwrap();
                let data = rig.upload(&frame(2, LEN));
                simulation::inject(failure, after);
                let published = writer
                    .publish(data.as_slice(), rig.queue.as_ref())
                    .and_then(|_| writer.settle());
                let newest = stream.count();
                if let Err(error) = &published {
                    let DevicePublishError::Cuda { count: 2, source, .. } = error else {
                        panic!("{error:?}")
                    };
                    assert_eq!(source.kind(), CudaErrorKind::Lost, "{error:?}");
                } else {
                    assert_eq!(newest, 2);
                }
                assert_mirrored(&stream, newest);
                assert_eq!(stream.host().announced(), newest);
                drop(writer);
                // A healed device goes on where the last complete frame left it.
                simulation::reset();
                let mut writer = stream.writer(SOON).unwrap();
                assert_eq!(publish(&rig, &mut writer, newest + 1).unwrap(), newest + 1);
                assert_newest(&rig, &stream, newest + 1);
            }
        }
    }
}

#[test]
fn frames_in_flight_when_the_device_fails_are_taken_back() {
    let Some(_turn) = simulated_turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        simulation::reset();
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::Host).unwrap();
        let stream = rig.stream_of("flight", &config.via_host_functions(via_host));
        let sources: Vec<_> = (1..=6).map(|number| rig.upload(&frame(number, LEN))).collect();
        let mut writer = stream.writer(SOON).unwrap();
        writer.publish(sources[0].as_slice(), rig.queue.as_ref()).unwrap();
        writer.settle().unwrap();
        simulation::delay_us(3000, 3000);
        simulation::inject(Failure::Launch, 3);
        let mut failed = None;
        for source in &sources[1..] {
            if let Err(error) = writer.publish(source.as_slice(), rig.queue.as_ref()) {
                failed = Some(error);
                break;
            }
        }
        let error = failed.or_else(|| writer.settle().err()).expect("work that was made to fail");
        assert!(matches!(error, DevicePublishError::Cuda { .. }), "{error}");
        let newest = stream.count();
        assert!(newest < 6);
        assert_mirrored(&stream, newest);
        assert_eq!((stream.host().announced(), writer.in_flight()), (newest, 0));
        simulation::reset();
        // The same writer goes on as well.
        assert_eq!(publish(&rig, &mut writer, newest + 1).unwrap(), newest + 1);
        assert_newest(&rig, &stream, newest + 1);
        let host = frame(newest + 2, LEN);
        writer.publish_host(&host, FrameTag::default(), rig.queue.as_ref()).unwrap();
        writer.settle().unwrap();
        assert_newest(&rig, &stream, newest + 2);
    }
}

#[test]
fn a_mapping_that_the_driver_refuses_keeps_nothing_from_being_freed() {
    let Some(_turn) = simulated_turn() else { return };
    let rig = Rig::new();
    let name = name("refused");
    let mut peer = Peer::new("create", &name);
    assert_eq!(peer.hear(), "ready");
    simulation::inject(Failure::IpcOpen, 1);
    let error = DeviceStream::open(&name, &rig.device).unwrap_err();
    assert!(matches!(error, DeviceOpenError::Ipc { .. }), "{error}");
    drop(Named(DeviceStream::open(&name, &rig.device).unwrap()));
    peer.tell("close");
    assert_eq!(peer.hear(), "kept 0");
    simulation::assert_clean();
}
