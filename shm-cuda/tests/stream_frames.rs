//! Frames of device streams, published and read in one process.

mod simulation;
mod stream;

use shm_core::FrameTag;
use shm_cuda::{DeviceStreamConfig, Mirror, PinnedBuffer, Publication, StreamRef};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stream::frames::{assert_frame, frame};
use stream::{Rig, SOON, is_simulated, turn};

const LEN: usize = 64 * 1024 + 8;

#[test]
fn every_mirror_and_publication_and_delay_brings_the_frame_that_was_published() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for mirror in [Mirror::None, Mirror::Host] {
        for via_host in [false, true] {
            let config = DeviceStreamConfig::of::<u8>(&[LEN], mirror).unwrap();
            let stream = rig.stream_of("matrix", &config.via_host_functions(via_host));
            let expected = match via_host {
                true => Publication::HostFunction,
                false => Publication::StreamOrdered,
            };
            if via_host || is_simulated() {
                assert_eq!(stream.publication(), expected);
            }
            let mut writer = stream.writer(SOON).unwrap();
            let mut reader = stream.reader();
            let out = rig.room(LEN);
            let mut next = 1;
            for delay in [0, 100, 3000] {
                simulation::delay_us(delay / 2, delay);
                for _ in 0..5 {
                    let data = rig.upload(&frame(next, LEN));
                    let count = writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
                    assert_eq!(count, next);
                    let info = reader
                        .read_after(next - 1, out.as_slice(), rig.queue.as_ref(), SOON)
                        .unwrap();
                    assert_eq!((info.count, info.byte_len), (next, LEN));
                    assert_frame(&rig.bytes(&out), next);
                    if mirror == Mirror::Host {
                        let mirrored = stream.host().reader().read::<u8>().unwrap();
                        assert_eq!(mirrored.info.count, next);
                        assert_frame(&mirrored.data, next);
                    }
                    next += 1;
                }
            }
            writer.settle().unwrap();
            assert_eq!((stream.count(), writer.in_flight()), (next - 1, 0));
            if is_simulated() {
                assert_eq!(stream.fallbacks(), 0);
            }
        }
    }
    simulation::assert_clean();
}

#[test]
fn a_frame_is_there_when_its_copy_has_ended_and_nobody_waits_for_that() {
    let Some(_turn) = turn() else { return };
    if !is_simulated() {
        eprintln!("SKIPPED: copies of a real device take as long as they take");
        return;
    }
    let rig = Rig::new();
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    for via_host in [false, true] {
        let stream = rig.stream_of("late", &config.clone().via_host_functions(via_host));
        let mut writer = stream.writer(SOON).unwrap();
        let data = rig.upload(&frame(1, LEN));
        simulation::delay_us(200_000, 200_000);
        let begun = Instant::now();
        writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
        let queued = begun.elapsed();
        assert_eq!((stream.count(), writer.in_flight()), (0, 1));
        assert_eq!(stream.host().announced(), 1);
        stream.reader().wait_after(0, SOON).unwrap();
        let there = begun.elapsed();
        simulation::delay_us(0, 0);
        assert!(queued < Duration::from_millis(150), "publishing took {queued:?}");
        assert!(there >= Duration::from_millis(199), "it was there after {there:?}");
        let mut out = vec![0; LEN];
        stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
        assert_frame(&out, 1);
    }
    simulation::assert_clean();
}

#[test]
fn snapshots_of_a_back_to_back_writer_are_never_torn() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    simulation::delay_us(0, 300);
    for (mirror, via_host) in [(Mirror::None, false), (Mirror::Host, false), (Mirror::None, true)] {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], mirror).unwrap();
        let config = config.cells(4).unwrap().via_host_functions(via_host);
        let stream = rig.stream_of("snapshots", &config);
        let done = AtomicBool::new(false);
        let begun = Instant::now();
        let (read, mirrored) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let queue = rig.queue();
                let sources: Vec<_> = (0..8).map(|_| rig.room(LEN)).collect();
                let mut writer = stream.writer(SOON).unwrap();
                while begun.elapsed() < Duration::from_millis(1200) {
                    let next = stream.host().announced() + 1;
                    let source = &sources[next as usize % sources.len()];
                    // In the order of the queue: the frame that was read from it has been.
                    source.as_slice().upload(&frame(next, LEN), queue.as_ref()).unwrap();
                    writer.publish(source.as_slice(), queue.as_ref()).unwrap();
                }
                writer.settle().unwrap();
                done.store(true, Ordering::Relaxed);
            });
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (queue, mut out) = (rig.queue(), vec![0; LEN]);
                        let (mut reader, mut read) = (stream.reader(), 0);
                        reader.wait_after(0, SOON).unwrap();
                        while !done.load(Ordering::Relaxed) {
                            let info = reader.read_to_host(&mut out, queue.as_ref()).unwrap();
                            assert_frame(&out, info.count);
                            read += 1;
                        }
                        read
                    })
                })
                .collect();
            let on_host = scope.spawn(|| {
                let (mut reader, mut read) = (stream.host().reader(), 0);
                while mirror == Mirror::Host && !done.load(Ordering::Relaxed) {
                    let Ok(found) = reader.read::<u8>() else { continue };
                    assert_frame(&found.data, found.info.count);
                    read += 1;
                }
                read
            });
            let read: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
            (read, on_host.join().unwrap())
        });
        assert!(stream.count() > 20 && read > 20, "{} frames, {read} reads", stream.count());
        assert!((mirrored > 20) == (mirror == Mirror::Host), "{mirrored} reads of the mirror");
    }
    simulation::assert_clean();
}

#[test]
fn frames_queued_on_several_queues_come_in_the_order_of_their_counts() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for via_host in [false, true] {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
        let stream = rig.stream_of("queues", &config.via_host_functions(via_host));
        let queues: Vec<_> = (0..4).map(|_| rig.queue()).collect();
        let sources: Vec<_> = (1..=24).map(|number| rig.upload(&frame(number, LEN))).collect();
        simulation::delay_us(0, 3000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = stream.writer(SOON).unwrap();
                for (index, source) in sources.iter().enumerate() {
                    writer.publish(source.as_slice(), queues[index % 4].as_ref()).unwrap();
                }
            });
            let (mut reader, mut newest) = (stream.reader(), 0);
            let mut out = vec![0; LEN];
            while newest < 24 {
                let count = reader.wait_after(newest, SOON).unwrap();
                assert!(count > newest);
                let info = reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
                assert_frame(&out, info.count);
                assert!(info.count >= count, "{} after {count}", info.count);
                newest = count;
            }
        });
        assert_eq!(stream.count(), 24);
    }
    simulation::assert_clean();
}

#[test]
fn writers_take_turns_on_queues_of_their_own() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("turns", LEN, Mirror::Host);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let queue = rig.queue();
                for _ in 0..10 {
                    let mut writer = stream.writer(SOON).unwrap();
                    // Nobody else publishes while the lock is held, and its frames have settled.
                    let data = rig.upload(&frame(stream.count() + 1, LEN));
                    writer.publish(data.as_slice(), queue.as_ref()).unwrap();
                }
            });
        }
    });
    assert_eq!((stream.count(), stream.host().announced()), (30, 30));
    let mut out = vec![0; LEN];
    stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    assert_frame(&out, 30);
    assert_frame(&stream.host().reader().read::<u8>().unwrap().data, 30);
    simulation::assert_clean();
}

#[test]
fn default_queues_are_queues_like_any_other() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("defaults", LEN, Mirror::Host);
    let sources: Vec<_> = (1..=12).map(|number| rig.upload(&frame(number, LEN))).collect();
    simulation::delay_us(0, 2000);
    let mut writer = stream.writer(SOON).unwrap();
    for (index, source) in sources.iter().enumerate() {
        // The queue of a thread is another one in every thread, though its handle is the same.
        let queue = match index % 3 {
            0 => StreamRef::DEFAULT,
            _ => StreamRef::PER_THREAD,
        };
        let published = std::thread::scope(|scope| {
            scope.spawn(|| writer.publish(source.as_slice(), queue)).join().unwrap()
        });
        assert_eq!(published.unwrap(), index as u64 + 1);
    }
    writer.settle().unwrap();
    assert_eq!(stream.count(), 12);
    let mut out = vec![0; LEN];
    let info = stream.reader().read_to_host(&mut out, StreamRef::PER_THREAD).unwrap();
    assert_frame(&out, info.count);
    assert_frame(&stream.host().reader().read::<u8>().unwrap().data, 12);
    simulation::assert_clean();
}

#[test]
fn frames_of_any_size_are_whole() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    for len in [1, 8, 255, 256, 257, 511, 512, 513, 4097, 300_001] {
        for mirror in [Mirror::None, Mirror::Host] {
            let stream = rig.stream("sizes", len, mirror);
            assert_eq!(stream.placement().stride(), len.next_multiple_of(512));
            let (mut writer, mut reader) = (stream.writer(SOON).unwrap(), stream.reader());
            for number in 1..=7 {
                let data = rig.upload(&frame(number, len));
                writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
                let mut out = vec![0; len];
                reader.wait_after(number - 1, SOON).unwrap();
                reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
                assert_frame(&out, number);
                if mirror == Mirror::Host {
                    assert_frame(&stream.host().reader().read::<u8>().unwrap().data, number);
                }
            }
        }
    }
    simulation::assert_clean();
}

#[test]
fn handles_go_to_other_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Sync>() {}
    sent::<shm_cuda::DeviceStream>();
    shared::<shm_cuda::DeviceStream>();
    sent::<shm_cuda::DeviceWriter>();
    sent::<shm_cuda::DeviceReader>();
    shared::<shm_cuda::DeviceReader>();
    sent::<shm_cuda::DeviceView>();
    sent::<shm_cuda::DeviceLoan>();
    sent::<shm_cuda::PendingRead>();
}

#[test]
fn host_data_may_be_changed_as_soon_as_it_is_published() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    let stream = rig.stream("upload", LEN, Mirror::None);
    let mut writer = stream.writer(SOON).unwrap();
    let pinned = PinnedBuffer::new(&rig.device, LEN).unwrap();
    // SAFETY: as many bytes, which nothing else uses: every publish has read them when it returns.
    let data = unsafe { core::slice::from_raw_parts_mut(pinned.as_mut_ptr(), LEN) };
    simulation::delay_us(5000, 10_000);
    for number in 1..=4 {
        data.copy_from_slice(&frame(number, LEN));
        let tag = FrameTag::id(number + 100).acquired_ns(number + 200);
        assert_eq!(writer.publish_host(data, tag, rig.queue.as_ref()).unwrap(), number);
        data.fill(0xDD);
        writer.settle().unwrap();
        let mut out = vec![0; LEN];
        let info = stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
        assert_frame(&out, number);
        assert_eq!((info.frame_id, info.acquired_wall_ns), (number + 100, number + 200));
    }
    assert_eq!(writer.clear(rig.queue.as_ref()).unwrap(), 5);
    let mut out = vec![1; LEN];
    let mut reader = stream.reader();
    reader.wait_after(4, SOON).unwrap();
    reader.read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    assert_eq!(out, vec![0; LEN]);
    simulation::assert_clean();
}

#[test]
fn without_a_mirror_shared_memory_has_no_room_for_a_frame() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    const LARGE: usize = 8 << 20;
    let bare = rig.stream("bare", LARGE, Mirror::None);
    let mirrored = rig.stream("mirrored", LARGE, Mirror::Host);
    let file = |stream: &shm_cuda::DeviceStream| {
        let path = stream.host().segment().path().unwrap();
        std::fs::metadata(path).unwrap().len()
    };
    assert!(file(&bare) <= 16 * 1024, "{} bytes", file(&bare));
    assert!(file(&mirrored) >= 3 * LARGE as u64, "{} bytes", file(&mirrored));
    assert_eq!(bare.placement().device_len(), 3 * LARGE);
    assert_eq!(bare.placement().device(), rig.device.uuid());
    let error = bare.host().reader().read::<u8>().unwrap_err().to_string();
    assert!(error.contains("Mirror::Host"), "{error}");
}

#[test]
fn the_first_frame_is_not_before_somebody_published_it_and_cells_hold_nothing_of_others() {
    let Some(_turn) = turn() else { return };
    let rig = Rig::new();
    drop(rig.upload(&vec![0xA5; 3 * LEN]));
    let stream = rig.stream("fresh", LEN, Mirror::None);
    let mut writer = stream.writer(SOON).unwrap();
    let frame = writer.loan(rig.queue.as_ref()).unwrap();
    assert_eq!(frame.slice().to_vec(rig.queue.as_ref()).unwrap(), vec![0; LEN]);
    frame.commit(FrameTag::default()).unwrap();
    simulation::assert_clean();
}
