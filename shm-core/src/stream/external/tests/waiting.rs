//! Waiting for frames that nobody rings for.

use super::*;
use crate::{ReadError, Reader};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// What a waiter for frame 1 gets: announced after a while, carried out after another.
fn one_frame_later(stream: &Stream, mut reader: Reader) {
    let waiter = std::thread::spawn(move || reader.wait_for(0, LONG));
    std::thread::sleep(Duration::from_millis(30));
    let mut writer = writer(stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    carry_out(stream, &announced);
    assert_eq!(waiter.join().unwrap().unwrap(), 1);
}

#[test]
fn a_waiter_sees_a_frame_that_nobody_rings_for() {
    let stream = stream(false);
    one_frame_later(&stream, stream.reader());
}

#[cfg(target_os = "linux")]
#[test]
fn readers_of_every_access_see_it() {
    let name = format!("test-external-access-{}", std::process::id());
    for open in [Reader::open, Reader::open_read_only] {
        let stream = Stream::create(&name, &config(false)).unwrap();
        one_frame_later(&stream, open(&name).unwrap());
        stream.unlink().unwrap();
    }
}

#[cfg(feature = "testing")]
#[test]
fn the_portable_backing_sees_it() {
    let name = format!("test-external-portable-{}", std::process::id());
    let stream = Stream::create_portable(&name, &config(false)).unwrap();
    let opened = Stream::open_portable(&name).unwrap();
    one_frame_later(&stream, opened.reader());
    assert_eq!((stream.creator_alive(), opened.creator_alive()), (Some(true), Some(true)));
    stream.unlink_portable().unwrap();
}

#[test]
fn a_frame_in_flight_is_waited_for_until_the_deadline() {
    let stream = stream(false);
    let mut reader = stream.reader();
    let mut writer = writer(&stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    let begun = Instant::now();
    let error = reader.wait_for(0, Duration::from_millis(250)).unwrap_err();
    assert!(matches!(error, ReadError::Timeout { writer_alive: Some(true), .. }), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(250));
    assert!(reader.wait_for(0, Deadline::NOW).is_err());
    carry_out(&stream, &announced);
    assert_eq!(reader.wait_for(0, Deadline::NOW).unwrap(), 1);
    assert!(reader.wait_for(1, Deadline::NOW).is_err());
}

#[test]
fn naps_see_it_too() {
    let stream = stream(false);
    let reader = stream.reader();
    let mut naps = reader.naps_after(0);
    assert_eq!(naps.sleep(Duration::from_millis(1)).unwrap(), None);
    let mut writer = writer(&stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(naps.sleep(LONG).unwrap(), None, "short while a frame is in flight");
    }
    assert!(begun.elapsed() < LONG);
    carry_out(&stream, &announced);
    assert_eq!(naps.sleep(LONG).unwrap(), Some(1));
}

#[test]
fn futures_see_it_too() {
    use core::task::{Context, Poll, Waker};
    let stream = stream(true);
    let mut reader = stream.reader().into_async();
    let mut context = Context::from_waker(Waker::noop());
    assert!(reader.poll_after(0, LONG, &mut context).is_pending());
    let mut writer = writer(&stream);
    let announced = writer.announce(FrameTag::default()).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert!(reader.poll_after(0, LONG, &mut context).is_pending(), "announced is not complete");

    struct Told(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Told {
        fn wake(self: std::sync::Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let (tell, told) = std::sync::mpsc::channel();
    let waker = Waker::from(std::sync::Arc::new(Told(tell)));
    assert!(reader.poll_after(0, LONG, &mut Context::from_waker(&waker)).is_pending());
    carry_out(&stream, &announced);
    told.recv_timeout(LONG).unwrap();
    let Poll::Ready(Ok(1)) = reader.poll_after(0, LONG, &mut context) else {
        panic!("woken before the frame");
    };
}

#[test]
fn a_waiter_that_gave_the_writer_up_believes_the_next() {
    let stream = stream(false);
    let mut left = writer(&stream);
    let lost = left.announce(FrameTag::default()).unwrap();
    drop(left);
    let mut reader = stream.reader();
    let waiter = std::thread::spawn(move || reader.wait_for(0, LONG));
    // Nobody has the lock: after 100 ms the waiter sleeps as if nothing were announced.
    std::thread::sleep(Duration::from_millis(200));
    drop(lost);
    // As if the process had died: nothing of it goes on.
    use crate::stream::layout::HOT;
    stream.shared().segment.hot(HOT.writer_pid).store(0, crate::sync::Ordering::Relaxed);
    let mut next = writer(&stream);
    let again = next.announce(FrameTag::default()).unwrap();
    assert_eq!(again.count(), 1, "the same count once more");
    std::thread::sleep(Duration::from_millis(10));
    carry_out(&stream, &again);
    assert_eq!(waiter.join().unwrap().unwrap(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_waiter_for_a_frame_in_flight_hears_of_the_end() {
    let name = format!("test-external-end-{}", std::process::id());
    let stream = Stream::create(&name, &config(false)).unwrap();
    let mut writer = writer(&stream);
    let _announced = writer.announce(FrameTag::default()).unwrap();
    let mut reader = Reader::open(&name).unwrap();
    let waiter = std::thread::spawn(move || reader.wait_for(0, LONG));
    std::thread::sleep(Duration::from_millis(20));
    stream.unlink().unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(ReadError::Stale { .. })));
    assert!(writer.announce(FrameTag::default()).is_err());
}
