//! What killed sleepers leave behind costs one system call, not one per ring.

use super::*;
use std::cell::RefCell;

/// Counts what it is asked for.
#[derive(Default)]
struct Tally(RefCell<Vec<u32>>);

impl Park for Tally {
    type Timeout = ();
    fn park(&self, _word: &AtomicU64, _epoch: u32, _timeout: ()) {}
    fn unpark(&self, _word: &AtomicU64, count: u32) {
        self.0.borrow_mut().push(count);
    }
}

#[test]
fn sleepers_that_were_killed_are_woken_once_and_forgotten() {
    let (word, chain, tally) = (AtomicU64::new(0), AtomicU32::new(0), Tally::default());
    let event = Event { word: &word, chain: &chain };
    for _ in 0..3 {
        event.arm(None);
    }
    event.ring(&tally);
    assert_eq!((tally.0.take(), chain.load(Ordering::Relaxed)), (vec![1], 2));
    // The one that was woken is killed before it wakes the others: the next ring does.
    event.ring(&tally);
    assert_eq!((tally.0.take(), chain.load(Ordering::Relaxed)), (vec![u32::MAX >> 1], 0));
    event.ring(&tally);
    assert_eq!(tally.0.take(), []);
}
