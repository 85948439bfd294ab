//! Models of an entry's life: what is pinned is not freed, and what is stored can be pinned.

use super::*;
use crate::sync::{AtomicU64, check, violates};
use loom::sync::Arc;
use loom::thread;

const OWNER: u16 = 3;

/// One slot over a payload of one word.
struct Model {
    state: AtomicU64,
    lanes: [AtomicU64; 2],
    payload: AtomicU64,
}

impl Model {
    fn filling() -> Model {
        Model {
            state: AtomicU64::new(StateWord::new(SlotState::Filling, 1, OWNER).0),
            lanes: [AtomicU64::new(0), AtomicU64::new(0)],
            payload: AtomicU64::new(0),
        }
    }

    fn stored() -> Arc<Model> {
        let model = Model::filling();
        model.payload.store(10, Ordering::Relaxed);
        check(model.words().commit(OWNER, 1), "a filled entry is committed");
        Arc::new(model)
    }

    fn words(&self) -> SlotWords<'_> {
        SlotWords { state: &self.state, lanes: &self.lanes }
    }

    /// Takes the entry out, if nobody has it, and gives its memory to somebody else.
    fn evict(&self, member: u16) -> bool {
        let words = self.words();
        let stored = words.load();
        if !stored.is(SlotState::Stored) || !words.begin_evicting(stored, member) {
            return false;
        }
        let drained = words.end_evicting(1, member) == Evict::Draining;
        if drained {
            self.payload.store(0, Ordering::Relaxed);
        }
        drained
    }

    /// Reads the entry, if it is there.
    fn read(&self, seat: usize) -> bool {
        let pinned = self.words().pin(seat, 1);
        if pinned {
            check(self.payload.load(Ordering::Relaxed) == 10, "a pinned entry is not freed");
            check(self.words().unpin(seat, 1), "the pin was there");
        }
        pinned
    }
}

fn reading_and_evicting() {
    let model = Model::stored();
    let evictor = {
        let model = model.clone();
        thread::spawn(move || model.evict(4))
    };
    let seen = model.read(9);
    let evicted = evictor.join().unwrap();
    check(seen || evicted, "an entry that nobody took out is there");
    let state = model.words().load();
    let expected = if evicted { SlotState::Draining } else { SlotState::Stored };
    check(state.is(expected), "nothing stays half-way");
    check(model.words().is_unread_and_unheld(1), "no pin is left");
}

/// Two evictors and a reader that may rescue the entry from either.
fn two_evict() {
    let model = Model::stored();
    let evict = |member: u16| {
        let model = model.clone();
        thread::spawn(move || model.evict(member))
    };
    let (first, second) = (evict(4), evict(5));
    let _ = model.read(0);
    let evicted = [first.join().unwrap(), second.join().unwrap()];
    check(evicted != [true, true], "an entry is taken out once");
}

/// An evictor that is stopped half-way hides nothing.
fn a_stopped_evictor() {
    let model = Model::stored();
    let stored = model.words().load();
    check(model.words().begin_evicting(stored, 4), "the entry is stored");
    let other = {
        let model = model.clone();
        thread::spawn(move || model.read(0))
    };
    check(model.read(9), "an entry that is not out yet is there");
    check(other.join().unwrap(), "for everybody");
    check(model.words().end_evicting(1, 4) == Evict::Gone, "the evictor finds out");
}

/// What is stored can be pinned, and was written before.
fn committing() {
    let model = Arc::new(Model::filling());
    let storer = {
        let model = model.clone();
        thread::spawn(move || {
            model.payload.store(10, Ordering::Relaxed);
            check(model.words().commit(OWNER, 1), "a filled entry is committed");
        })
    };
    if model.words().load().is(SlotState::Stored) {
        check(model.read(0), "a stored entry can be pinned");
    } else {
        let _ = model.read(8);
    }
    storer.join().unwrap();
}

#[test]
fn loom_store_a_pinned_entry_stays() {
    assert_eq!(violates(None, reading_and_evicting), None);
    assert_eq!(violates(None, two_evict), None);
}

#[test]
fn loom_store_a_stopped_evictor_hides_nothing() {
    assert_eq!(violates(None, a_stopped_evictor), None);
}

#[test]
fn loom_store_a_stored_entry_is_whole() {
    assert_eq!(violates(None, committing), None);
}

#[test]
fn loom_store_mutations_of_pins_fail() {
    for mutation in [Mutation::PinFence, Mutation::EvictFence, Mutation::RescueBlindly] {
        assert!(violates(Some(mutation), reading_and_evicting).is_some(), "{mutation:?}");
    }
    assert!(violates(Some(Mutation::LanesAfterState), committing).is_some(), "lanes");
}
