//! Models of publications for everyone while a consumer leaves.

use super::*;
use crate::slot::{Claim, Readers, Redeem, Release};
use crate::sync::{check, fence, fence_after_exchange, violates};
use loom::sync::Arc;
use loom::thread;

/// One slot, and the seats of one lane.
struct Model {
    state: AtomicU64,
    lanes: Vec<AtomicU64>,
    changes: Vec<AtomicU64>,
    expected: usize,
    /// Which consumer of seat 0 it is that is present or leaving.
    incarnation: AtomicU64,
}

impl Model {
    fn new(expected: usize) -> Arc<Model> {
        let zero = || vec![AtomicU64::new(0)];
        Arc::new(Model {
            state: AtomicU64::new(0),
            lanes: zero(),
            changes: zero(),
            expected,
            incarnation: AtomicU64::new(1),
        })
    }

    fn words(&self) -> SlotWords<'_> {
        SlotWords { state: &self.state, lanes: &self.lanes }
    }

    fn attendance(&self) -> Attendance<'_> {
        Attendance { changes: &self.changes, expected: self.expected }
    }

    /// Publishes for everyone who is present. True if nobody was left and the slot is free again.
    fn publish(&self) -> bool {
        let Claim::Taken(generation) = self.words().claim(0) else {
            check(false, "a free slot can be claimed");
            return false;
        };
        let lanes = [self.attendance().present(0)];
        if lanes == [0] {
            return self.words().abort(0, generation, false);
        }
        check(self.words().publish(0, generation, Readers::Seats(&lanes)), "it can be published");
        fence_after_exchange();
        lanes[0] & !self.attendance().present(0) != 0
            && self.attendance().forget_the_departed(self.words(), generation)
            && self.words().free_if_done(generation, 0, false)
    }

    /// Seat 0 is given up, as that incarnation. True if the slot came free by it.
    fn leave(&self, incarnation: u64) -> bool {
        let still = || self.incarnation.load(Ordering::Acquire) == incarnation;
        self.attendance().set_present(0, false, still);
        fence(Ordering::SeqCst);
        let Some(state) = withdraw(self.words(), 0, still) else { return false };
        self.words().free_if_done(state.generation(), 1, false)
    }

    /// The next consumer on seat 0.
    fn join(&self) {
        self.incarnation.store(2, Ordering::Release);
        let still = || self.incarnation.load(Ordering::Acquire) == 2;
        self.attendance().set_present(0, true, still);
    }

    fn is_free(&self) -> bool {
        self.words().load().is(SlotState::Free)
    }
}

fn aside<T: 'static>(
    model: &Arc<Model>,
    act: impl FnOnce(&Model) -> T + 'static,
) -> thread::JoinHandle<T> {
    let model = model.clone();
    thread::spawn(move || act(&model))
}

/// The only consumer leaves.
fn the_last_one_leaves() {
    let model = Model::new(1);
    let leaving = aside(&model, |model| model.leave(1));
    let freed = model.publish();
    let freed_too = leaving.join().unwrap();
    check(model.is_free(), "a publication does not wait for somebody who left");
    check(!(freed && freed_too), "it is freed once");
}

/// One of two leaves, the other one reads.
fn one_of_two_leaves() {
    let model = Model::new(2);
    let leaving = aside(&model, |model| model.leave(1));
    check(!model.publish(), "somebody is there to read");
    check(model.words().redeem(1, 1) == Redeem::Granted, "who stays is addressed");
    let last = model.words().release(1, 1, false) == Release::Last;
    let freed = leaving.join().unwrap();
    check(last != freed, "it is freed once");
    check(model.is_free(), "a publication does not wait for somebody who left");
}

/// Two sweeps give up the seat of a dead consumer, and one of them only gets to it when the next
/// consumer sits there.
fn helping_late() {
    let model = Model::new(1);
    let helper = aside(&model, |model| model.leave(1));
    model.leave(1);
    model.join();
    check(model.attendance().present(0) == 1, "who joined is present");
    check(!model.publish(), "who joined is addressed");
    check(model.words().redeem(0, 1) == Redeem::Granted, "who joined may redeem");
    check(!helper.join().unwrap(), "a late helper frees nothing");
    check(model.attendance().present(0) == 1, "a late helper sends nobody away");
    check(model.words().release(0, 1, false) == Release::Last, "what is held stays held");
}

#[test]
fn loom_nothing_waits_for_who_left() {
    assert_eq!(violates(None, the_last_one_leaves), None);
    assert_eq!(violates(None, one_of_two_leaves), None);
}

#[test]
fn loom_a_late_helper_sends_nobody_away() {
    assert_eq!(violates(None, helping_late), None);
}

#[test]
fn loom_mutations_of_the_audience_fail() {
    let mutation = Some(Mutation::AudienceUnchecked);
    assert!(violates(mutation, the_last_one_leaves).is_some(), "the last one");
    assert!(violates(mutation, one_of_two_leaves).is_some(), "one of two");
}
