//! Models of the index: one winner per key, and no entry under a key that is not its own.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

const KEY: Hash = [0, 7 << 56];
const OTHER: Hash = [0, 7 << 56 | 1];

struct Slot {
    state: AtomicU64,
    lanes: [AtomicU64; 1],
    hash: [AtomicU64; 2],
    payload: AtomicU64,
}

/// A few slots under a few cells, which all belong to every key.
struct Model {
    slots: Vec<Slot>,
    cells: Vec<AtomicU64>,
}

impl Entries for Model {
    fn words(&self, slot: usize) -> Option<SlotWords<'_>> {
        let slot = self.slots.get(slot)?;
        Some(SlotWords { state: &slot.state, lanes: &slot.lanes })
    }
    fn hash(&self, slot: usize) -> Option<[&AtomicU64; 2]> {
        let [low, high] = &self.slots.get(slot)?.hash;
        Some([low, high])
    }
}

impl Model {
    /// Every slot is being filled, in its first generation, by the member of its number.
    fn filling(slots: usize, cells: usize) -> Arc<Model> {
        let slot = |slot: usize| Slot {
            state: AtomicU64::new(StateWord::new(SlotState::Filling, 1, slot as u16).0),
            lanes: [AtomicU64::new(0)],
            hash: [AtomicU64::new(0), AtomicU64::new(0)],
            payload: AtomicU64::new(0),
        };
        let cells = (0..cells).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Model { slots: (0..slots).map(slot).collect(), cells })
    }

    fn index(&self) -> Index<'_, Model> {
        Index { cells: &self.cells, entries: self }
    }

    fn slot(&self, slot: usize) -> SlotWords<'_> {
        self.words(slot).unwrap()
    }

    /// A tentative cell of generation 1 at that very place.
    fn place_at(&self, at: usize, slot: usize, hash: Hash) -> Spot {
        self.index().name(slot, hash);
        let cell = Cell::new(slot, 1, hash, TENTATIVE);
        check(self.index().exchange(at, Cell(0), cell), "the cell is empty");
        Spot { at, cell }
    }

    /// A slot that was beaten is given back.
    fn give_back(&self, slot: usize) {
        let words = self.slot(slot);
        let filling = words.load();
        check(filling.is(SlotState::Filling), "it is still the caller's");
        check(words.exchange(filling, filling.with(SlotState::Free, 0)), "nobody else has it");
    }

    /// Inserts the key at a place; true if it was established.
    fn insert_at(&self, at: usize, slot: usize) -> bool {
        let own = self.place_at(at, slot, KEY);
        let won = self.index().establish(own, KEY) == Outcome::Established;
        if !won {
            self.give_back(slot);
        }
        won
    }

    fn cell(&self, at: usize) -> Cell {
        Cell(self.cells[at].load(Ordering::Acquire))
    }
}

/// Two that insert one key at once, at different places.
fn two_insert() {
    let model = Model::filling(2, 2);
    let other = {
        let model = model.clone();
        thread::spawn(move || model.insert_at(1, 1))
    };
    let won = model.insert_at(0, 0);
    let lost = other.join().unwrap();
    check(won != lost, "exactly one gets the key");
    let found = model.index().find(KEY);
    let winner = usize::from(!won);
    check(found.is_some_and(|found| found.slot == winner), "the key leads to the winner");
    check(model.cell(1 - winner) == Cell(0), "nothing is left of the other");
}

/// Two that look for a place themselves, and a key that was there before under the same fingerprint.
fn two_look_for_a_place() {
    let model = Model::filling(3, 4);
    let before = model.place_at(0, 2, OTHER);
    check(model.index().establish(before, OTHER) == Outcome::Established, "nobody else is there");
    let insert = |slot: usize| {
        let model = model.clone();
        move || {
            model.index().name(slot, KEY);
            let Some(own) = model.index().place(slot, 1, KEY) else { return false };
            model.index().establish(own, KEY) == Outcome::Established
        }
    };
    let other = thread::spawn(insert(1));
    let won = insert(0)();
    check(won != other.join().unwrap(), "exactly one gets the key");
    let found = model.index().find(OTHER);
    check(found.is_some_and(|found| found.slot == 2), "another key is left alone");
}

/// A worker was killed with a tentative cell, and is reaped while another one inserts the key.
fn the_dead_leave_nothing() {
    let model = Model::filling(2, 2);
    model.place_at(0, 1, KEY);
    let reaper = {
        let model = model.clone();
        thread::spawn(move || model.give_back(1))
    };
    model.index().name(0, KEY);
    let mut won = false;
    if let Some(own) = model.index().place(0, 1, KEY) {
        won = model.index().establish(own, KEY) == Outcome::Established;
    }
    reaper.join().unwrap();
    if !won {
        let own = model.index().place(0, 1, KEY);
        check(own.is_some(), "garbage is used again");
        won = own.is_some_and(|own| model.index().establish(own, KEY) == Outcome::Established);
    }
    check(won, "the dead have no key");
    let found = model.index().find(KEY);
    check(found.is_some_and(|found| found.slot == 0), "the key leads to the living");
}

/// An entry is evicted and its slot given to another key while a worker looks the first one up.
fn a_slot_changes_its_key() {
    let model = Model::filling(1, 2);
    let own = model.place_at(0, 0, KEY);
    check(model.index().establish(own, KEY) == Outcome::Established, "nobody else is there");
    model.slots[0].payload.store(10, Ordering::Relaxed);
    check(model.slot(0).commit(0, 1), "the slot is the caller's");
    let evictor = {
        let model = model.clone();
        thread::spawn(move || {
            let words = model.slot(0);
            let stored = words.load();
            if !words.begin_evicting(stored, 5)
                || words.end_evicting(1, 5) != crate::store::pins::Evict::Draining
            {
                return;
            }
            model.index().remove(0, 1, KEY, 0);
            check(words.drained(1), "nobody else drains it");
            check(words.claim(5) == crate::slot::Claim::Taken(2), "it is free");
            model.slots[0].payload.store(20, Ordering::Relaxed);
            model.index().name(0, OTHER);
            if let Some(own) = model.index().place(0, 2, OTHER) {
                let _ = model.index().establish(own, OTHER);
            }
            check(words.commit(5, 2), "the slot is the caller's");
        })
    };
    if let Some(found) = model.index().find(KEY) {
        let generation = found.state.generation();
        if found.state.is(SlotState::Stored) && model.slot(found.slot).pin(0, generation) {
            let payload = model.slots[found.slot].payload.load(Ordering::Relaxed);
            check(payload == 10, "a pinned entry is the one that was looked up");
            check(model.slot(found.slot).unpin(0, generation), "the pin was there");
        }
    }
    evictor.join().unwrap();
}

#[test]
fn loom_store_one_worker_gets_a_key() {
    assert_eq!(violates(None, two_insert), None);
    assert_eq!(violates(None, two_look_for_a_place), None);
}

#[test]
fn loom_store_the_dead_have_no_keys() {
    assert_eq!(violates(None, the_dead_leave_nothing), None);
}

#[test]
fn loom_store_a_lookup_never_finds_another_key() {
    assert_eq!(violates(None, a_slot_changes_its_key), None);
}

#[test]
fn loom_store_mutations_of_the_index_fail() {
    for mutation in [
        Mutation::KeepTentative,
        Mutation::EstablishFence,
        Mutation::SpareTentative,
        Mutation::BeatEverybody,
    ] {
        assert!(violates(Some(mutation), two_insert).is_some(), "{mutation:?}");
    }
}

#[test]
fn loom_store_mutations_show_in_lookups() {
    for mutation in [Mutation::PinFence, Mutation::EvictFence, Mutation::RescueBlindly] {
        assert!(violates(Some(mutation), a_slot_changes_its_key).is_some(), "{mutation:?}");
    }
}
