//! Who a publication is for, while consumers come and go.
//!
//! ```text
//!   audience:   63 ..... 16 | 7 .. 0       one word per eight seats: those that are waited for, as a
//!               version     | changes      difference to the expected ones
//!
//!   publisher:  reads the audience ─▶ publishes ─▶ fence ─▶ reads it again, clears who has left
//!   who leaves: leaves the audience ─▶ fence ─▶ clears its flags in each publication
//! ```
//!
//! So one of the two sees the other, and no publication waits for somebody who has left. Upholds
//! invariant 1.

use crate::slot::SlotWords;
use crate::sync::{AtomicU64, Mutation, Ordering, mutated};
use crate::word::{LaneWord, SEATS_PER_LANE, SlotState, StateWord};

/// The words of an audience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attendance<'a> {
    pub(crate) changes: &'a [AtomicU64],
    /// So many seats, the lowest ones, are waited for before anybody sits there.
    pub(crate) expected: usize,
}

impl Attendance<'_> {
    /// Who is waited for now: the seats of a lane.
    #[inline]
    pub(crate) fn present(&self, lane: usize) -> u8 {
        // SYNC: audience. Acquire: whoever left did so before what is looked at next.
        self.changes[lane].load(Ordering::Acquire) as u8 ^ self.expected_in(lane)
    }

    /// Lets a seat enter or leave the audience, unless `still` says that this is not its affair any
    /// more.
    pub(crate) fn set_present(&self, seat: usize, present: bool, still: impl Fn() -> bool) {
        let (lane, bit) = (seat / SEATS_PER_LANE, 1 << (seat % SEATS_PER_LANE));
        let word = &self.changes[lane];
        loop {
            let found = word.load(Ordering::Acquire);
            let is_present = (found as u8 ^ self.expected_in(lane)) & bit != 0;
            // Looking after loading: a version that is still the same then was never another
            // consumer's.
            if is_present == present || !still() {
                return;
            }
            let changed = ((found >> 16) + 1) << 16 | u64::from(found as u8 ^ bit);
            if word.compare_exchange(found, changed, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Clears the flags of those who left while a slot was being published. True if there were any.
    pub(crate) fn forget_the_departed(&self, words: SlotWords<'_>, generation: u64) -> bool {
        if mutated(Mutation::AudienceUnchecked) {
            return false;
        }
        let mut changed = false;
        for lane in 0..words.lanes.len() {
            let present = self.present(lane);
            let gone = |word: LaneWord| {
                let gone = word.pending() & !word.held() & !present;
                (gone != 0).then_some(gone)
            };
            changed |= words.clear(lane, generation, gone).is_some();
        }
        changed
    }

    #[inline]
    fn expected_in(&self, lane: usize) -> u8 {
        match self.expected.saturating_sub(lane * SEATS_PER_LANE) {
            seats if seats >= SEATS_PER_LANE => u8::MAX,
            seats => (1 << seats) - 1,
        }
    }
}

/// Clears the flags that a seat has in a slot, while `still` says that it is to be given up. Returns
/// the state that the slot was in if it may be free by it.
pub(crate) fn withdraw(
    words: SlotWords<'_>,
    seat: usize,
    still: impl Fn() -> bool,
) -> Option<StateWord> {
    let (lane, bit) = (seat / SEATS_PER_LANE, 1 << (seat % SEATS_PER_LANE));
    let state = words.load();
    let in_use = matches!(
        state.state(),
        Some(SlotState::Shared | SlotState::Quarantined | SlotState::Stored | SlotState::Evicting)
    );
    if !in_use {
        return None;
    }
    let cleared = words.clear(lane, state.generation(), |word| {
        let has = (word.held() | word.pending()) & bit != 0;
        (has && still()).then_some(bit)
    });
    let claimed = state.is(SlotState::Shared) && state.party() == seat as u16 + 1;
    (cleared.is_some() || claimed && still()).then_some(state)
}

#[cfg(all(test, loom))]
mod tests;
