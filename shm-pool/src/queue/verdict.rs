//! What an entry of a queue is to one seat.
//!
//! Entries outlive what they name: a publication may have been read by another way, taken back, or
//! freed with its consumer. Upholds invariants 1 (what is for anybody is claimed where it lies before it
//! is taken out, so a consumer that dies in between leaves a claim that its death undoes) and 2.

use crate::queue::cell::{Entry, short_of};
use crate::slot::{Redeem, SlotWords};
use crate::sync::{Mutation, Ordering, mutated};
use crate::word::{ANYBODY, LaneWord, SlotState, StateWord};

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// It is for anybody, and this call has claimed it: no other will return it.
    Claimed(u64),
    /// The seat may redeem it, and so may its other threads.
    Addressed(u64),
    /// It was revoked while this call claimed it: the seat has to release it.
    Withdrawn(u64),
    /// Not the seat's, and somebody else may still want it.
    Elsewhere,
    /// Somebody has claimed it, and may be on the way to take it out.
    Taken,
    /// Nobody can redeem it any more.
    Stale,
}

/// Looks at what `entry` names for a work queue, and claims it for `seat` if it is for anybody.
#[inline]
pub(crate) fn claim(words: SlotWords<'_>, entry: Entry, seat: usize) -> Verdict {
    let found = words.load();
    let generation = found.generation();
    match party_to(found, entry) {
        None => Verdict::Stale,
        Some(0) => addressed(words, seat, generation),
        // Winning the exchange is what counts, not the seat: other threads of this consumer have the
        // same one.
        Some(ANYBODY) => match words.claim_share(seat, generation) {
            Redeem::Granted => Verdict::Claimed(generation),
            Redeem::Withdrawn => Verdict::Withdrawn(generation),
            Redeem::Taken => Verdict::Taken,
            _ => Verdict::Stale,
        },
        Some(party) if party == seat as u16 + 1 && mutated(Mutation::SeatIsClaim) => {
            Verdict::Claimed(generation)
        }
        Some(_) => Verdict::Taken,
    }
}

/// Looks at what `entry` names for a broadcast queue: its generation, if the seat may redeem it.
#[inline]
pub(crate) fn is_for(words: SlotWords<'_>, entry: Entry, seat: usize) -> Option<u64> {
    let found = words.load();
    let generation = found.generation();
    match party_to(found, entry)? {
        ANYBODY => Some(generation),
        0 if addressed(words, seat, generation) == Verdict::Addressed(generation) => {
            Some(generation)
        }
        _ => None,
    }
}

/// Whether a ticket may be put into a queue: shared, and not claimed by anybody. True also says whether
/// it is for anybody.
#[inline]
pub(crate) fn is_open(words: SlotWords<'_>, generation: u64) -> Option<bool> {
    let found = words.load();
    let open = found.is(SlotState::Shared)
        && found.generation() == generation
        && matches!(found.party(), 0 | ANYBODY);
    open.then_some(found.party() == ANYBODY)
}

/// The party of a shared slot that is still in the use that `entry` names.
#[inline]
fn party_to(found: StateWord, entry: Entry) -> Option<u16> {
    let shared = found.is(SlotState::Shared) && short_of(found.generation()) == entry.short;
    shared.then_some(found.party())
}

fn addressed(words: SlotWords<'_>, seat: usize, generation: u64) -> Verdict {
    if let Some((true, false)) = words.flags_of(seat, generation) {
        return Verdict::Addressed(generation);
    }
    let wanted = words.lanes.iter().any(|lane| {
        let word = LaneWord(lane.load(Ordering::Acquire));
        word.generation() == generation && word.pending() & !word.held() != 0
    });
    if wanted { Verdict::Elsewhere } else { Verdict::Stale }
}
