//! The life of one slot, as transitions of its words.
//!
//! ```text
//!            claim               publish                 release (last), reap
//!   Free ───────────▶ Filling ────────────▶ Shared ─────────────────────────────▶ Free
//!    ▲                  │  │                 │  ▲                                   ▲
//!    │ abort, reap      │  │ revoke          │  │ redeem, release (others): lanes   │
//!    └──────────────────┘  ▼                 ▼                                       │
//!                       Quarantined ◀── revoke ──── … everybody done or dead ────────┘
//! ```
//!
//! Freeing goes by way of `Draining` where there is memory or a batch to give back first. Every
//! method is one exchange, or one per lane; whoever is killed between two of them leaves a state
//! that [`reap`](crate::reap) knows how to finish. Upholds invariants 1, 3 and 7.

use crate::sync::{AtomicU64, Mutation, Ordering, fence, fence_after_exchange, mutated};
use crate::word::{
    ANYBODY, GENERATIONS, HOLDERS, LaneWord, NOBODY, SEATS_PER_LANE, SlotState, StateWord,
};

/// The words of one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotWords<'a> {
    pub(crate) state: &'a AtomicU64,
    pub(crate) lanes: &'a [AtomicU64],
}

/// Who may redeem a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers<'a> {
    /// Those seats, eight per lane.
    Seats(&'a [u8]),
    /// Whoever comes first.
    Anybody,
}

/// How claiming a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Claim {
    /// It is the caller's, with this generation.
    Taken(u64),
    /// Somebody else has it.
    NotFree,
    /// It has used up its generations and was set aside.
    Exhausted,
}

/// How redeeming ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Redeem {
    /// The seat holds the slot.
    Granted,
    /// The slot has another generation, or is not shared any more.
    Stale,
    /// The seat is not among those who were addressed, or has released already.
    NotAddressed,
    /// The seat holds it already.
    AlreadyHeld,
    /// Another consumer was faster.
    Taken,
    /// It was revoked while the seat took hold of it: not to be read, and to be released.
    Withdrawn,
}

/// How giving up a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Release {
    /// Others still have to.
    Others,
    /// It was the last one: the slot is free, or draining and the caller's to drain.
    Last,
    /// The seat held nothing of that generation; nothing was changed.
    NotHeld,
}

impl<'a> SlotWords<'a> {
    /// The state as it is now.
    #[inline]
    pub(crate) fn load(&self) -> StateWord {
        // SYNC: slot. Pairs with every Release exchange of the word.
        StateWord(self.state.load(Ordering::Acquire))
    }

    /// One exchange of the state word.
    #[inline]
    pub(crate) fn exchange(&self, from: StateWord, to: StateWord) -> bool {
        // SYNC: slot. Release hands over what was done in the old state, Acquire takes over.
        self.state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Takes a free slot for member `owner`.
    #[inline]
    pub(crate) fn claim(&self, owner: u16) -> Claim {
        // SYNC: none; the exchange below acquires.
        let found = StateWord(self.state.load(Ordering::Relaxed));
        if !found.is(SlotState::Free) {
            return Claim::NotFree;
        }
        let generation = found.generation() + 1;
        if generation >= GENERATIONS {
            let _ = self.exchange(found, found.with(SlotState::Quarantined, NOBODY));
            return Claim::Exhausted;
        }
        let taken = StateWord::new(SlotState::Filling, generation, owner);
        if mutated(Mutation::ClaimBlindly) {
            self.state.store(taken.0, Ordering::Relaxed);
            return Claim::Taken(generation);
        }
        let acquire = match mutated(Mutation::ClaimRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::Acquire,
        };
        // SYNC: slot. Acquire: whoever had the slot before is done with its bytes.
        match self.state.compare_exchange(found.0, taken.0, acquire, Ordering::Relaxed) {
            Ok(_) => Claim::Taken(generation),
            Err(_) => Claim::NotFree,
        }
    }

    /// Makes a filled slot readable. False if it was revoked meanwhile.
    #[inline]
    pub(crate) fn publish(&self, owner: u16, generation: u64, readers: Readers<'_>) -> bool {
        for (index, lane) in self.lanes.iter().enumerate() {
            let pending = match readers {
                Readers::Seats(lanes) => lanes.get(index).copied().unwrap_or(0),
                Readers::Anybody => 0,
            };
            // SYNC: none; nobody believes a lane before the state says so, and nobody else writes
            // it: a late exchange compares a generation that the lane no longer has.
            lane.store(LaneWord::new(generation, 0, pending).0, Ordering::Relaxed);
        }
        let party = match readers {
            Readers::Seats(_) => 0,
            Readers::Anybody => ANYBODY,
        };
        let from = StateWord::new(SlotState::Filling, generation, owner);
        let release = match mutated(Mutation::PublishRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        // SYNC: slot. Release: the bytes and the lanes come before the state.
        let to = from.with(SlotState::Shared, party);
        self.state.compare_exchange(from.0, to.0, release, Ordering::Relaxed).is_ok()
    }

    /// Gives a slot that is being filled back, published by nobody. True if the caller is the one who
    /// has to drain it, or if it is free.
    pub(crate) fn abort(&self, owner: u16, generation: u64, drain: bool) -> bool {
        let filling = StateWord::new(SlotState::Filling, generation, owner);
        let to = StateWord::new(after_use(drain), generation, 0);
        self.exchange(filling, to)
            || self.exchange(filling.with(SlotState::Quarantined, owner), to)
            || self.exchange(filling.with(SlotState::Linked, owner), to)
    }

    /// Claims a slot that is for anybody, without holding it yet. Granted to one call only: other
    /// threads of the same consumer find it taken.
    #[inline]
    pub(crate) fn claim_share(&self, seat: usize, generation: u64) -> Redeem {
        let found = self.load();
        if !found.is(SlotState::Shared) || found.generation() != generation {
            return Redeem::Stale;
        }
        match found.party() {
            ANYBODY => self.take_share(found, seat, false),
            _ => Redeem::Taken,
        }
    }

    /// Takes hold of a shared slot for a seat.
    #[inline]
    pub(crate) fn redeem(&self, seat: usize, generation: u64) -> Redeem {
        let acquire = match mutated(Mutation::RedeemRelaxed) {
            true => Ordering::Relaxed,
            false => Ordering::Acquire,
        };
        // SYNC: slot. Acquire: the bytes of this generation are complete.
        let found = StateWord(self.state.load(acquire));
        if !found.is(SlotState::Shared) || found.generation() != generation {
            return Redeem::Stale;
        }
        let party = found.party();
        if party == ANYBODY {
            return self.take_share(found, seat, true);
        }
        if party != 0 && party != seat as u16 + 1 {
            return Redeem::Taken;
        }
        let (lane, bit) = self.flag(seat);
        let mut word = LaneWord(lane.load(Ordering::Relaxed));
        loop {
            if word.generation() != generation {
                return Redeem::Stale;
            }
            if word.held() & bit != 0 {
                return Redeem::AlreadyHeld;
            }
            // Of a slot for anybody, the exchange that claimed it set the flag, once: another thread
            // of the same consumer does not find it again after a release.
            if word.pending() & bit == 0 {
                return Redeem::NotAddressed;
            }
            let held = LaneWord::new(generation, word.held() | bit, word.pending());
            // SYNC: lane. Orders the hold against who takes unread slots back; the bytes came with
            // the state word.
            match lane.compare_exchange(word.0, held.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Redeem::Granted,
                Err(now) => word = LaneWord(now),
            }
        }
    }

    /// Makes a slot that is for anybody the seat's, and leaves the seat's flags in its lane.
    fn take_share(&self, found: StateWord, seat: usize, hold: bool) -> Redeem {
        let (generation, mine) =
            (found.generation(), found.with(SlotState::Shared, seat as u16 + 1));
        if !self.exchange(found, mine) {
            return Redeem::Taken;
        }
        if !self.raise(seat, generation, hold) {
            return Redeem::Stale;
        }
        if mutated(Mutation::ShareUnchecked) {
            return Redeem::Granted;
        }
        // SYNC: lanes. Whoever revoked the slot between the two exchanges has seen no flag and frees
        // it, and is seen here; or it comes later and sees the flag.
        fence_after_exchange();
        if self.load() == mine {
            return Redeem::Granted;
        }
        match hold || self.raise(seat, generation, true) {
            true => Redeem::Withdrawn,
            false => Redeem::Stale,
        }
    }

    /// Sets a seat's flags, unless the slot is used for something else already.
    fn raise(&self, seat: usize, generation: u64, hold: bool) -> bool {
        let (lane, bit) = self.flag(seat);
        let mut word = LaneWord(lane.load(Ordering::Relaxed));
        while word.generation() == generation {
            let held = word.held() | if hold { bit } else { 0 };
            let raised = LaneWord::new(generation, held, word.pending() | bit);
            match lane.compare_exchange(word.0, raised.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = LaneWord(now),
            }
        }
        false
    }

    /// Gives up a seat's hold. With `drain` the last one leaves the slot `Draining`.
    #[inline]
    pub(crate) fn release(&self, seat: usize, generation: u64, drain: bool) -> Release {
        let (_, bit) = self.flag(seat);
        match self.clear(seat / SEATS_PER_LANE, generation, |word| {
            (word.held() & bit != 0).then_some(bit)
        }) {
            Some(cleared) if self.settle(cleared, seat, generation, drain) => Release::Last,
            Some(_) => Release::Others,
            None => Release::NotHeld,
        }
    }

    /// Clears flags of lane `index`, if it still has that generation and `which` names any; returns
    /// the lane as it is then.
    #[inline]
    pub(crate) fn clear(
        &self,
        index: usize,
        generation: u64,
        which: impl Fn(LaneWord) -> Option<u8>,
    ) -> Option<LaneWord> {
        let lane = self.lanes.get(index)?;
        let mut word = LaneWord(lane.load(Ordering::Relaxed));
        loop {
            if word.generation() != generation && !mutated(Mutation::AnyGeneration) {
                return None;
            }
            let cleared = word.without(which(word)?);
            let release = match mutated(Mutation::ReleaseRelaxed) {
                true => Ordering::Relaxed,
                false => Ordering::AcqRel,
            };
            // SYNC: lane. Release: the reads of this hold come before whoever frees the slot.
            match lane.compare_exchange(word.0, cleared.0, release, Ordering::Relaxed) {
                Ok(_) => return Some(cleared),
                Err(now) => word = LaneWord(now),
            }
        }
    }

    /// Frees the slot if a lane that was just cleared was the last one. True if this call did.
    #[inline]
    fn settle(&self, cleared: LaneWord, seat: usize, generation: u64, drain: bool) -> bool {
        if !cleared.is_clear() {
            return false;
        }
        if self.lanes.len() > 1 && !mutated(Mutation::OneLane) {
            if !mutated(Mutation::LaneFence) {
                // SYNC: lanes. Of two that clear the last flags of two lanes, at least one sees both.
                fence(Ordering::SeqCst);
            }
            if !self.is_unread_and_unheld(generation) {
                return false;
            }
        }
        self.free(generation, seat as u16 + 1, drain)
    }

    /// Frees the slot if no seat has anything to do with that generation any more, for whoever has
    /// cleared flags that were not its own. True if this call did.
    pub(crate) fn free_if_done(&self, generation: u64, claimant: u16, drain: bool) -> bool {
        // SYNC: lanes. Of two that clear the last flags of two lanes, at least one sees both; and who
        // takes hold without a flag sees what became of the slot, or is seen here.
        if !mutated(Mutation::LaneFence) {
            fence(Ordering::SeqCst);
        }
        self.is_unread_and_unheld(generation) && self.free(generation, claimant, drain)
    }

    /// True if no seat has anything to do with that generation.
    pub(crate) fn is_unread_and_unheld(&self, generation: u64) -> bool {
        self.lanes.iter().all(|lane| {
            // SYNC: lanes. Acquire: the reads of those who cleared theirs come first.
            let word = LaneWord(lane.load(Ordering::Acquire));
            word.generation() != generation || word.is_clear()
        })
    }

    /// Ends the use of a slot that nobody has anything to do with. `claimant` is the party of a slot
    /// for anybody that the caller had. True if this call did it.
    #[inline]
    pub(crate) fn free(&self, generation: u64, claimant: u16, drain: bool) -> bool {
        let to = StateWord::new(after_use(drain), generation, 0);
        let mut found = StateWord(self.state.load(Ordering::Relaxed));
        loop {
            let ours = found.generation() == generation
                && match found.state() {
                    Some(SlotState::Shared) => found.party() == 0 || found.party() == claimant,
                    Some(SlotState::Quarantined) => found.party() == HOLDERS,
                    _ => false,
                };
            if !ours {
                return false;
            }
            // SYNC: slot. Release: everybody's reads come before the next claim.
            match self.state.compare_exchange(found.0, to.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => found = StateWord(now),
            }
        }
    }

    /// A drained slot becomes free. False if somebody else has done it.
    pub(crate) fn drained(&self, generation: u64) -> bool {
        let from = StateWord::new(SlotState::Draining, generation, 0);
        self.exchange(from, from.with(SlotState::Free, 0))
    }

    /// Takes back a publication that nobody has begun to read. True if the slot came free by it.
    pub(crate) fn take_back(&self, generation: u64, drain: bool) -> bool {
        let found = self.load();
        if !found.is(SlotState::Shared) || found.generation() != generation {
            return false;
        }
        if found.party() == ANYBODY {
            return self.exchange(found, found.with(after_use(drain), 0));
        }
        let held = |lane: &AtomicU64| LaneWord(lane.load(Ordering::Relaxed)).held() != 0;
        if found.party() != 0 || self.lanes.iter().any(held) {
            return false;
        }
        for index in 0..self.lanes.len() {
            let unread = |word: LaneWord| {
                (word.held() == 0 || mutated(Mutation::TakeHeld)).then_some(word.pending())
            };
            if self.clear(index, generation, unread).is_none() {
                return false;
            }
        }
        self.free_if_done(generation, 0, drain)
    }

    /// Takes a publication out of circulation: nobody redeems it any more. `Err` is what was found
    /// instead of it.
    pub(crate) fn quarantine(&self, generation: u64) -> Result<(), StateWord> {
        loop {
            let found = self.load();
            if found.generation() != generation || !found.is(SlotState::Shared) {
                return Err(found);
            }
            if self.exchange(found, found.with(SlotState::Quarantined, HOLDERS)) {
                return Ok(());
            }
        }
    }

    /// Clears the flags of those who have not begun to read.
    pub(crate) fn clear_unread(&self, generation: u64) {
        for index in 0..self.lanes.len() {
            let _ = self.clear(index, generation, |word| Some(word.pending() & !word.held()));
        }
    }

    /// Pending and held of a seat.
    pub(crate) fn flags_of(&self, seat: usize, generation: u64) -> Option<(bool, bool)> {
        let (lane, bit) = self.flag(seat);
        let word = LaneWord(lane.load(Ordering::Acquire));
        (word.generation() == generation)
            .then_some((word.pending() & bit != 0, word.held() & bit != 0))
    }

    /// The lane of a seat, and the seat's bit in it.
    #[inline]
    fn flag(&self, seat: usize) -> (&'a AtomicU64, u8) {
        (&self.lanes[seat / SEATS_PER_LANE], 1 << (seat % SEATS_PER_LANE))
    }
}

#[inline]
fn after_use(drain: bool) -> SlotState {
    if drain { SlotState::Draining } else { SlotState::Free }
}

#[cfg(all(test, loom))]
mod tests;
