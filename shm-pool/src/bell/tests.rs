//! No wake-up is lost.

use super::*;
use crate::sync::{check, violates};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// What the kernel's futex guarantees: comparing and going to sleep is one step for a waker.
///
/// There is no timeout here. When everybody who has not finished sleeps, a wake-up was lost: that is
/// noted, and the sleepers are let go, so that the model ends and can say so.
struct Kernel {
    sleepers: Mutex<Sleepers>,
    wake: Condvar,
}

struct Sleepers {
    /// Threads of the model that have not finished.
    active: u32,
    sleeping: u32,
    /// Sleepers that were woken and have not left yet.
    woken: u32,
    lost: bool,
}

impl Kernel {
    fn new(active: u32) -> Kernel {
        let sleepers = Sleepers { active, sleeping: 0, woken: 0, lost: false };
        Kernel { sleepers: Mutex::new(sleepers), wake: Condvar::new() }
    }

    fn park(&self, word: &AtomicU64, epoch: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if word.load(Ordering::Relaxed) as u32 != epoch {
            return;
        }
        sleepers.sleeping += 1;
        self.look_for_lost(&mut sleepers);
        while sleepers.woken == 0 && !sleepers.lost {
            sleepers = self.wake.wait(sleepers).unwrap();
        }
        sleepers.sleeping -= 1;
        sleepers.woken = sleepers.woken.saturating_sub(1);
    }

    /// A thread of the model ends.
    fn finish(&self) {
        let mut sleepers = self.sleepers.lock().unwrap();
        sleepers.active -= 1;
        self.look_for_lost(&mut sleepers);
    }

    fn look_for_lost(&self, sleepers: &mut Sleepers) {
        if sleepers.active > 0 && sleepers.sleeping - sleepers.woken == sleepers.active {
            sleepers.lost = true;
            self.wake.notify_all();
        }
    }

    fn has_lost(&self) -> bool {
        self.sleepers.lock().unwrap().lost
    }
}

impl Unpark for Kernel {
    fn unpark(&self, _word: &AtomicU64, count: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        sleepers.woken = sleepers.sleeping.min(sleepers.woken.saturating_add(count));
        self.wake.notify_all();
    }
}

/// A number of things in place of a queue, and what those who want one sleep on.
struct Model {
    things: AtomicU64,
    bell: AtomicU64,
    kernel: Kernel,
}

impl Model {
    fn new(threads: u32) -> Arc<Model> {
        let (things, bell) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Model { things, bell, kernel: Kernel::new(threads) })
    }

    fn bell(&self) -> Bell<'_> {
        Bell { word: &self.bell }
    }

    fn put(&self, call: Call) {
        self.things.fetch_add(1, Ordering::AcqRel);
        self.bell().ring(&self.kernel, call);
    }

    fn try_get(&self) -> bool {
        let mut found = self.things.load(Ordering::Acquire);
        while found > 0 {
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.things.compare_exchange(found, found - 1, success, failure) {
                Ok(_) => return true,
                Err(now) => found = now,
            }
        }
        false
    }

    /// As a nap does, over and over.
    fn get(&self) {
        while !self.try_get() && !self.kernel.has_lost() {
            let armed = self.bell().arm();
            if self.try_get() {
                return self.bell().disarm(armed);
            }
            self.kernel.park(&self.bell, armed.epoch);
        }
    }

    /// A nap whose time is up before it sleeps.
    fn give_up(&self) -> bool {
        let armed = self.bell().arm();
        let got = self.try_get();
        self.bell().disarm(armed);
        got
    }
}

/// Some who wait for one thing each, in threads of their own, and one who puts as many.
fn scene(waiters: u32, call: Call) {
    let model = Model::new(waiters + 1);
    let waiting: Vec<_> = (0..waiters)
        .map(|_| {
            let model = model.clone();
            thread::spawn(move || {
                model.get();
                model.kernel.finish();
            })
        })
        .collect();
    for _ in 0..waiters {
        model.put(call);
    }
    model.kernel.finish();
    waiting.into_iter().for_each(|waiter| waiter.join().unwrap());
    check(!model.kernel.has_lost(), "a wake-up is never lost");
}

/// One who waits, one who gives up, and two things.
fn giving_up() {
    let model = Model::new(2);
    let waiter = {
        let model = model.clone();
        thread::spawn(move || {
            model.get();
            model.kernel.finish();
        })
    };
    let quitter = {
        let model = model.clone();
        thread::spawn(move || model.give_up())
    };
    model.put(Call::One);
    model.put(Call::One);
    model.kernel.finish();
    waiter.join().unwrap();
    let got = quitter.join().unwrap();
    check(!model.kernel.has_lost(), "a wake-up is never lost");
    let left = model.things.load(Ordering::Relaxed);
    check(left == 1 - u64::from(got), "nothing is got twice");
}

#[test]
fn loom_bell_a_waiter_is_woken() {
    assert_eq!(violates(None, || scene(1, Call::One)), None);
    assert_eq!(violates(None, || scene(1, Call::All)), None);
}

#[test]
fn loom_bell_every_waiter_is_woken() {
    assert_eq!(violates(None, || scene(2, Call::One)), None);
    assert_eq!(violates(None, || scene(2, Call::All)), None);
}

#[test]
fn loom_bell_who_gives_up_takes_nobody_elses_call() {
    assert_eq!(violates(None, giving_up), None);
}

#[test]
fn loom_bell_mutations_of_the_bell_fail() {
    for mutation in [Mutation::WaitFence, Mutation::RingFence, Mutation::EpochStill] {
        let lost = violates(Some(mutation), || scene(1, Call::One));
        assert!(lost.is_some(), "{mutation:?}");
    }
}
