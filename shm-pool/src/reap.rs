//! Giving back what the dead had, and finishing what they left half done.
//!
//! Upholds invariants 1 and 3. Dead is who the kernel says is dead. Anybody may reap at any time, in
//! parallel and more than once, and may be killed or stopped while doing so: every step is an exchange
//! that compares generation or incarnation, so a reaper that comes late finds nothing to do.
//!
//! | of a dead               | becomes                                                              |
//! |-------------------------|----------------------------------------------------------------------|
//! | `Filling` slot          | free, exposing nothing                                               |
//! | publication             | stays readable; consumers that left meanwhile are taken off its list |
//! | consumer's flags        | cleared, in all slots and nobody else's                              |
//! | `Draining` slot         | drained to the end                                                   |
//! | `Evicting` entry        | back in the store, or drained if it had left the index               |
//! | place in the line       | taken off it                                                         |
//! | hint that was not given | given                                                                |

use crate::arena::tag;
use crate::fault;
use crate::layout::{Kind, at};
use crate::ledger::{Ledger, record};
use crate::member::{MEMBERS, MemberWord};
use crate::seat::Phase;
use crate::sync::{Ordering, fence_after_exchange};
use crate::word::{HOLDERS, SlotState, StateWord};
use shm_core::clock;
use std::time::Duration;

/// Those who are refused look for the dead at most this often.
const PACE: Duration = Duration::from_millis(1);

/// What one sweep gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reaped {
    /// Processes that had died.
    pub members: usize,
    /// Consumers that had died, or were leaving and did not get to the end.
    pub consumers: usize,
    /// Slots that came free.
    pub slots: u64,
}

/// A member that is dead, and which incarnation of the entry it was.
type Dead = (usize, MemberWord);

impl Ledger {
    /// Gives back what dead members had.
    pub(crate) fn reap(&self) -> Reaped {
        self.reap_among(MEMBERS)
    }

    /// As [`Ledger::reap`], as far as the pool's own count of members can be believed: for who looks
    /// often.
    pub(crate) fn reap_quickly(&self) -> Reaped {
        self.reap_among(self.members_used())
    }

    fn reap_among(&self, members: usize) -> Reaped {
        self.word(at::LAST_REAP).store(clock::monotonic_ns(), Ordering::Relaxed);
        let dead: Vec<Dead> = (0..members)
            .map(|member| (member, self.member_word(member)))
            .filter(|(member, word)| word.is_live() && !self.is_alive(*member))
            .collect();
        let mut reaped = Reaped { members: dead.len(), ..Reaped::default() };
        self.give_up_seats(&dead, &mut reaped);
        if !dead.is_empty() {
            reaped.slots += self.sweep(&dead);
            self.leave_the_line(&dead);
            self.reap_queues(&dead);
            for (member, incarnation) in dead {
                self.vacate(member, incarnation);
            }
            self.count(at::RECLAIMED, reaped.slots);
            self.wake_line();
        }
        reaped
    }

    fn give_up_seats(&self, dead: &[Dead], reaped: &mut Reaped) {
        for seat in 0..self.seats() {
            let word = self.seat_word(seat);
            let is_dead = || self.is_one_of(dead, word.member());
            if word.phase() == Phase::Leaving || word.phase() == Phase::Live && is_dead() {
                reaped.consumers += 1;
                reaped.slots += self.leave_seat(seat, word);
            }
        }
    }

    /// Whether a member, whose number was just read somewhere, is one of the dead. If the number is
    /// still the dead one's now, it was nobody else's then.
    fn is_one_of(&self, dead: &[Dead], number: usize) -> bool {
        dead.iter().any(|(member, incarnation)| {
            *member == number && self.member_word(*member) == *incarnation
        })
    }

    /// As [`Ledger::reap`], unless somebody has just done so.
    pub(crate) fn reap_paced(&self) {
        let last = self.word(at::LAST_REAP).load(Ordering::Relaxed);
        if clock::monotonic_ns().wrapping_sub(last) >= PACE.as_nanos() as u64 {
            self.reap_quickly();
        }
    }

    fn sweep(&self, dead: &[Dead]) -> u64 {
        let (mut freed, mut used) = (0, 0);
        for slot in 0..self.layout.slots {
            if slot == self.layout.slots / 2 {
                fault::hit("reap.half");
            }
            freed += u64::from(self.repair(slot, dead));
            used += u64::from(!self.slot(slot).load().is(SlotState::Free));
        }
        self.word(at::IN_USE).store(used, Ordering::Relaxed);
        let granules = self.arena().granules.iter();
        let claimed = granules.filter(|granule| granule.load(Ordering::Relaxed) != 0).count();
        let bytes = (claimed * self.layout.granule) as u64;
        self.word(at::IN_USE_BYTES).store(bytes, Ordering::Relaxed);
        freed
    }

    /// Brings one slot to where nobody dead has anything to do with it.
    fn repair(&self, slot: usize, dead: &[Dead]) -> bool {
        let words = self.slot(slot);
        let state = words.load();
        let generation = state.generation();
        let of_the_dead = |party: u16| self.is_one_of(dead, usize::from(party));
        match state.state() {
            Some(SlotState::Free) => {
                self.hints().put_back(slot);
                false
            }
            Some(SlotState::Filling) if of_the_dead(state.party()) => {
                words.exchange(state, state.with(SlotState::Draining, 0))
                    && self.finish(slot, generation, true)
            }
            Some(SlotState::Quarantined) if of_the_dead(state.party()) => {
                words.exchange(state, state.with(SlotState::Draining, 0))
                    && self.finish(slot, generation, true)
            }
            Some(SlotState::Shared) if state.party() == 0 => {
                self.forget_the_departed(slot, generation);
                // Its last consumer was killed between clearing its flag and freeing the slot.
                let drain = self.needs_draining(slot);
                words.free_if_done(generation, 0, drain) && self.finish(slot, generation, drain)
            }
            Some(SlotState::Quarantined) if state.party() == HOLDERS => {
                // Whoever revoked it may have been killed before it got to that.
                words.clear_unread(generation);
                let drain = self.needs_draining(slot);
                words.free_if_done(generation, 0, drain) && self.finish(slot, generation, drain)
            }
            Some(SlotState::Draining) => self.finish(slot, generation, true),
            Some(SlotState::Evicting) if of_the_dead(state.party()) => {
                match self.is_indexed(slot, generation) {
                    true => {
                        words.exchange(state, state.with(SlotState::Stored, 0));
                        false
                    }
                    false => {
                        words.exchange(state, state.with(SlotState::Draining, 0))
                            && self.finish(slot, generation, true)
                    }
                }
            }
            _ => false,
        }
    }

    /// Whether freeing the slot gives more back than the slot itself.
    #[inline]
    pub(crate) fn needs_draining(&self, slot: usize) -> bool {
        self.layout.kind == Kind::Chunks
            || self.record(slot)[record::NEXT].load(Ordering::Relaxed) != 0
    }

    /// Does what is left to do after a slot's last use: the caller's exchange has just made it free,
    /// or draining if `drain`. True if the slot was freed by this call.
    #[inline]
    pub(crate) fn finish(&self, slot: usize, generation: u64, drain: bool) -> bool {
        fault::hit("free.state");
        if drain && !self.drain(slot, generation) {
            return false;
        }
        self.count(at::FREED, 1);
        self.hints().put(slot);
        fault::hit("free.hinted");
        // SYNC: line. Pairs with the fence of a waiter between entering the line and looking.
        fence_after_exchange();
        if self.somebody_waits() {
            self.wake_line();
        }
        true
    }

    /// Gives back the granules of a draining slot, and the parts of its batch. True if this call
    /// made it free.
    #[cold]
    fn drain(&self, slot: usize, generation: u64) -> bool {
        // SYNC: chain. Acquire, and a look at the state afterwards: whoever was stopped for long must
        // not take the chain of a later use for this one's.
        let next = self.record(slot)[record::NEXT].load(Ordering::Acquire);
        if self.slot(slot).load() != StateWord::new(SlotState::Draining, generation, 0) {
            return false;
        }
        self.give_back_run(slot, generation);
        if next != 0 {
            for (part, generation) in self.parts_to_free(next) {
                self.give_back_run(part, generation);
                if self.slot(part).drained(generation) {
                    self.count(at::FREED, 1);
                    self.hints().put(part);
                }
            }
        }
        fault::hit("free.drained");
        self.slot(slot).drained(generation)
    }

    /// Marks what is left of the parts of a batch as draining, and returns them, the last one first:
    /// if they are freed in that order, whoever goes on for one that was killed finds the way to all
    /// that are left.
    fn parts_to_free(&self, mut next: u64) -> Vec<(usize, u64)> {
        let mut parts = Vec::new();
        // A damaged chain ends at the latest when every slot was met.
        for _ in 0..self.layout.slots {
            let Some((part, short)) = unlink(next) else { break };
            if part >= self.layout.slots {
                break;
            }
            let words = self.slot(part);
            let after = self.record(part)[record::NEXT].load(Ordering::Acquire);
            let state = words.load();
            // One that is free, or used for something else, was freed after those behind it.
            if short_of(state.generation()) != short {
                break;
            }
            match state.state() {
                Some(SlotState::Linked | SlotState::Filling) => {
                    if !words.exchange(state, state.with(SlotState::Draining, 0)) {
                        continue;
                    }
                }
                Some(SlotState::Draining) => {}
                _ => break,
            }
            parts.push((part, state.generation()));
            next = after;
        }
        parts.reverse();
        parts
    }

    fn give_back_run(&self, slot: usize, generation: u64) {
        if self.layout.kind != Kind::Chunks {
            return;
        }
        let run = self.run(slot);
        let arena = self.arena();
        let tag = tag(slot, generation);
        let freed = arena.clear(run.clone(), tag);
        if freed > 0 {
            let bytes = (freed * self.layout.granule) as u64;
            self.word(at::IN_USE_BYTES).fetch_sub(bytes, Ordering::Relaxed);
        }
        if freed == run.len() && freed > 0 {
            self.recent().put(run);
        }
    }
}

const SHORT_BITS: u32 = 39;

/// How a batch names its next part: the slot, and as much of the generation as fits.
pub(crate) fn link(slot: usize, generation: u64) -> u64 {
    (slot as u64 + 1) << SHORT_BITS | short_of(generation)
}

/// Slot and short generation of a link.
pub(crate) fn unlink(link: u64) -> Option<(usize, u64)> {
    let slot = (link >> SHORT_BITS) as usize;
    (slot != 0).then(|| (slot - 1, short_of(link)))
}

/// The part of a generation that a link has room for.
pub(crate) fn short_of(generation: u64) -> u64 {
    generation & ((1 << SHORT_BITS) - 1)
}

#[cfg(all(test, not(loom)))]
mod late;
