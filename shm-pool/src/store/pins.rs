//! The life of an entry, as transitions of its slot's words.
//!
//! ```text
//!            commit            evict             nobody has it
//!   Filling ───────▶ Stored ◀─────────▶ Evicting ─────────────▶ Draining ──▶ Free
//!                     ▲ │   rescue, or   │
//!                 pin └─┘   pinned: back │ evictor killed: back, see `reap`
//! ```
//!
//! A worker pins an entry by setting its flag in the slot's lane and then looking at the state; who
//! evicts marks the state and then looks at the lanes; a fence on either side lets at least one of them
//! see the other. A worker that finds its pin on an entry that is *being* evicted takes it back into
//! the store by an exchange, and the evictor's own next exchange fails: so a pinned entry is never
//! freed, and an evictor that is stopped half-way hides nothing from anybody.
//!
//! The index cell goes after `Draining`: until then the key leads to the entry, from then on the cell
//! is garbage by the state of its slot, whoever takes it away. Upholds invariants 1, 3 and 7.

use crate::slot::SlotWords;
use crate::sync::{Mutation, Ordering, fence_after_exchange, mutated};
use crate::word::{LaneWord, SEATS_PER_LANE, SlotState, StateWord};

/// How evicting began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Evict {
    /// The slot is draining: the caller's to finish.
    Draining,
    /// Somebody has it pinned; it is in the store as before.
    Pinned,
    /// It changed meanwhile.
    Gone,
}

impl SlotWords<'_> {
    /// Makes a filled entry readable. False if the slot is not the caller's any more.
    pub(crate) fn commit(&self, owner: u16, generation: u64) -> bool {
        if !mutated(Mutation::LanesAfterState) {
            self.unpin_everybody(generation);
        }
        let filling = StateWord::new(SlotState::Filling, generation, owner);
        // Release: the bytes and the lanes come before the state.
        let stored = self.exchange(filling, filling.with(SlotState::Stored, 0));
        if mutated(Mutation::LanesAfterState) {
            self.unpin_everybody(generation);
        }
        stored
    }

    fn unpin_everybody(&self, generation: u64) {
        for lane in self.lanes {
            // SYNC: none; nobody believes a lane before the state says so, and whoever comes late
            // compares a generation that the lane no longer has.
            lane.store(LaneWord::new(generation, 0, 0).0, Ordering::Relaxed);
        }
    }

    /// Pins an entry for a seat. False, and nothing pinned, if that generation is not in the store.
    pub(crate) fn pin(&self, seat: usize, generation: u64) -> bool {
        let Some(lane) = self.lanes.get(seat / SEATS_PER_LANE) else { return false };
        let bit = 1 << (seat % SEATS_PER_LANE);
        let mut word = LaneWord(lane.load(Ordering::Relaxed));
        loop {
            if word.generation() != generation {
                return false;
            }
            let pinned = LaneWord::new(generation, word.held() | bit, word.pending());
            match lane.compare_exchange(word.0, pinned.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = LaneWord(now),
            }
        }
        if !mutated(Mutation::PinFence) {
            // SYNC: pins. Pairs with the fence of who evicts.
            fence_after_exchange();
        }
        let stays = self.is_kept(generation);
        if !stays {
            self.unpin(seat, generation);
        }
        stays
    }

    /// Whether the entry is in the store; takes it back if it is being evicted.
    fn is_kept(&self, generation: u64) -> bool {
        loop {
            let found = self.load();
            match found.state() {
                _ if found.generation() != generation => return false,
                Some(SlotState::Stored) => return true,
                Some(SlotState::Evicting) => {
                    let blindly = mutated(Mutation::RescueBlindly);
                    if blindly || self.exchange(found, found.with(SlotState::Stored, 0)) {
                        return true;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Gives a pin up. Does nothing if there is none of that generation.
    pub(crate) fn unpin(&self, seat: usize, generation: u64) -> bool {
        let bit = 1 << (seat % SEATS_PER_LANE);
        let lane = seat / SEATS_PER_LANE;
        self.clear(lane, generation, |word| (word.held() & bit != 0).then_some(bit)).is_some()
    }

    /// Marks a stored entry as being evicted by `member`.
    pub(crate) fn begin_evicting(&self, stored: StateWord, member: u16) -> bool {
        self.exchange(stored, stored.with(SlotState::Evicting, member))
    }

    /// Takes the entry out if nobody has it pinned. One thread of a member at a time: a rescued entry
    /// that another thread of the same member evicts would look as if it had not been rescued.
    pub(crate) fn end_evicting(&self, generation: u64, member: u16) -> Evict {
        let evicting = StateWord::new(SlotState::Evicting, generation, member);
        if !mutated(Mutation::EvictFence) {
            // SYNC: pins. Pairs with the fence of who pins.
            fence_after_exchange();
        }
        let (to, outcome) = match self.is_unread_and_unheld(generation) {
            true => (SlotState::Draining, Evict::Draining),
            false => (SlotState::Stored, Evict::Pinned),
        };
        match self.exchange(evicting, evicting.with(to, 0)) {
            true => outcome,
            false => Evict::Gone,
        }
    }
}

#[cfg(all(test, loom))]
mod tests;
