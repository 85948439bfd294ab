//! The tree against a set of the free slots.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

struct Tree {
    shape: HintShape,
    words: Vec<AtomicU64>,
}

impl Tree {
    fn new(slots: usize) -> Tree {
        let shape = HintShape::new(slots);
        let words = (0..shape.len()).map(|_| AtomicU64::new(0)).collect();
        Tree { shape, words }
    }

    fn hints(&self) -> Hints<'_> {
        Hints { shape: &self.shape, words: &self.words }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take,
    TakeThoroughly,
    /// Gives one back that is taken, or does so twice.
    Put(prop::sample::Index),
    PutBack(prop::sample::Index),
    /// As one who was killed between freeing a slot and putting it back.
    Forget(prop::sample::Index),
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 262_145]),
        1..300_usize,
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = any::<prop::sample::Index>;
    let step = prop_oneof![
        5 => Just(Step::Take),
        2 => Just(Step::TakeThoroughly),
        4 => any().prop_map(Step::Put),
        1 => any().prop_map(Step::PutBack),
        1 => any().prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_lowest_free_slot_is_taken(slots in sizes(), taken in any::<prop::sample::Index>(), steps in steps()) {
        let tree = Tree::new(slots);
        let hints = tree.hints();
        let mut free: BTreeSet<usize> = (0..slots).collect();
        // Most of what happens, happens where little is free.
        for _ in 0..taken.index(slots + 1).max(slots.saturating_sub(100)) {
            prop_assert_eq!(hints.take(), free.pop_first());
        }
        // Free, and not put back.
        let mut forgotten = BTreeSet::new();
        for step in steps {
            match step {
                Step::Take => prop_assert_eq!(hints.take(), free.pop_first()),
                Step::TakeThoroughly => {
                    prop_assert_eq!(hints.take_thoroughly(), free.pop_first());
                }
                Step::Put(slot) => {
                    let slot = slot.index(slots);
                    hints.put(slot);
                    free.insert(slot);
                    forgotten.remove(&slot);
                }
                Step::PutBack(slot) => {
                    let slot = slot.index(slots);
                    hints.put_back(slot);
                    free.insert(slot);
                    forgotten.remove(&slot);
                }
                Step::Forget(slot) => {
                    let slot = slot.index(slots);
                    if !free.contains(&slot) {
                        forgotten.insert(slot);
                    }
                }
            }
        }
        for slot in forgotten {
            hints.put_back(slot);
            free.insert(slot);
        }
        while let Some(slot) = free.pop_first() {
            prop_assert_eq!(hints.take(), Some(slot));
        }
        prop_assert_eq!(hints.take(), None);
        prop_assert_eq!(hints.take_thoroughly(), None);
    }

    /// Whatever is in the words: what is found is a slot, and looking for one ends.
    #[test]
    fn any_bits_are_hints(slots in sizes(), seed in any::<u64>()) {
        let tree = Tree::new(slots);
        let mut random = fastrand::Rng::with_seed(seed);
        for word in &tree.words {
            let bits = [0, u64::MAX, random.u64(..), random.u64(..) & random.u64(..)];
            word.store(bits[random.usize(..4)], Ordering::Relaxed);
        }
        for _ in 0..100 {
            for taken in [tree.hints().take(), tree.hints().take_thoroughly()] {
                prop_assert!(taken.is_none_or(|slot| slot < slots));
            }
        }
    }

    /// One that was killed anywhere on its way up leaves nothing behind that is not repaired.
    #[test]
    fn what_is_put_back_is_found(slots in sizes(), slot in any::<prop::sample::Index>(), marks in any::<u64>()) {
        let tree = Tree::new(slots);
        let hints = tree.hints();
        let slot = slot.index(slots);
        for word in &tree.words {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        let mut at = slot;
        for level in 0..tree.shape.levels {
            if marks & 1 << level != 0 {
                hints.word(level, at / BITS).fetch_and(!(1 << (at % BITS)), Ordering::Relaxed);
            }
            at /= BITS;
        }
        hints.put_back(slot);
        prop_assert_eq!(hints.take(), Some(slot));
        prop_assert_eq!(hints.take(), None);
    }
}

#[test]
fn a_tree_is_as_high_as_it_has_to_be() {
    let heights = [(1, 1), (64, 1), (65, 2), (4096, 2), (4097, 3), (262_144, 3), (262_145, 4)];
    for (slots, levels) in heights {
        assert_eq!(HintShape::new(slots).levels, levels, "{slots}");
    }
    let most = HintShape::new(crate::config::MAX_SLOTS);
    assert_eq!((most.levels, most.words[3]), (4, 1));
    assert_eq!(most.len(), 262_144 + 4096 + 64 + 1);
}

#[test]
fn threads_never_share_a_slot() {
    for slots in [3, 65, 4097] {
        let tree = Tree::new(slots);
        let owners: Vec<AtomicU64> = (0..slots).map(|_| AtomicU64::new(0)).collect();
        // All but two, so that words become full and are freed all the time.
        let mut held: Vec<usize> = (2..slots).map(|_| tree.hints().take().unwrap()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(slot) = tree.hints().take() else { continue };
                        assert_eq!(owners[slot].fetch_add(1, Ordering::Relaxed), 0);
                        owners[slot].fetch_sub(1, Ordering::Relaxed);
                        tree.hints().put(slot);
                    }
                });
            }
        });
        held.extend(std::iter::from_fn(|| tree.hints().take()));
        held.sort_unstable();
        assert_eq!(held, (0..slots).collect::<Vec<_>>());
    }
}
