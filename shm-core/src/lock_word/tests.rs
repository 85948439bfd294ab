//! Models of the lock: exclusion, hand-over of what the holder wrote, and taking over from the dead.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

/// A lock over two words that every holder makes equal again.
#[derive(Default)]
struct Model {
    lock: AtomicU64,
    inside: AtomicU64,
    guarded: AtomicU64,
}

impl Model {
    fn lock(&self) -> LockWord<'_> {
        LockWord { word: &self.lock }
    }

    /// What a holder does; `rounds` is what earlier holders must have left.
    fn hold(&self) {
        check(self.inside.fetch_add(1, Ordering::Relaxed) == 0, "the holder is alone");
        let seen = self.guarded.load(Ordering::Relaxed);
        self.guarded.store(seen + 1, Ordering::Relaxed);
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// One attempt; true if it held the lock.
    fn attempt(&self, me: u64) -> bool {
        let taken = self.lock().try_take(me).is_ok();
        if taken {
            self.hold();
            self.lock().give_back();
        }
        taken
    }
}

fn two_writers() {
    let model = Arc::new(Model::default());
    let other = {
        let model = model.clone();
        thread::spawn(move || u64::from(model.attempt(2)))
    };
    let mine = u64::from(model.attempt(1));
    // Sees everything that earlier holders did, or is not the holder.
    if model.lock().try_take(3).is_ok() {
        let held = model.guarded.load(Ordering::Relaxed);
        check(held >= mine, "a holder sees its own rounds");
        model.hold();
        model.lock().give_back();
    }
    let taken = other.join().unwrap() + mine;
    check(model.guarded.load(Ordering::Relaxed) >= taken, "no round is lost");
}

/// What the previous holder wrote is seen by the next one.
fn handing_over() {
    let model = Arc::new(Model::default());
    let holder = {
        let model = model.clone();
        thread::spawn(move || {
            if model.lock().try_take(2).is_ok() {
                model.guarded.store(7, Ordering::Relaxed);
                model.inside.store(7, Ordering::Relaxed);
                model.lock().give_back();
            }
        })
    };
    if model.lock().try_take(1).is_ok() {
        let inside = model.inside.load(Ordering::Relaxed);
        let guarded = model.guarded.load(Ordering::Relaxed);
        check(inside == guarded, "the whole of what the previous holder did is seen");
        model.lock().give_back();
    }
    holder.join().unwrap();
}

/// A holder died; two others find that out at the same time, and one of them works and lets go.
fn taking_over() {
    let model = Arc::new(Model::default());
    check(model.lock().try_take(9).is_ok(), "a new lock is free");
    let one_of_two = |me: u64| {
        let model = model.clone();
        thread::spawn(move || {
            let won = model.lock().try_take_over(9, me).is_ok();
            if won {
                model.hold();
            }
            won
        })
    };
    let (first, second) = (one_of_two(1), one_of_two(2));
    let won = u64::from(first.join().unwrap()) + u64::from(second.join().unwrap());
    check(won == 1, "exactly one takes over");
}

#[test]
fn loom_one_holder_at_a_time() {
    assert_eq!(violates(None, two_writers), None);
}

#[test]
fn loom_the_next_holder_sees_what_the_last_one_did() {
    assert_eq!(violates(None, handing_over), None);
}

#[test]
fn loom_one_takes_over_from_the_dead() {
    assert_eq!(violates(None, taking_over), None);
}

#[test]
fn loom_mutation_give_back_relaxed_is_caught() {
    assert!(violates(Some(Mutation::GiveBackRelaxed), handing_over).is_some());
}

#[test]
fn loom_mutation_take_relaxed_is_caught() {
    assert!(violates(Some(Mutation::TakeRelaxed), handing_over).is_some());
}

#[test]
fn loom_mutation_take_over_blindly_is_caught() {
    assert!(violates(Some(Mutation::TakeOverBlindly), taking_over).is_some());
}
