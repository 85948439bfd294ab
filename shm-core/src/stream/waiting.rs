//! Waiting for a condition of a segment: look, spin a little, then sleep in the kernel.
//!
//! Upholds invariant 5 (deadlines, bounded spins, idle waiters cost no CPU) and the bound on lost
//! wake-ups of invariant 1.

use super::Shared;
use crate::deadline::Deadline;
use crate::event::{Armed, Event};
use crate::os::Access;
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// How long a wait spins before it sleeps, unless the reader chose otherwise: about what a wake-up
/// of a core that is not parked costs.
pub(crate) const SPIN: Duration = Duration::from_micros(2);

/// Looks at the clock once for this many looks at the condition.
const LOOKS: u32 = 64;

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Waited {
    /// The condition holds.
    Ready,
    /// The segment was unlinked or replaced, and the condition does not hold.
    Retired,
    /// The deadline has passed, and the condition does not hold.
    TimedOut,
}

impl Shared {
    /// Waits until `ready`, the deadline, or the end of the segment.
    pub(crate) fn wait(
        &self,
        event: Event<'_>,
        deadline: Deadline,
        spin: Duration,
        recheck: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Waited {
        if ready() {
            return Waited::Ready;
        }
        let begun = Instant::now();
        let spinning = deadline.slice_at(begun, spin);
        if !spinning.is_zero() && self.spin(begun + spinning, &mut ready) {
            return Waited::Ready;
        }
        let mut armed = None;
        loop {
            if ready() {
                return Waited::Ready;
            }
            if self.is_retired() {
                return Waited::Retired;
            }
            let nap = deadline.slice(recheck);
            if nap.is_zero() {
                return Waited::TimedOut;
            }
            let parker = self.segment.backing().parker();
            if self.segment.access() == Access::ReadOnly {
                // Cannot arm, so nobody wakes it on purpose: a bounded look instead.
                let epoch = event.word.load(Ordering::Acquire) as u32;
                if ready() {
                    return Waited::Ready;
                }
                parker.park(event.word, epoch, nap);
                self.look_for_name();
                continue;
            }
            let before = armed;
            if event.sleep(parker, &mut armed, nap, &mut ready) {
                return Waited::Ready;
            }
            if before == armed {
                // A whole nap passed without a ring.
                self.look_for_name();
            }
        }
    }

    /// As [`Shared::wait`] with at most one sleep: whatever ends it, a signal too, ends the call. Pass
    /// the same `armed` on every turn of one wait.
    pub(crate) fn nap(
        &self,
        event: Event<'_>,
        spin: Duration,
        longest: Duration,
        armed: &mut Option<Armed>,
        mut ready: impl FnMut() -> bool,
    ) -> Waited {
        if ready() {
            return Waited::Ready;
        }
        let begun = Instant::now();
        if self.spin(begun + spin.min(longest), &mut ready) {
            return Waited::Ready;
        }
        let left = longest.saturating_sub(begun.elapsed());
        let parker = self.segment.backing().parker();
        if self.is_retired() || left.is_zero() {
            // The answer is below.
        } else if self.segment.access() == Access::ReadOnly {
            let epoch = event.word.load(Ordering::Acquire) as u32;
            if !ready() {
                parker.park(event.word, epoch, left.min(self.segment.recheck()));
            }
        } else if event.sleep(parker, armed, left, &mut ready) {
            return Waited::Ready;
        }
        if ready() {
            return Waited::Ready;
        }
        if begun.elapsed() >= longest {
            self.look_for_name();
        }
        if self.is_retired() { Waited::Retired } else { Waited::TimedOut }
    }

    #[inline]
    fn spin(&self, end: Instant, ready: &mut impl FnMut() -> bool) -> bool {
        loop {
            for _ in 0..LOOKS {
                if ready() {
                    return true;
                }
                core::hint::spin_loop();
            }
            if self.is_retired() || Instant::now() >= end {
                return false;
            }
        }
    }
}
