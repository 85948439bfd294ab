//! A look at every slot, and a sentence about each.
//!
//! Upholds invariant 2: everything is read once, checked, and reported; nothing is changed.

use crate::arena::{tag, tenant};
use crate::layout::Kind;
use crate::ledger::{Ledger, record};
use crate::pool::Pool;
use crate::reap::unlink;
use crate::seat::Phase;
use crate::storage::Storage;
use crate::sync::Ordering;
use crate::word::{ANYBODY, HOLDERS, NOBODY, SlotState, StateWord};
use std::time::Duration;

/// What was found. [`Pool::fsck`] changes nothing; [`Pool::reap`] repairs what is repairable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fsck {
    /// Every slot.
    pub slots: Vec<SlotReport>,
    /// What is not as it should be, one sentence each. While others work, a slot may be seen between
    /// two states; what is still here at a second look is real.
    pub problems: Vec<String>,
}

impl Fsck {
    /// True if nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotReport {
    /// Its number.
    pub index: usize,
    /// What it is at; `None` if its word is none that this library writes.
    pub state: Option<SlotState>,
    /// Which use of it.
    pub generation: u64,
    /// Bytes it was lent for; 0 if it is free.
    pub byte_len: usize,
    /// How long it has been lent; zero if it is free.
    pub held_for: Duration,
    /// Process id of the producer; 0 if it is free.
    pub producer_pid: u32,
    /// Seats that have not released it, one bit each.
    pub waiting_for: u64,
    /// Of these, the seats that have begun to read, one bit each.
    pub held_by: u64,
    /// The same in words.
    pub explanation: String,
}

impl<S: Storage> Pool<S> {
    /// Explains every slot.
    pub fn fsck(&self) -> Fsck {
        self.ledger().fsck()
    }
}

impl Ledger {
    pub(crate) fn fsck(&self) -> Fsck {
        let mut fsck = Fsck::default();
        for slot in 0..self.layout.slots {
            let report = self.explain(slot, &mut fsck.problems);
            fsck.slots.push(report);
        }
        self.check_granules(&mut fsck.problems);
        for seat in 0..self.seats() {
            let word = self.seat_word(seat);
            if word.phase() != Phase::Vacant && !self.is_alive(word.member() % 256) {
                let pid = self.member_pid(word.member() % 256);
                fsck.problems.push(format!("seat {seat}: its consumer (pid {pid}) is dead; reap"));
            }
        }
        fsck
    }

    fn explain(&self, slot: usize, problems: &mut Vec<String>) -> SlotReport {
        let state = self.slot(slot).load();
        let (generation, named) = (state.generation(), state.state());
        let (waiting_for, held_by) = self.flags(slot, generation);
        let lent = named.is_some_and(|named| named != SlotState::Free);
        let producer_pid = self.producer_pid(slot);
        let mut problem = |what: String| problems.push(format!("slot {slot}: {what}"));
        let explanation = match named {
            None => {
                problem(format!("its state word {:#x} is none; it is never lent", state.0));
                "damaged, never lent".to_owned()
            }
            Some(SlotState::Free) => "free".to_owned(),
            Some(SlotState::Filling) => self.explain_filling(state, producer_pid, &mut problem),
            Some(SlotState::Shared) => {
                self.explain_shared(state, waiting_for, held_by, &mut problem)
            }
            Some(SlotState::Linked) => "part of a batch, freed with its first slot".to_owned(),
            Some(SlotState::Draining) => "being freed".to_owned(),
            Some(SlotState::Quarantined) => match state.party() {
                NOBODY => "set aside for good: its generations are used up".to_owned(),
                HOLDERS => format!("revoked; {} still hold it", seats(held_by)),
                _ => "revoked while it was being filled".to_owned(),
            },
            Some(SlotState::Stored) => format!("stored; leased by {}", seats(held_by)),
            Some(SlotState::Evicting) => "being taken out of the store".to_owned(),
        };
        self.check_chain(slot, named, &mut problem);
        SlotReport {
            index: slot,
            state: named,
            generation,
            byte_len: if lent { self.byte_len_of(slot) } else { 0 },
            held_for: if lent { self.held_for(slot) } else { Duration::ZERO },
            producer_pid: if lent { producer_pid } else { 0 },
            waiting_for,
            held_by,
            explanation,
        }
    }

    fn explain_filling(
        &self,
        state: StateWord,
        pid: u32,
        problem: &mut impl FnMut(String),
    ) -> String {
        let member = usize::from(state.party()) % 256;
        if !self.member_word(member).is_live() || !self.is_alive(member) {
            problem(format!("its producer (pid {pid}) is dead; reap"));
        }
        format!("being filled by process {pid}")
    }

    fn explain_shared(
        &self,
        state: StateWord,
        waiting_for: u64,
        held_by: u64,
        problem: &mut impl FnMut(String),
    ) -> String {
        match state.party() {
            ANYBODY => return "published for whoever is first".to_owned(),
            0 if waiting_for == 0 => problem("published, but for nobody; reap".to_owned()),
            _ => {}
        }
        let absent = (0..64).filter(|seat| waiting_for & 1 << seat != 0).fold(0, |absent, seat| {
            let there = self.present(seat / 8) & 1 << (seat % 8) != 0;
            if there { absent } else { absent | 1_u64 << seat }
        });
        if absent != 0 {
            problem(format!("waits for {}, who left; reap", seats(absent)));
        }
        format!("published; waits for {}, of whom {} hold it", seats(waiting_for), seats(held_by))
    }

    fn check_chain(&self, slot: usize, state: Option<SlotState>, problem: &mut impl FnMut(String)) {
        let next = self.record(slot)[record::NEXT].load(Ordering::Relaxed);
        if !matches!(state, Some(SlotState::Shared | SlotState::Linked)) || next == 0 {
            return;
        }
        match unlink(next) {
            Some((part, _)) if part < self.layout.slots => {
                if !self.slot(part).load().is(SlotState::Linked) {
                    problem(format!("its next part, slot {part}, is not linked"));
                }
            }
            _ => problem(format!("its link {next:#x} names no slot")),
        }
    }

    fn check_granules(&self, problems: &mut Vec<String>) {
        if self.layout.kind == Kind::Slots {
            return;
        }
        let mut orphans = 0;
        for granule in self.arena().granules {
            let Some((slot, generation)) = tenant(granule.load(Ordering::Relaxed)) else {
                continue;
            };
            let lent = slot < self.layout.slots && {
                let state = self.slot(slot).load();
                state.generation() == generation && !state.is(SlotState::Free)
            };
            orphans += usize::from(!lent);
        }
        if orphans > 0 {
            problems.push(format!("{orphans} granules belong to no slot that is lent"));
        }
        for slot in 0..self.layout.slots {
            let state = self.slot(slot).load();
            let whole = matches!(
                state.state(),
                Some(SlotState::Shared | SlotState::Linked | SlotState::Stored)
            );
            if whole && !self.arena().is_owned(self.run(slot), tag(slot, state.generation())) {
                // Unless it was freed between the two looks.
                if self.slot(slot).load() == state {
                    problems.push(format!("slot {slot}: not all granules of its run are its own"));
                }
            }
        }
    }
}

fn seats(mask: u64) -> String {
    match mask {
        0 => "nobody".to_owned(),
        mask => {
            let seats: Vec<String> =
                (0..64).filter(|seat| mask & 1 << seat != 0).map(|seat| seat.to_string()).collect();
            format!("seat {}", seats.join(", "))
        }
    }
}
