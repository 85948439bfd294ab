//! Models of waiting: no lost wake-up without a kill, and what the writer lock adds.

use super::kernel::Kernel;
use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

struct Model {
    word: AtomicU64,
    chain: AtomicU32,
    kernel: Kernel,
    latest: AtomicU64,
    /// The kernel's writer lock.
    lock: AtomicU32,
}

impl Model {
    /// A model in which that many threads ring or wait.
    fn new(threads: u32) -> Arc<Model> {
        Arc::new(Model {
            word: AtomicU64::new(0),
            chain: AtomicU32::new(0),
            kernel: Kernel::new(threads),
            latest: AtomicU64::new(0),
            lock: AtomicU32::new(0),
        })
    }

    fn event(&self) -> Event<'_> {
        Event { word: &self.word, chain: &self.chain }
    }

    fn ring(&self) {
        self.event().ring(&self.kernel);
    }

    fn wait(&self, ready: impl Fn() -> bool) {
        let mut armed = None;
        while !ready() && !self.kernel.has_lost() {
            if self.event().sleep(&self.kernel, &mut armed, (), &ready) {
                return;
            }
        }
    }

    fn wait_for_frame(&self, count: u64) {
        self.wait(|| self.latest.load(Ordering::Acquire) >= count);
    }

    fn try_lock(&self) -> bool {
        self.lock.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Readers in threads of their own, the writer in this one.
fn scene(readers: u32, reader: fn(&Model), writer: fn(&Model)) {
    let model = Model::new(readers + 1);
    let waiting: Vec<_> = (0..readers)
        .map(|_| {
            let model = model.clone();
            thread::spawn(move || {
                reader(&model);
                model.kernel.finish();
            })
        })
        .collect();
    writer(&model);
    model.kernel.finish();
    waiting.into_iter().for_each(|reader| reader.join().unwrap());
    model.kernel.assert_nobody_overslept();
}

fn publish_and_ring(model: &Model) {
    model.latest.store(1, Ordering::Release);
    model.ring();
}

/// Some readers that wait for one frame.
fn waking(readers: u32) {
    scene(readers, |model| model.wait_for_frame(1), publish_and_ring);
}

/// A reader that waits for two frames, one after the other.
fn waking_twice() {
    let reader = |model: &Model| {
        model.wait_for_frame(1);
        model.wait_for_frame(2);
    };
    scene(1, reader, |model| {
        publish_and_ring(model);
        model.latest.store(2, Ordering::Release);
        model.ring();
    });
}

/// The wrong order: the frame is handed over after ringing.
fn ringing_early() {
    scene(
        1,
        |model| model.wait_for_frame(1),
        |model| {
            model.ring();
            model.latest.store(1, Ordering::Release);
        },
    );
}

/// The end of a segment while a reader waits: everybody is told.
fn retiring() {
    scene(
        2,
        |model| model.wait_for_frame(1),
        |model| {
            model.latest.store(1, Ordering::Release);
            model.event().ring_all(&model.kernel);
        },
    );
}

/// How two writers, one frame each, use the lock.
#[derive(Clone, Copy)]
enum Order {
    Right,
    RingBeforeRelease,
    LookBeforeLock,
}

fn locking(order: Order) {
    let write = move |model: &Model| {
        let early = model.latest.load(Ordering::Relaxed);
        model.wait(|| model.try_lock());
        let newest = match order {
            Order::LookBeforeLock => early,
            _ => model.latest.load(Ordering::Relaxed),
        };
        model.latest.store(newest + 1, Ordering::Relaxed);
        if matches!(order, Order::RingBeforeRelease) {
            model.ring();
        }
        model.lock.store(0, Ordering::Release);
        if !matches!(order, Order::RingBeforeRelease) {
            model.ring();
        }
        model.kernel.finish();
    };
    let model = Model::new(2);
    let other = {
        let model = model.clone();
        thread::spawn(move || write(&model))
    };
    write(&model);
    other.join().unwrap();
    model.kernel.assert_nobody_overslept();
    check(model.latest.load(Ordering::Relaxed) == 2, "no frame is lost");
}

#[test]
fn loom_a_waiter_is_woken() {
    assert_eq!(violates(None, || waking(1)), None);
}

#[test]
fn loom_every_waiter_is_woken() {
    assert_eq!(violates(None, || waking(2)), None);
}

#[test]
fn loom_a_waiter_is_woken_again() {
    assert_eq!(violates(None, waking_twice), None);
}

#[test]
fn loom_a_retired_segment_wakes_everybody() {
    assert_eq!(violates(None, retiring), None);
}

#[test]
fn loom_the_lock_is_handed_over() {
    assert_eq!(violates(None, || locking(Order::Right)), None);
}

#[test]
fn loom_mutations_of_the_event_fail() {
    assert!(violates(Some(Mutation::SleepUnchecked), || waking(1)).is_some(), "unchecked sleep");
    assert!(violates(Some(Mutation::EpochStill), || waking(1)).is_some(), "epoch");
    assert!(violates(Some(Mutation::DropChain), || waking(2)).is_some(), "chain");
    assert!(violates(None, ringing_early).is_some(), "order");
}

#[test]
fn loom_mutations_of_the_lock_fail() {
    assert!(violates(None, || locking(Order::RingBeforeRelease)).is_some(), "ring before release");
    assert!(
        violates(None, || locking(Order::LookBeforeLock)).is_some(),
        "newest read before the lock"
    );
}
