//! Readers whose waits are futures, on the smallest executor there is.

use super::backing::{Backing, on_every_backing};
use crate::support::limit::within;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{Deadline, ReadError, StreamConfig};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

on_every_backing!(
    frames_resolve_futures,
    what_is_there_resolves_at_once,
    timeouts_resolve_futures,
    dropping_a_future_cancels_its_wait,
    a_later_wish_replaces_an_earlier_one,
    unlinking_resolves_futures,
    dropping_the_reader_ends_its_thread,
);

const SOON: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(50);

fn config() -> StreamConfig {
    StreamConfig::of::<u64>(&[16]).unwrap()
}

/// Counts how often it is woken, and unparks its thread.
struct Bell {
    thread: thread::Thread,
    rung: AtomicUsize,
}

impl Bell {
    fn new() -> Arc<Bell> {
        Arc::new(Bell { thread: thread::current(), rung: AtomicUsize::new(0) })
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Bell::new());
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

fn frames_resolve_futures(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    let mut reader = subject.reader().into_async();
    within(LIMIT, move || {
        let publishing = thread::spawn(move || {
            for seed in 1..=10 {
                thread::sleep(Duration::from_millis(5));
                writer.publish(&pattern::<u64>(16, seed)).unwrap();
            }
        });
        let mut seen = 0;
        while seen < 10 {
            let frame = block_on(reader.read_after::<u64>(seen, Deadline::NEVER)).unwrap();
            assert!(frame.info.count > seen);
            seen = frame.info.count;
            assert_same(&frame.data, &pattern::<u64>(16, seen));
        }
        publishing.join().unwrap();
        assert_eq!(reader.reader().seen(), 10);
    });
}

fn what_is_there_resolves_at_once(on: &impl Backing) {
    let subject = on.create(&config());
    subject.stream.writer(SOON).unwrap().publish(&pattern::<u64>(16, 1)).unwrap();
    let mut reader = subject.reader().into_async();
    let bell = Bell::new();
    let waker = Waker::from(bell.clone());
    let mut future = pin!(reader.read_after::<u64>(0, SOON));
    let Poll::Ready(frame) = future.as_mut().poll(&mut Context::from_waker(&waker)) else {
        panic!("frame 1 is there");
    };
    assert_same(&frame.unwrap().data, &pattern::<u64>(16, 1));
    assert_eq!(bell.rung.load(Ordering::SeqCst), 0);
}

fn timeouts_resolve_futures(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader().into_async();
    within(LIMIT, move || {
        for wait in [0, 3, 40] {
            let wait = Duration::from_millis(wait);
            let begun = Instant::now();
            let outcome = block_on(reader.read_new::<u64>(wait));
            let Err(ReadError::Timeout { after: 0, waited, .. }) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(waited >= wait && waited <= begun.elapsed());
        }
    });
}

fn dropping_a_future_cancels_its_wait(on: &impl Backing) {
    let subject = on.create(&config());
    let mut writer = subject.stream.writer(SOON).unwrap();
    let mut reader = subject.reader().into_async();
    let bell = Bell::new();
    let waker = Waker::from(bell.clone());
    for _ in 0..5 {
        let mut future = pin!(reader.read_new::<u64>(Deadline::NEVER));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        thread::sleep(Duration::from_millis(3));
    }
    // Futures that were polled and dropped must not be woken by the frame that comes now.
    thread::sleep(Duration::from_millis(20));
    writer.publish(&pattern::<u64>(16, 1)).unwrap();
    thread::sleep(Duration::from_millis(60));
    assert_eq!(bell.rung.load(Ordering::SeqCst), 0);
    let frame = within(LIMIT, move || block_on(reader.read_after::<u64>(0, SOON)).unwrap());
    assert_eq!(frame.info.count, 1);
}

fn a_later_wish_replaces_an_earlier_one(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader().into_async();
    let waker = Waker::from(Bell::new());
    // The thread now sleeps for a frame that never comes, without a deadline.
    {
        let mut future = pin!(reader.read_after::<u64>(u64::MAX - 1, Deadline::NEVER));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        thread::sleep(Duration::from_millis(20));
    }
    let mut writer = subject.stream.writer(SOON).unwrap();
    within(LIMIT, move || {
        let timeout = block_on(reader.read_after::<u64>(0, Duration::from_millis(30)));
        assert!(matches!(timeout, Err(ReadError::Timeout { after: 0, .. })));
        let publishing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            writer.publish(&pattern::<u64>(16, 1)).unwrap();
        });
        let frame = block_on(reader.read_after::<u64>(0, Deadline::NEVER)).unwrap();
        assert_eq!(frame.info.count, 1);
        publishing.join().unwrap();
    });
}

fn unlinking_resolves_futures(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader().into_async();
    let waiting = thread::spawn(move || block_on(reader.read_new::<u64>(Deadline::NEVER)));
    thread::sleep(Duration::from_millis(30));
    subject.unlink();
    let outcome = within(LIMIT, move || waiting.join().unwrap());
    assert!(matches!(outcome, Err(ReadError::Stale { .. })), "{outcome:?}");
}

fn dropping_the_reader_ends_its_thread(on: &impl Backing) {
    let subject = on.create(&config());
    let mut reader = subject.reader().into_async();
    let waker = Waker::from(Bell::new());
    {
        let mut future = pin!(reader.read_new::<u64>(Deadline::NEVER));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    // Joins its thread, so it would hang here if that did not end.
    within(LIMIT, move || drop(reader));
}
