//! Several slots that are published, held and freed as one.
//!
//! The first slot speaks for all: its state decides, and it names the next part, which names the one
//! after it. Parts are `Linked` and belong to nobody else's affairs until the first slot is freed,
//! which frees them. Upholds invariants 1 (a producer killed at any point leaves all or none) and 7.

use crate::consumer::Consumer;
use crate::error::{LendError, PublishError, RedeemError};
use crate::fault;
use crate::grant::{Grant, Waiting};
use crate::lease::Lease;
use crate::ledger::{Ledger, record};
use crate::lent::{Audience, Slot};
use crate::line::RECHECK;
use crate::policy::{Policy, Wait};
use crate::pool::Pool;
use crate::reap::{link, short_of, unlink};
use crate::storage::{Host, Storage};
use crate::sync::Ordering;
use crate::ticket::Ticket;
use crate::word::SlotState;
use core::cmp::Reverse;
use shm_core::Deadline;
use std::time::{Duration, Instant};

/// Several slots that are published as one, or not at all. Dropping it gives all of them back.
#[derive(Debug)]
#[must_use = "dropping a batch publishes nothing"]
pub struct Batch<S: Storage = Host> {
    slots: Vec<Slot<S>>,
}

/// A consumer's hold on a batch. Released as one.
#[derive(Debug)]
pub struct BatchLease<S: Storage = Host> {
    first: Lease<S>,
    parts: Vec<Part>,
}

/// Where a part of a held batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of its slot.
    pub index: usize,
    /// Where it begins in the storage, in bytes.
    pub offset: usize,
    /// Bytes of it.
    pub byte_len: usize,
}

impl<S: Storage> Pool<S> {
    /// Lends a slot for each of `bytes`, all or none, in that order. The largest is placed first, each where
    /// it fits best, so that small ones do not cut up what a large one needs. Who has to wait stays in line,
    /// and keeps what it has got so far only while it is the first.
    ///
    /// # Errors
    /// As for [`Pool::lend`].
    pub fn lend_many(
        &self,
        bytes: &[usize],
        wait: Wait,
        policy: Policy,
    ) -> Result<Batch<S>, LendError> {
        if bytes.is_empty() {
            return Err(LendError::Nothing { name: self.name().to_owned() });
        }
        let whole: usize =
            bytes.iter().map(|&bytes| self.ledger().need_of(bytes.min(self.slot_size()))).sum();
        if bytes.len() > self.slots() || whole > self.ledger().layout.granules.max(self.slots()) {
            let found = bytes.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
            let most = self.capacity();
            return Err(LendError::TooLarge { name: self.name().to_owned(), most, found });
        }
        // The largest first: granted last, it might find all that is free cut up by the small ones.
        let mut order: Vec<usize> = (0..bytes.len()).collect();
        order.sort_by_key(|&part| Reverse(bytes[part]));
        let sorted: Vec<usize> = order.iter().map(|&part| bytes[part]).collect();
        let slots = match self.lend_all(&sorted, policy) {
            Err(LendError::Full { .. }) if policy != Policy::Fail && wait != Wait::Try => {
                self.wait_for_all(&sorted, wait.deadline(), policy)
            }
            outcome => outcome,
        };
        let mut placed: Vec<(usize, Slot<S>)> = order.into_iter().zip(slots?).collect();
        placed.sort_unstable_by_key(|(part, _)| *part);
        Ok(Batch { slots: placed.into_iter().map(|(_, slot)| slot).collect() })
    }

    fn lend_all(&self, sorted: &[usize], policy: Policy) -> Result<Vec<Slot<S>>, LendError> {
        let mut slots = Vec::with_capacity(sorted.len());
        for &bytes in sorted {
            let Some(slot) = self.try_lend(bytes, policy)? else {
                drop(slots);
                return self.lend_all_with_care(sorted)?.ok_or_else(|| self.full(bytes));
            };
            slots.push(slot);
        }
        Ok(slots)
    }

    /// A slot that comes at once may lie anywhere, and so be in the way of the next.
    fn lend_all_with_care(&self, sorted: &[usize]) -> Result<Option<Vec<Slot<S>>>, LendError> {
        let (needs, owner) = self.admit_all(sorted)?;
        Ok(self.ledger().grant_all(&needs, owner).map(|granted| self.granted(granted, sorted)))
    }

    fn admit_all(&self, sorted: &[usize]) -> Result<(Vec<usize>, u16), LendError> {
        let admitted: Result<Vec<(usize, u16)>, LendError> =
            sorted.iter().map(|&bytes| self.admit(bytes)).collect();
        let (needs, owners): (Vec<usize>, Vec<u16>) = admitted?.into_iter().unzip();
        Ok((needs, owners[0]))
    }

    fn granted(&self, granted: Vec<Grant>, sorted: &[usize]) -> Vec<Slot<S>> {
        let each = granted.into_iter().zip(sorted);
        each.map(|(grant, bytes)| Slot::new(self.core(), grant, *bytes)).collect()
    }

    fn wait_for_all(
        &self,
        sorted: &[usize],
        deadline: Deadline,
        policy: Policy,
    ) -> Result<Vec<Slot<S>>, LendError> {
        let (needs, owner) = self.admit_all(sorted)?;
        let mut line = InLine::new(self, needs, owner);
        let begun = Instant::now();
        loop {
            let left = deadline.remaining().map_or(RECHECK, |left| left.min(RECHECK));
            if line.nap(left) {
                return Ok(self.granted(core::mem::take(&mut line.held), sorted));
            }
            if self.is_retired() {
                return Err(LendError::Retired { name: self.name().to_owned() });
            }
            if policy == Policy::DropOldestUnread {
                self.ledger().make_room(&line.waiting);
            }
            if deadline.has_passed() {
                let missing = sorted[line.held.len().min(sorted.len() - 1)];
                return Err(self.timed_out(missing, line.largest(), begun));
            }
        }
    }
}

/// Somebody who waits for several slots, and holds some of them while being first in line. Dropping it
/// gives up the place and what is held.
struct InLine<'a> {
    ledger: &'a Ledger,
    waiting: Waiting,
    needs: Vec<usize>,
    held: Vec<Grant>,
}

impl<'a> InLine<'a> {
    fn new<S: Storage>(pool: &'a Pool<S>, needs: Vec<usize>, owner: u16) -> InLine<'a> {
        let ledger = pool.ledger();
        InLine { ledger, waiting: ledger.wait_for(needs[0], owner), needs, held: Vec::new() }
    }

    fn nap(&mut self, longest: Duration) -> bool {
        self.ledger.nap_for_all(&mut self.waiting, &self.needs, &mut self.held, longest)
    }

    fn largest(&self) -> usize {
        self.waiting.need
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.ledger.give_all_back(&mut self.held);
        self.ledger.stop_waiting(&mut self.waiting);
    }
}

impl<S: Storage> Batch<S> {
    /// The slots, in the order they were asked for.
    pub fn slots(&mut self) -> &mut [Slot<S>] {
        &mut self.slots
    }

    /// Publishes all of them in one step and returns the one ticket for all.
    ///
    /// # Errors
    /// As for [`Slot::publish`]; all are given back then.
    pub fn publish(mut self, audience: Audience) -> Result<Ticket, PublishError> {
        let core = self.slots[0].core().clone();
        let ledger = &core.ledger;
        for pair in self.slots.windows(2) {
            let next = link(pair[1].grant.slot, pair[1].grant.generation);
            let record = ledger.record(pair[0].grant.slot);
            // SYNC: chain. Release: who reads this sees that the slot is in use again.
            record[record::NEXT].store(next, Ordering::Release);
        }
        fault::hit("batch.linked");
        let parts = self.slots.len() as u32;
        let (first, rest) = self.slots.split_first_mut().expect("a batch has at least one slot");
        for part in rest.iter() {
            if !ledger.link_part(part.grant) {
                let slot = part.grant.slot;
                return Err(PublishError::Revoked { name: core.name(), slot });
            }
            fault::hit("batch.half");
        }
        first.share(audience)?;
        // From here on the first slot frees the others.
        for slot in &mut self.slots {
            slot.let_go();
        }
        Ok(self.slots[0].ticket(parts))
    }

    /// Gives all of them back, as dropping it does.
    pub fn abort(self) {}
}

impl<S: Storage> Consumer<S> {
    /// Takes hold of a whole batch.
    ///
    /// # Errors
    /// As for [`Consumer::redeem`]; nothing was changed then.
    pub fn redeem_batch(&self, ticket: &Ticket) -> Result<BatchLease<S>, RedeemError> {
        let slots = self.seated().core.ledger.layout.slots;
        if ticket.parts as usize > slots {
            // A chain that was made a circle would never end.
            let (name, slot) = (self.seated().core.name(), ticket.index as usize);
            let (expected, found) = (format!("at most {slots}"), ticket.parts.into());
            return Err(RedeemError::Damaged { name, slot, field: "parts", expected, found });
        }
        let first = self.redeem(ticket)?;
        let ledger = &self.seated().core.ledger;
        let mut parts =
            vec![Part { index: first.index(), offset: first.offset(), byte_len: first.byte_len() }];
        let mut at = first.index();
        while parts.len() < ticket.parts.max(1) as usize {
            let damaged = |field, expected: String, found| {
                Err(RedeemError::Damaged {
                    name: self.seated().core.name(),
                    slot: at,
                    field,
                    expected,
                    found,
                })
            };
            let next = ledger.record(at)[record::NEXT].load(Ordering::Relaxed);
            let Some((slot, short)) = unlink(next).filter(|(slot, _)| *slot < ledger.layout.slots)
            else {
                return damaged("next", "the next part of the batch".into(), next);
            };
            let state = ledger.slot(slot).load();
            if !state.is(SlotState::Linked) || short_of(state.generation()) != short {
                return damaged("state", format!("linked in generation {short}"), state.0);
            }
            let run = ledger.believed_run(slot, state.generation()).unwrap_or((0, 0));
            let (offset, capacity) = ledger.place_of(slot, run);
            let byte_len = ledger.byte_len_of(slot);
            if !(1..=capacity).contains(&byte_len) {
                return damaged("byte_len", format!("1..={capacity}"), byte_len as u64);
            }
            parts.push(Part { index: slot, offset, byte_len });
            at = slot;
        }
        Ok(BatchLease { first, parts })
    }
}

impl<S: Storage> BatchLease<S> {
    /// Where the parts lie, in the order they were lent.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Gives the batch back: this consumer is done with all of it.
    pub fn release(self) {
        self.first.release();
    }
}

impl BatchLease {
    /// A copy of the bytes of one part; `None` if there is no such part.
    pub fn to_vec(&self, part: usize) -> Option<Vec<u8>> {
        let part = self.parts.get(part)?;
        Some(self.first.copy_of(part.offset, part.byte_len))
    }

    /// Address of a part, 256-byte aligned, read-only, valid for as long as the lease; `None` if there
    /// is no such part.
    pub fn as_ptr(&self, part: usize) -> Option<*const u8> {
        let part = self.parts.get(part)?;
        Some(self.first.address_of(part.offset, part.byte_len))
    }
}
