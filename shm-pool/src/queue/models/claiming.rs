//! What is for anybody is got by one call, whoever stops between claiming it and taking it out.

use crate::queue::cell::{CellShape, Entry};
use crate::queue::ring::Ring;
use crate::queue::verdict::{Verdict, claim};
use crate::slot::{Readers, SlotWords};
use crate::sync::{AtomicU64, Mutation, check, violates};
use crate::word::{SlotState, StateWord};
use loom::sync::Arc;
use loom::thread;

struct Model {
    life: AtomicU64,
    cells: [AtomicU64; 2],
    head: AtomicU64,
    tail: AtomicU64,
    states: [AtomicU64; 2],
    lanes: [[AtomicU64; 1]; 2],
}

impl Model {
    /// Two slots that are for anybody, in a queue.
    fn new() -> Arc<Model> {
        let filling = StateWord::new(SlotState::Filling, 1, 9).0;
        let word = |word| AtomicU64::new(word);
        let model = Model {
            life: word(1),
            cells: [word(0), word(0)],
            head: word(0),
            tail: word(0),
            states: [word(filling), word(filling)],
            lanes: [[word(0)], [word(0)]],
        };
        model.ring().prepare(0);
        for slot in 0..2 {
            check(model.slot(slot).publish(9, 1, Readers::Anybody), "what is filled is published");
            check(model.ring().put(Entry::new(slot, 1)) == Ok(true), "there is room for two");
        }
        Arc::new(model)
    }

    fn slot(&self, slot: usize) -> SlotWords<'_> {
        SlotWords { state: &self.states[slot], lanes: &self.lanes[slot] }
    }

    fn ring(&self) -> Ring<'_> {
        Ring {
            life: &self.life,
            alive: 1,
            shape: CellShape::new(2, 2),
            cells: &self.cells,
            head: &self.head,
            tail: &self.tail,
        }
    }

    /// As the queue does; a consumer that `stops` claims and gets no further.
    fn get(&self, seat: usize, stops: bool) -> Option<usize> {
        while let Ok(Some(offer)) = self.ring().peek() {
            let slot = offer.entry.slot;
            match claim(self.slot(slot), offer.entry, seat) {
                Verdict::Claimed(_) if stops => return Some(slot),
                Verdict::Claimed(_) => {
                    self.ring().take(offer);
                    return Some(slot);
                }
                Verdict::Taken | Verdict::Stale => {
                    self.ring().take(offer);
                }
                _ => check(false, "what is for anybody is claimed or taken"),
            }
        }
        None
    }
}

fn getting(seats: [usize; 2], stops: bool) {
    let model = Model::new();
    let other = {
        let model = model.clone();
        thread::spawn(move || model.get(seats[1], stops))
    };
    let mine = model.get(seats[0], false);
    let theirs = other.join().unwrap();
    let rest = model.get(seats[0], false);
    check(mine.is_some() && theirs.is_some(), "there is something for both");
    check(mine != theirs, "nothing is got twice");
    check(rest.is_none(), "there were two");
}

/// Somebody takes it back while it is being got.
fn taking_back() {
    let model = Model::new();
    let other = {
        let model = model.clone();
        thread::spawn(move || model.slot(0).take_back(1, false))
    };
    let mine = model.get(0, false);
    let taken_back = other.join().unwrap();
    check((mine == Some(0)) != taken_back, "it is got, or taken back");
}

#[test]
fn loom_queue_a_claim_is_one_calls() {
    assert_eq!(violates(None, || getting([0, 1], false)), None);
    assert_eq!(violates(None, || getting([3, 3], false)), None);
}

#[test]
fn loom_queue_a_claimant_that_stops_is_passed() {
    assert_eq!(violates(None, || getting([0, 1], true)), None);
}

#[test]
fn loom_queue_taking_back_is_exact() {
    assert_eq!(violates(None, taking_back), None);
}

#[test]
fn loom_queue_mutations_of_claiming_fail() {
    let same = || getting([3, 3], false);
    assert!(violates(Some(Mutation::SeatIsClaim), same).is_some(), "seat is claim");
}
