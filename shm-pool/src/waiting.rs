//! How somebody waits for a queue, or for an entry of a store.
//!
//! Upholds invariants 3 (who slept for 50 ms without being called asks the kernel who is dead) and 5.

use crate::bell::{Bell, Call, Unpark};
use crate::ledger::Ledger;
use crate::line::RECHECK;
use crate::sync::AtomicU64;
use shm_core::segment::Segment;
use std::time::{Duration, Instant};

/// How long a waiter looks before it sleeps: about what a wake-up of a core that is not parked costs.
const SPIN: Duration = Duration::from_micros(2);

impl Unpark for Segment {
    fn unpark(&self, word: &AtomicU64, count: u32) {
        Segment::unpark(self, word, count);
    }
}

impl Ledger {
    /// Tries until something comes of it, for at most `longest`, and at most once asleep. `None` says
    /// nothing about why.
    pub(crate) fn nap_on<T, E>(
        &self,
        bell: Bell<'_>,
        longest: Duration,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let begun = Instant::now();
        loop {
            if let Some(done) = attempt()? {
                return Ok(Some(done));
            }
            if begun.elapsed() >= SPIN.min(longest) {
                break;
            }
            core::hint::spin_loop();
        }
        let nap = longest.saturating_sub(begun.elapsed()).min(RECHECK);
        if nap.is_zero() {
            return Ok(None);
        }
        let armed = bell.arm();
        let looked = attempt();
        if !matches!(looked, Ok(None)) {
            bell.disarm(armed);
            return looked;
        }
        let asleep = Instant::now();
        self.segment.park(bell.word, armed.epoch, nap);
        let undisturbed = asleep.elapsed() >= nap;
        if undisturbed {
            bell.disarm(armed);
        }
        let outcome = attempt().inspect_err(|_| {
            // The call was for somebody who can make use of it.
            bell.ring(&self.segment, Call::One);
        })?;
        if outcome.is_some() || !undisturbed {
            return Ok(outcome);
        }
        // Nobody called: whoever should have may be dead, or stopped, or gone with the pool.
        self.reap_quickly();
        self.look_for_name();
        attempt()
    }
}
