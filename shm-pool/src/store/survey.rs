//! What a store is doing, in numbers and names.
//!
//! Upholds invariants 2 (nothing is believed, nothing is changed) and 3 in the negative: age is reported
//! and never acted upon.

use super::worker::Worker;
use crate::error::SlotHolder;
use crate::fsck::Fsck;
use crate::ledger::Ledger;
use crate::stats::Overdue;
use crate::word::SlotState;
use shm_core::clock;
use std::cmp::Reverse;
use std::time::Duration;

/// How many holders an error names.
const NAMED: usize = 8;

impl Worker {
    /// Who keeps entries from being taken out, longest first.
    pub(super) fn holders(&self) -> Vec<SlotHolder> {
        let ledger = self.ledger();
        let mut holders = Vec::new();
        for slot in 0..ledger.layout.slots {
            let state = ledger.slot(slot).load();
            match state.state() {
                Some(SlotState::Filling) => {
                    let member = usize::from(state.party()) % crate::member::MEMBERS;
                    let (pid, held_for) = (ledger.member_pid(member), ledger.held_for(slot));
                    holders.push(SlotHolder { pid, seat: None, slot, held_for });
                }
                Some(SlotState::Stored) => {
                    holders.extend(ledger.lessees(slot, state.generation()));
                }
                _ => {}
            }
        }
        holders.sort_by_key(|holder| Reverse(holder.held_for));
        holders.truncate(NAMED);
        holders
    }
}

impl Ledger {
    pub(super) fn entries_stored(&self) -> usize {
        let stored = |slot: &usize| self.slot(*slot).load().is(SlotState::Stored);
        (0..self.layout.slots).filter(stored).count()
    }

    /// Reservations and leases that are old.
    pub(super) fn overdue_entries(&self) -> Vec<Overdue> {
        let mut overdue = self.overdue();
        let now = clock::monotonic_ns();
        overdue.extend((0..self.layout.slots).filter_map(|slot| {
            let state = self.slot(slot).load();
            let age = now.saturating_sub(self.used(slot));
            let (waiting_for, held_by) = self.flags(slot, state.generation());
            let old = state.is(SlotState::Stored) && held_by != 0 && age >= self.layout.overdue_ns;
            old.then(|| Overdue {
                slot,
                state: SlotState::Stored,
                held_for: Duration::from_nanos(age),
                producer_pid: self.producer_pid(slot),
                waiting_for,
                held_by,
            })
        }));
        overdue.sort_by_key(|overdue| Reverse(overdue.held_for));
        overdue
    }

    /// As `fsck`, with a look at the index and the headers.
    pub(crate) fn fsck_entries(&self) -> Fsck {
        let mut fsck = self.fsck();
        for slot in 0..self.layout.slots {
            let state = self.slot(slot).load();
            let generation = state.generation();
            // Unless it was taken out between the looks.
            let still = || self.slot(slot).load() == state;
            if state.is(SlotState::Stored) && !self.is_indexed(slot, generation) && still() {
                fsck.problems.push(format!("entry {slot}: no cell of the index leads to it"));
            }
        }
        fsck
    }
}
