//! Models of the tree, with words of two bits: three slots make two levels, five make three.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

/// A tree, and how often each slot was given to somebody and not taken back from them yet.
struct Model {
    shape: HintShape,
    words: Vec<AtomicU64>,
    owners: Vec<AtomicU64>,
}

impl Model {
    /// A tree of `slots` slots, all of them free.
    fn new(slots: usize, levels: usize) -> Arc<Model> {
        let shape = HintShape::new(slots);
        check(shape.levels == levels, "the model is as high as it says");
        let zeroes = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Model { shape, words: zeroes(shape.len()), owners: zeroes(slots) })
    }

    /// As [`Model::new`], with the first `taken` slots taken.
    fn with_taken(slots: usize, levels: usize, taken: usize) -> Arc<Model> {
        let model = Model::new(slots, levels);
        for slot in 0..taken {
            check(model.take() == Some(slot), "the lowest one is taken first");
        }
        model
    }

    fn hints(&self) -> Hints<'_> {
        Hints { shape: &self.shape, words: &self.words }
    }

    fn take(&self) -> Option<usize> {
        let taken = self.hints().take();
        if let Some(slot) = taken {
            let before = self.owners[slot].fetch_add(1, Ordering::Relaxed);
            check(before == 0, "a slot that was not put back is not found again");
        }
        taken
    }

    fn put(&self, slot: usize) {
        self.owners[slot].fetch_sub(1, Ordering::Relaxed);
        self.hints().put(slot);
    }

    /// Once everybody is done: whatever is free is found from the top, and nothing else.
    fn check_all_found(&self) {
        let free = self.owners.iter().filter(|owner| owner.load(Ordering::Relaxed) == 0).count();
        for _ in 0..free {
            check(self.take().is_some(), "each free slot is found");
        }
        check(self.take().is_none(), "nothing but free slots is found");
    }
}

fn aside(model: &Arc<Model>, act: impl FnOnce(&Model) + 'static) -> thread::JoinHandle<()> {
    let model = model.clone();
    thread::spawn(move || act(&model))
}

/// A word becomes full while the first of the slots below that are taken is put back.
fn filling_and_freeing(slots: usize, levels: usize, taken: usize) {
    let model = Model::with_taken(slots, levels, taken);
    let producer = aside(&model, |model| {
        let _ = model.take();
    });
    model.put(0);
    producer.join().unwrap();
    model.check_all_found();
}

/// Two take and put back, so that words become full and are freed at once.
fn taking_turns(slots: usize, levels: usize) {
    let model = Model::with_taken(slots, levels, slots - 1);
    let turn = |model: &Model| {
        if let Some(slot) = model.take() {
            model.put(slot);
        }
    };
    let other = aside(&model, turn);
    turn(&model);
    other.join().unwrap();
    model.check_all_found();
}

/// A slot is put back and taken again, while another take finds the word above full.
fn filling_twice(slots: usize, levels: usize) {
    let model = Model::with_taken(slots, levels, slots - 1);
    let returning = aside(&model, |model| model.put(0));
    let taking = aside(&model, |model| {
        let _ = model.take();
    });
    let _ = model.take();
    returning.join().unwrap();
    taking.join().unwrap();
    let held = |slot: &usize| model.owners[*slot].load(Ordering::Relaxed) > 0;
    let last = (0..slots).filter(held).next_back();
    if let Some(slot) = last {
        model.put(slot);
    }
    model.check_all_found();
}

/// Somebody puts back what the dead have not, while the word above becomes full.
fn repairing(slots: usize, levels: usize, taken: usize) {
    let model = Model::with_taken(slots, levels, taken);
    // Its owner was killed after freeing it, before putting it back.
    model.owners[0].store(0, Ordering::Relaxed);
    let producer = aside(&model, |model| {
        let _ = model.take();
    });
    model.hints().put_back(0);
    producer.join().unwrap();
    model.check_all_found();
}

#[test]
fn loom_a_free_slot_is_found_in_two_levels() {
    assert_eq!(violates(None, || filling_and_freeing(3, 2, 1)), None);
    assert_eq!(violates(None, || taking_turns(3, 2)), None);
    assert_eq!(violates(None, || filling_twice(3, 2)), None);
}

#[test]
fn loom_a_free_slot_is_found_in_three_levels() {
    assert_eq!(violates(None, || filling_and_freeing(5, 3, 3)), None);
    assert_eq!(violates(None, || taking_turns(5, 3)), None);
    assert_eq!(violates(None, || filling_twice(5, 3)), None);
}

#[test]
fn loom_a_repaired_slot_is_found() {
    assert_eq!(violates(None, || repairing(3, 2, 1)), None, "two levels");
    assert_eq!(violates(None, || repairing(5, 3, 3)), None, "three levels");
    assert_eq!(violates(None, || repairing(5, 3, 4)), None, "three levels, all taken");
}

/// Somebody lends a slot whose hint is there to be taken, and frees it, while another takes the hint and
/// finds the slot free or not.
fn guessing() {
    const FREE: u64 = 0;
    const LENT: u64 = 1;
    let model = Model::new(1, 1);
    // In place of the state word.
    let claim = |model: &Model| {
        let state = &model.owners[0];
        state.compare_exchange(FREE, LENT, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    check(claim(&model), "it is free at first");
    let other = aside(&model, move |model| {
        if model.hints().take().is_some() && model.owners[0].load(Ordering::Relaxed) == FREE {
            let _ = claim(model);
        }
    });
    let state = &model.owners[0];
    let _ = state.compare_exchange(LENT, FREE, Ordering::AcqRel, Ordering::Relaxed);
    model.hints().put(0);
    other.join().unwrap();
    let is_free = model.owners[0].load(Ordering::Relaxed) == FREE;
    check(!is_free || model.hints().take().is_some(), "what is free is found");
}

#[test]
fn loom_a_guess_hides_nothing() {
    assert_eq!(violates(None, guessing), None);
}

#[test]
fn loom_mutations_of_the_hints_fail() {
    assert!(violates(Some(Mutation::PutUnfenced), guessing).is_some(), "a look without a fence");
    let mutation = Some(Mutation::FullUnchecked);
    assert!(violates(mutation, || filling_and_freeing(3, 2, 1)).is_some(), "two levels");
    assert!(violates(mutation, || filling_and_freeing(5, 3, 3)).is_some(), "three levels");
    let mutation = Some(Mutation::UnmarkOnce);
    assert!(violates(mutation, || taking_turns(5, 3)).is_some(), "unmarked once");
}
