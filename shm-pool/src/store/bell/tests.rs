//! Models of the bell: nobody sleeps through the entry that it waits for.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

#[derive(Default)]
struct Model {
    bell: AtomicU64,
    entry: AtomicU64,
}

impl Model {
    fn bell(&self) -> Bell<'_> {
        Bell { word: &self.bell }
    }

    fn commit(&self) {
        self.entry.fetch_add(1, Ordering::AcqRel);
        // Waking is the kernel's: it looks at the word once more before it lets anybody sleep.
        let _ = self.bell().ring();
    }

    /// Looks for `entries` once; what it would sleep on, if they are not there.
    fn look(&self, entries: u64) -> Option<u32> {
        let armed = self.bell().arm();
        (self.entry.load(Ordering::Acquire) < entries).then_some(armed)
    }

    fn sleeps(&self, on: Option<u32>) -> bool {
        on.is_some_and(|word| self.bell.load(Ordering::Relaxed) as u32 == word)
    }
}

fn waiting(workers: u64) {
    let model = Arc::new(Model::default());
    let commits: Vec<_> = (0..workers)
        .map(|_| {
            let model = model.clone();
            thread::spawn(move || model.commit())
        })
        .collect();
    let on = model.look(1);
    for commit in commits {
        commit.join().unwrap();
    }
    check(!model.sleeps(on), "a commit wakes who waits for it");
}

/// One waiter follows another on the same bell.
fn two_wait() {
    let model = Arc::new(Model::default());
    let other = {
        let model = model.clone();
        thread::spawn(move || model.look(1))
    };
    let commit = {
        let model = model.clone();
        thread::spawn(move || model.commit())
    };
    let on = model.look(1);
    commit.join().unwrap();
    let others = other.join().unwrap();
    check(!model.sleeps(on) && !model.sleeps(others), "everybody is woken");
}

#[test]
fn loom_store_nobody_sleeps_through_a_commit() {
    assert_eq!(violates(None, || waiting(1)), None);
    assert_eq!(violates(None, || waiting(2)), None);
    assert_eq!(violates(None, two_wait), None);
}

#[test]
fn loom_store_mutation_of_the_bell_fails() {
    assert!(violates(Some(Mutation::BellFence), || waiting(1)).is_some());
}
