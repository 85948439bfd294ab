//! A slot in its producer's hands.
//!
//! Upholds invariants 6 (it owns the mapping) and 7 (nobody reads it before it is published, and it is
//! given back unread if it never is).

use crate::arena::tag;
use crate::error::{ElementError, PublishError};
use crate::fault;
use crate::grant::Grant;
use crate::layout::Kind;
use crate::ledger::{Ledger, record};
use crate::pool::Core;
use crate::slot::Readers;
use crate::storage::{Host, Storage};
use crate::sync::fence_after_exchange;
use crate::ticket::Ticket;
use crate::word::{SEATS_PER_LANE, SlotState};
use shm_core::{Element, fork_generation};
use std::sync::Arc;

/// Who has to acknowledge a publication before its slot is used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Every consumer that is present or expected: those who left or died are not waited for, those
    /// who have not joined yet are.
    #[default]
    Everyone,
    /// The consumers on those seats, one bit each.
    Seats(u64),
    /// Exactly one consumer: whoever redeems the ticket first.
    Any,
}

/// A slot that was lent: fill it, then [publish](Slot::publish) it. Dropping it gives it back, read by
/// nobody.
///
/// Its bytes are those of an earlier use, or zero.
#[derive(Debug)]
#[must_use = "dropping a slot publishes nothing"]
pub struct Slot<S: Storage = Host> {
    core: Arc<Core<S>>,
    pub(crate) grant: Grant,
    bytes: usize,
    offset: usize,
    capacity: usize,
    born: u64,
    done: bool,
}

impl<S: Storage> Slot<S> {
    #[inline]
    pub(crate) fn new(core: &Arc<Core<S>>, grant: Grant, bytes: usize) -> Slot<S> {
        let ledger = &core.ledger;
        let (offset, capacity) = ledger.place_of(grant.slot, grant.run);
        ledger.sign(grant, bytes, ledger.segment.pid());
        let (core, born) = (core.clone(), fork_generation());
        Slot { core, grant, bytes, offset, capacity, born, done: false }
    }

    /// Makes the slot readable for `audience` and returns the ticket that it is redeemed with.
    ///
    /// # Errors
    /// [`PublishError`]; the slot is given back then, read by nobody.
    #[inline]
    pub fn publish(mut self, audience: Audience) -> Result<Ticket, PublishError> {
        self.share(audience)?;
        self.done = true;
        Ok(self.ticket(1))
    }

    /// Gives the slot back, as dropping it does.
    pub fn abort(self) {}

    /// Number of the slot.
    pub fn index(&self) -> usize {
        self.grant.slot
    }

    /// Which use of the slot this is.
    pub fn generation(&self) -> u64 {
        self.grant.generation
    }

    /// Bytes that were asked for.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Bytes that the slot has.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where it begins in the storage, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn ticket(&self, parts: u32) -> Ticket {
        Ticket {
            instance: self.core.ledger.segment.instance(),
            generation: self.grant.generation,
            index: self.grant.slot as u32,
            parts,
            byte_len: self.bytes as u64,
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.core
    }

    /// The slot is not this value's to give back any more.
    pub(crate) fn let_go(&mut self) {
        self.done = true;
    }

    #[inline]
    pub(crate) fn share(&mut self, audience: Audience) -> Result<(), PublishError> {
        let slot = self.grant.slot;
        if self.born != fork_generation() {
            return Err(PublishError::Forked { name: self.core.name(), slot });
        }
        let ledger = &self.core.ledger;
        let mut lanes = [0; 8];
        let readers = ledger.readers(audience, &mut lanes).map_err(|why| self.refused(why))?;
        let Grant { generation, owner, .. } = self.grant;
        if !ledger.slot(slot).publish(owner, generation, readers) {
            return Err(PublishError::Revoked { name: self.core.name(), slot });
        }
        fault::hit("publish.shared");
        if audience != Audience::Any {
            // SYNC: audience. Pairs with the fence of a consumer that leaves.
            fence_after_exchange();
            if ledger.somebody_left(&lanes) {
                ledger.forget_the_departed(slot, generation);
            }
        }
        fault::hit("publish.done");
        Ok(())
    }

    #[cold]
    fn refused(&self, why: NoReaders) -> PublishError {
        let name = self.core.name();
        match why {
            NoReaders::NobodyThere => PublishError::NoConsumers { name },
            NoReaders::NobodyNamed => PublishError::Nobody { name },
            NoReaders::Absent(absent) => PublishError::Absent { name, absent },
        }
    }
}

/// Why nobody would read a publication.
pub(crate) enum NoReaders {
    NobodyThere,
    NobodyNamed,
    Absent(u64),
}

impl Ledger {
    /// Where a slot's memory lies in the storage, and how much there is.
    #[inline]
    pub(crate) fn place_of(&self, slot: usize, (start, len): (u32, u32)) -> (usize, usize) {
        match self.layout.kind {
            Kind::Slots => (slot * self.layout.slot_size, self.layout.slot_size),
            Kind::Chunks => {
                (start as usize * self.layout.granule, len as usize * self.layout.granule)
            }
        }
    }

    /// The granules that a record claims for a generation of a slot, if the table agrees.
    #[inline]
    pub(crate) fn believed_run(&self, slot: usize, generation: u64) -> Option<(u32, u32)> {
        if self.layout.kind == Kind::Slots {
            return Some((0, 0));
        }
        let run = self.run(slot);
        let (arena, tag) = (self.arena(), tag(slot, generation));
        let ends = [run.start, run.end.checked_sub(1)?];
        (!run.is_empty() && ends.iter().all(|&end| arena.is_owned(end..end + 1, tag)))
            .then_some((run.start as u32, run.len() as u32))
    }

    /// Who may redeem a publication for `audience`.
    #[inline]
    pub(crate) fn readers<'a>(
        &self,
        audience: Audience,
        lanes: &'a mut [u8; 8],
    ) -> Result<Readers<'a>, NoReaders> {
        let used = self.layout.lanes;
        let mut somebody = 0;
        for (lane, seats) in lanes[..used].iter_mut().enumerate() {
            *seats = self.present(lane);
            somebody |= *seats;
        }
        match audience {
            Audience::Any => return Ok(Readers::Anybody),
            Audience::Everyone if somebody == 0 => return Err(NoReaders::NobodyThere),
            Audience::Everyone => {}
            Audience::Seats(0) => return Err(NoReaders::NobodyNamed),
            Audience::Seats(named) => {
                let present = u64::from_le_bytes(*lanes);
                if named & !present != 0 {
                    return Err(NoReaders::Absent(named & !present));
                }
                *lanes = named.to_le_bytes();
            }
        }
        Ok(Readers::Seats(&lanes[..used]))
    }

    /// Whether any of those seats is not present any more.
    #[inline]
    pub(crate) fn somebody_left(&self, lanes: &[u8; 8]) -> bool {
        (0..self.layout.lanes).any(|lane| lanes[lane] & !self.present(lane) != 0)
    }

    /// Bytes that a slot was lent for.
    #[inline]
    pub(crate) fn byte_len_of(&self, slot: usize) -> usize {
        let bytes = self.record(slot)[record::BYTE_LEN].load(crate::sync::Ordering::Relaxed);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Marks a slot as a part of a batch.
    pub(crate) fn link_part(&self, grant: Grant) -> bool {
        let words = self.slot(grant.slot);
        let state = words.load();
        state.is(SlotState::Filling)
            && state.generation() == grant.generation
            && state.party() == grant.owner
            && words.exchange(state, state.with(SlotState::Linked, grant.owner))
    }
}

impl Slot {
    /// The bytes that were asked for, to be filled in place. 256-byte aligned.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let base = self.as_mut_ptr();
        // SAFETY: `bytes` writable bytes (lending takes full access) of a slot that is `Filling` in
        // this process's name: by the protocol nobody else touches it, and the mapping lives as long
        // as `core`. The exclusive borrow is the only one in this process. A revoked slot stays this
        // value's until it is dropped.
        unsafe { core::slice::from_raw_parts_mut(base, self.bytes) }
    }

    /// The slot as elements, to be filled in place.
    ///
    /// # Errors
    /// [`ElementError::Size`] if the length is no multiple of the element's.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], ElementError> {
        let (bytes, size) = (self.bytes, size_of::<T>());
        bytemuck::try_cast_slice_mut(self.bytes_mut())
            .map_err(|_| ElementError::Size { bytes, size })
    }

    /// Fills the slot with `data`, which has to have its length.
    ///
    /// # Errors
    /// [`ElementError::Length`].
    pub fn copy_from<T: Element>(&mut self, data: &[T]) -> Result<(), ElementError> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if bytes.len() != self.bytes {
            let expected = self.bytes / size_of::<T>();
            return Err(ElementError::Length { expected, found: data.len() });
        }
        // In two steps where a test may want to end the process between them.
        let split = if cfg!(feature = "testing") { bytes.len() / 2 } else { bytes.len() };
        let (target, (front, back)) = (self.as_mut_ptr(), bytes.split_at(split));
        // SAFETY: as many writable bytes at `target` as were lent, which `data` was just found to
        // have; `data` is borrowed and lies elsewhere, because the slot is borrowed exclusively.
        unsafe { shm_core::copy::copy_in(target, front.as_ptr(), front.len()) };
        fault::hit("fill.half");
        // SAFETY: as above, for the bytes behind the first part.
        unsafe { shm_core::copy::copy_in(target.add(split), back.as_ptr(), back.len()) };
        Ok(())
    }

    /// Address of the slot, for callers outside Rust: [`Slot::byte_len`] writable bytes for as long as
    /// this value lives.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.core.ledger.segment.payload(self.offset, self.bytes)
    }
}

impl<S: Storage> Drop for Slot<S> {
    fn drop(&mut self) {
        // In a forked child it is still the parent's.
        if !self.done && self.born == fork_generation() {
            self.core.ledger.give_back(self.grant);
        }
    }
}

const _: () = assert!(SEATS_PER_LANE == 8);
