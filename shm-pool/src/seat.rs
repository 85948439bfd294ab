//! Consumers: who sits where, and who a publication is for.
//!
//! ```text
//!   seat word:  63 ..... 16 | 15 .. 12 | 11 .. 0        vacant ──join──▶ live ──leave──▶ leaving ──▶ vacant
//!               incarnation | phase    | member
//! ```
//!
//! A consumer that leaves or dies first leaves the audience, so that nothing new is addressed to it,
//! then its flags are cleared in every slot, then its seat is vacant. Each of these steps may be taken
//! by anybody, any number of times: an exchange compares the incarnation, the version or the
//! generation, so a helper that was stopped half-way and goes on much later changes nothing that
//! belongs to the next consumer on the seat. Upholds invariants 1 and 3.

use crate::attendance::{Attendance, withdraw};
use crate::fault;
use crate::ledger::Ledger;
use crate::slot::Release;
use crate::sync::{Ordering, fence};
use crate::word::SEATS_PER_LANE;
use shm_core::clock;

/// The most consumers of a pool.
pub const MAX_SEATS: usize = 64;

/// Words of a seat.
mod field {
    pub(super) const WORD: usize = 0;
    pub(super) const SINCE: usize = 1;
}

/// What a seat is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Vacant,
    Live,
    Leaving,
}

/// A seat word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeatWord(u64);

impl SeatWord {
    fn new(incarnation: u64, phase: Phase, member: u16) -> SeatWord {
        SeatWord(incarnation << 16 | (phase as u64) << 12 | u64::from(member & 0xFFF))
    }
    pub(crate) fn phase(self) -> Phase {
        match self.0 >> 12 & 0xF {
            1 => Phase::Live,
            2 => Phase::Leaving,
            _ => Phase::Vacant,
        }
    }
    pub(crate) fn member(self) -> usize {
        (self.0 & 0xFFF) as usize
    }
    pub(crate) fn incarnation(self) -> u64 {
        self.0 >> 16
    }
}

impl Ledger {
    /// Seats that this pool has.
    pub(crate) fn seats(&self) -> usize {
        self.layout.lanes * SEATS_PER_LANE
    }

    /// The seat as it is now.
    pub(crate) fn seat_word(&self, seat: usize) -> SeatWord {
        SeatWord(self.seat(seat)[field::WORD].load(Ordering::Acquire))
    }

    /// When the consumer on a seat joined; for reports.
    pub(crate) fn seat_since(&self, seat: usize) -> u64 {
        self.seat(seat)[field::SINCE].load(Ordering::Relaxed)
    }

    /// Sits down, if the seat is vacant.
    pub(crate) fn take_seat(&self, seat: usize, member: u16) -> Option<SeatWord> {
        let found = self.seat_word(seat);
        if found.phase() != Phase::Vacant {
            return None;
        }
        let live = SeatWord::new(found.incarnation() + 1, Phase::Live, member);
        self.exchange_seat(seat, found, live).then(|| {
            self.seat(seat)[field::SINCE].store(clock::monotonic_ns(), Ordering::Relaxed);
            fault::hit("seat.taken");
            self.start_at_the_end_of_queues(seat, live);
            self.attendance().set_present(seat, true, || self.seat_word(seat) == live);
            live
        })
    }

    /// Gives a seat up: its own consumer's, or a dead one's. Returns how many slots came free.
    pub(crate) fn leave_seat(&self, seat: usize, occupied: SeatWord) -> u64 {
        let leaving =
            SeatWord::new(occupied.incarnation(), Phase::Leaving, occupied.member() as u16);
        if occupied.phase() == Phase::Live && !self.exchange_seat(seat, occupied, leaving) {
            return 0;
        }
        fault::hit("seat.leaving");
        let still = || self.seat_word(seat) == leaving;
        self.attendance().set_present(seat, false, still);
        // SYNC: audience. Pairs with the fence of a publisher: it sees that the seat has left the
        // audience, or the pass below sees its slot.
        fence(Ordering::SeqCst);
        let freed = self.clear_flags_of(seat, still);
        fault::hit("seat.cleared");
        let vacant = SeatWord::new(occupied.incarnation(), Phase::Vacant, 0);
        self.exchange_seat(seat, leaving, vacant);
        freed
    }

    /// Who a publication for everyone is for now: the seats of a lane.
    #[inline]
    pub(crate) fn present(&self, lane: usize) -> u8 {
        self.attendance().present(lane)
    }

    #[inline]
    fn attendance(&self) -> Attendance<'_> {
        // A store waits for nobody.
        let expected = if self.layout.entries { 0 } else { self.layout.expected };
        Attendance { changes: self.audience(), expected }
    }

    /// Takes consumers that left while a slot was being published off its list. Returns true if
    /// nobody is left and the slot came free by it.
    pub(crate) fn forget_the_departed(&self, slot: usize, generation: u64) -> bool {
        let words = self.slot(slot);
        let changed = self.attendance().forget_the_departed(words, generation);
        let drain = self.needs_draining(slot);
        changed && words.free_if_done(generation, 0, drain) && self.finish(slot, generation, drain)
    }

    fn clear_flags_of(&self, seat: usize, still: impl Fn() -> bool) -> u64 {
        let mut freed = 0;
        for slot in 0..self.layout.slots {
            let words = self.slot(slot);
            let Some(state) = withdraw(words, seat, &still) else { continue };
            // If the slot is another generation's by now, it is not freed below.
            let drain = self.needs_draining(slot);
            let generation = state.generation();
            if words.free_if_done(generation, seat as u16 + 1, drain)
                && self.finish(slot, generation, drain)
            {
                freed += 1;
            }
        }
        freed
    }

    fn exchange_seat(&self, seat: usize, from: SeatWord, to: SeatWord) -> bool {
        // SYNC: seat. Release: everything that the incarnation before had was given back.
        self.seat(seat)[field::WORD]
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives up a seat's hold on a slot.
    #[inline]
    pub(crate) fn release(&self, slot: usize, generation: u64, seat: usize) -> Release {
        let drain = self.needs_draining(slot);
        let outcome = self.slot(slot).release(seat, generation, drain);
        fault::hit("release.cleared");
        if outcome == Release::Last {
            self.finish(slot, generation, drain);
        }
        outcome
    }
}
