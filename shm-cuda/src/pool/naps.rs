//! Waiting for a word that a device stores: nobody rings, so it is looked at.
//!
//! Upholds invariant 5: the spin is bounded, the naps grow to a millisecond, and the deadline ends them.

use shm_core::Deadline;
use std::time::{Duration, Instant};

const SPIN: Duration = Duration::from_micros(20);
const FIRST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Naps {
    begun: Instant,
    next: Duration,
}

impl Naps {
    pub(super) fn new() -> Naps {
        Naps { begun: Instant::now(), next: FIRST }
    }

    /// True once looking alone was not enough: the time to ask whether it can come at all.
    pub(super) fn take_long(&self) -> bool {
        self.next > FIRST || self.begun.elapsed() >= SPIN
    }

    /// A pause, which the deadline cuts short.
    pub(super) fn nap(&mut self, deadline: Deadline) {
        if self.begun.elapsed() < SPIN {
            core::hint::spin_loop();
            return;
        }
        let left = deadline.remaining().unwrap_or(self.next);
        std::thread::sleep(self.next.min(left));
        self.next = (self.next * 2).min(LONGEST);
    }
}
