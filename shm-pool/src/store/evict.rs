//! Taking entries out: to make room, because they are too old, or because somebody says so.
//!
//! What was not in use for longest goes first, what is too old before that. Who needs room looks at all
//! entries once, and remembers the oldest; an entry of that list that was used since is passed over,
//! and everything that is not on it was used later, so the order is exact and the look is paid once per
//! list. Entries that were leased at the look are looked at again with the next one: releasing a lease
//! counts as use. Upholds invariants 1, 3 (a lease of somebody who lives is never taken) and 8.

use super::error::StoreError;
use super::index::Hash;
use super::key;
use super::pins::Evict;
use super::worker::{Worker, field};
use crate::error::SlotHolder;
use crate::fault;
use crate::grant::Grant;
use crate::layout::at;
use crate::ledger::Ledger;
use crate::sync::Ordering;
use crate::word::{SlotState, StateWord};
use shm_core::clock;
use std::io;

/// How many entries one look remembers.
const REMEMBERED: usize = 2048;
/// So often the count of bytes is believed before it is checked.
const MAKE_SURE: u64 = 64;
/// Others may get in the way of one who removes an entry; so often in a row, somebody scribbles.
const TRIES: usize = 64;

/// Entries that go next, the first one last. Locked by the one thread of a handle that evicts, see
/// `SlotWords::end_evicting`.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    next: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// When it was last in use; 0 if it is too old.
    used: u64,
    slot: usize,
    state: StateWord,
}

impl Worker {
    /// Memory for an entry, right now: free, or of entries that are taken out for it. `None` if others
    /// wait for as much, or everything is in use.
    pub(super) fn find_room(&self, need: usize, member: u16) -> Option<Grant> {
        let ledger = self.ledger();
        // A full store is the usual case, and finding no room in it takes longer than making some.
        let mut search = ledger.seems_to_have_room(need) || self.is_to_make_sure();
        loop {
            if search && let Some(grant) = ledger.try_grant(need, member) {
                return Some(grant);
            }
            search = true;
            if ledger.somebody_waits_for(need) || !self.evict_one(member) {
                return None;
            }
        }
    }

    /// Now and then, when the count of bytes says that there is no room: a process that was killed may
    /// have left it too high.
    fn is_to_make_sure(&self) -> bool {
        self.full.fetch_add(1, Ordering::Relaxed).is_multiple_of(MAKE_SURE)
    }

    /// Takes entries out until there is room for who is first in line.
    pub(super) fn make_room(&self, need: usize, member: u16) {
        let ledger = self.ledger();
        let has_slot =
            || (0..ledger.layout.slots).any(|slot| ledger.slot(slot).load().is(SlotState::Free));
        while !(ledger.has_room(need) && has_slot()) {
            if !self.evict_one(member) {
                break;
            }
        }
    }

    /// Takes out the entry that was not in use for longest. False if there is none that nobody has.
    pub(super) fn evict_one(&self, member: u16) -> bool {
        let ledger = self.ledger();
        let mut candidates = self.candidates.lock();
        let mut looked = false;
        loop {
            let Some(candidate) = candidates.next.pop() else {
                if looked {
                    return false;
                }
                looked = true;
                candidates.next = ledger.oldest();
                continue;
            };
            let Candidate { used, slot, state } = candidate;
            let unused = used == 0 || ledger.used(slot) == used;
            if unused && self.take_out(&mut candidates, slot, state, member) == Evict::Draining {
                ledger.count(at::EVICTED, 1);
                return true;
            }
        }
    }

    /// Takes out the entry of a key's buckets that was not in use for longest, so that the key finds a
    /// cell. False if all of them are in use.
    pub(super) fn evict_neighbour(&self, hash: Hash, member: u16) -> bool {
        let ledger = self.ledger();
        let mut candidates = self.candidates.lock();
        let mut neighbours: Vec<Candidate> =
            ledger.keys().neighbours(hash).filter_map(|slot| ledger.candidate(slot)).collect();
        neighbours.sort_unstable_by_key(|candidate| candidate.used);
        neighbours.into_iter().any(|Candidate { slot, state, .. }| {
            let gone = self.take_out(&mut candidates, slot, state, member) == Evict::Draining;
            ledger.count(at::EVICTED, gone.into());
            gone
        })
    }

    /// Takes an entry out, unless somebody has it.
    pub(super) fn take_out(
        &self,
        _one_at_a_time: &mut Candidates,
        slot: usize,
        stored: StateWord,
        member: u16,
    ) -> Evict {
        let (ledger, generation) = (self.ledger(), stored.generation());
        let words = ledger.slot(slot);
        let entry = ledger.entry(slot);
        let cell = entry[field::CELL].load(Ordering::Relaxed);
        let hash = [field::HASH, field::HASH + 1].map(|half| entry[half].load(Ordering::Relaxed));
        if !words.begin_evicting(stored, member) {
            return Evict::Gone;
        }
        fault::hit("store.evicting");
        let outcome = words.end_evicting(generation, member);
        if outcome == Evict::Draining {
            ledger.keys().remove(slot, generation, hash, cell);
            fault::hit("store.unindexed");
            ledger.finish(slot, generation, true);
        }
        outcome
    }

    /// Takes an entry out by its key. True if it was there, and not too old.
    pub(super) fn remove(&self, key: &[u8]) -> Result<bool, StoreError> {
        self.admit()?;
        key::check(self.ledger().segment.name(), key)?;
        let (ledger, hash, member) = (self.ledger(), self.hasher.hash(key), self.member()?);
        for _ in 0..TRIES {
            let Some(found) = ledger.keys().find(hash) else { return Ok(false) };
            let (slot, generation) = (found.slot, found.state.generation());
            let mut candidates = self.candidates.lock();
            match found.state.state() {
                Some(SlotState::Stored) => {
                    let expired = ledger.is_expired(slot);
                    match self.take_out(&mut candidates, slot, found.state, member) {
                        Evict::Draining => return Ok(!expired),
                        Evict::Pinned => return Err(self.leased(key, slot, generation)),
                        Evict::Gone => {}
                    }
                }
                // Somebody else is at it, or was stopped at it: it is not out yet.
                Some(SlotState::Evicting) => {
                    let stored = found.state.with(SlotState::Stored, 0);
                    ledger.slot(slot).exchange(found.state, stored);
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Takes out everything that nobody has; how many that were.
    pub(super) fn clear(&self) -> Result<usize, StoreError> {
        self.admit()?;
        let (ledger, member) = (self.ledger(), self.member()?);
        let mut candidates = self.candidates.lock();
        let taken = (0..ledger.layout.slots)
            .filter(|&slot| {
                let state = ledger.slot(slot).load();
                state.is(SlotState::Stored)
                    && self.take_out(&mut candidates, slot, state, member) == Evict::Draining
            })
            .count();
        Ok(taken)
    }

    /// The number of this process in the store.
    pub(super) fn member(&self) -> Result<u16, StoreError> {
        let io = |source: io::Error| StoreError::Io { name: self.name(), source };
        self.ledger().own().map_err(io)
    }

    pub(super) fn leased(&self, key: &[u8], slot: usize, generation: u64) -> StoreError {
        let holders = self.ledger().lessees(slot, generation);
        StoreError::Leased { name: self.name(), key: key::shown(key), holders }
    }
}

impl Ledger {
    fn seems_to_have_room(&self, need: usize) -> bool {
        let used = self.counter(at::IN_USE_BYTES) / self.layout.granule.max(1) as u64;
        used.saturating_add(need as u64) <= self.layout.granules as u64
    }

    /// The entries that go next, the first one last.
    fn oldest(&self) -> Vec<Candidate> {
        let mut oldest: Vec<Candidate> =
            (0..self.layout.slots).filter_map(|slot| self.candidate(slot)).collect();
        if oldest.len() > REMEMBERED {
            oldest.select_nth_unstable_by_key(REMEMBERED, |candidate| candidate.used);
            oldest.truncate(REMEMBERED);
        }
        oldest.sort_unstable_by_key(|candidate| core::cmp::Reverse(candidate.used));
        oldest
    }

    /// An entry that nobody has.
    fn candidate(&self, slot: usize) -> Option<Candidate> {
        let words = self.slot(slot);
        let state = words.load();
        let free_to_go =
            state.is(SlotState::Stored) && words.is_unread_and_unheld(state.generation());
        let used = || if self.is_expired(slot) { 0 } else { self.used(slot) };
        free_to_go.then(|| Candidate { used: used(), slot, state })
    }

    /// Who has leases on an entry.
    pub(super) fn lessees(&self, slot: usize, generation: u64) -> Vec<SlotHolder> {
        let used = self.used(slot);
        let held_for = clock::monotonic_ns().saturating_sub(used);
        let held_for = std::time::Duration::from_nanos(held_for);
        let (_, held_by) = self.flags(slot, generation);
        (0..64)
            .filter(|seat| held_by & 1 << seat != 0)
            .map(|seat| {
                let pid = self.member_pid(self.seat_word(seat).member() % crate::member::MEMBERS);
                SlotHolder { pid, seat: Some(seat), slot, held_for }
            })
            .collect()
    }
}
