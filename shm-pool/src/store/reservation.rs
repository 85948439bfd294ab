//! An entry in the hands of the worker that stores it.
//!
//! Upholds invariants 6 (it owns the mapping) and 7 (nobody sees it before it is committed, and it is
//! given back if it never is).

use super::error::{StoreError, TensorAccessError};
use super::header::{Placed, Plan};
use super::index::Spot;
use super::worker::{Worker, field};
use crate::bell::Call;
use crate::fault;
use crate::grant::Grant;
use crate::sync::Ordering;
use shm_core::{Element, TensorDesc, clock};
use std::sync::Arc;

/// The sole right to store a key, and the memory for it: fill the tensors, then
/// [commit](Reservation::commit). Dropping it gives both back, and nobody has seen anything.
///
/// The tensors hold the bytes of an earlier use, or zero, until they are filled: fill all of them.
#[derive(Debug)]
#[must_use = "dropping a reservation stores nothing"]
pub struct Reservation {
    worker: Arc<Worker>,
    grant: Grant,
    plan: Plan,
    offset: usize,
    spot: Option<Spot>,
    done: bool,
}

impl Reservation {
    /// Over memory that was granted, for a key that is not in the index yet.
    pub(super) fn new(worker: &Arc<Worker>, grant: Grant, plan: Plan, key: &[u8]) -> Reservation {
        let (offset, _) = worker.ledger().place_of(grant.slot, grant.run);
        let header = plan.encode(key);
        let target = worker.ledger().segment.payload(offset, header.len());
        // SAFETY: as many writable bytes at `target` as the header has (handles of stores have full
        // access), of a slot that is `Filling` in this process's name; `header` lies elsewhere.
        unsafe { shm_core::copy::copy_in(target, header.as_ptr(), header.len()) };
        Reservation { worker: worker.clone(), grant, plan, offset, spot: None, done: false }
    }

    pub(super) fn established(&mut self, spot: Spot) {
        self.spot = Some(Spot { cell: spot.cell.established(), ..spot });
    }

    /// Makes the entry readable for everybody, and wakes who waits for it.
    ///
    /// # Errors
    /// [`StoreError::Forked`]; [`StoreError::Damaged`] if the slot was taken away, which nobody does
    /// who follows the protocol. The reservation is given back then.
    pub fn commit(mut self) -> Result<(), StoreError> {
        self.worker.admit()?;
        let Grant { slot, generation, owner, .. } = self.grant;
        let ledger = self.worker.ledger();
        let (entry, now) = (ledger.entry(slot), clock::monotonic_ns());
        let expires = match ledger.layout.ttl_ns {
            0 => 0,
            ttl => now.saturating_add(ttl),
        };
        entry[field::EXPIRES].store(expires, Ordering::Relaxed);
        entry[field::USED].store(now, Ordering::Relaxed);
        entry[field::COMMITTED].store(now, Ordering::Relaxed);
        let words = ledger.slot(slot);
        if !words.commit(owner, generation) {
            let found = words.load().0;
            let (name, expected) = (self.worker.name(), "being filled by this worker".to_owned());
            return Err(StoreError::Damaged { name, slot, field: "state", expected, found });
        }
        self.done = true;
        fault::hit("store.committed");
        ledger.commits().ring(&ledger.segment, Call::All);
        Ok(())
    }

    /// Gives key and memory back, as dropping it does.
    pub fn abort(self) {}

    /// What the tensors are.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorDesc> {
        self.plan.tensors.iter().map(|placed| &placed.desc)
    }

    /// A tensor's elements, to be filled in place. 256-byte aligned.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`], [`TensorAccessError::Dtype`].
    pub fn tensor_mut<T: Element>(&mut self, index: usize) -> Result<&mut [T], TensorAccessError> {
        let desc = &self.placed(index)?.desc;
        let (expected, found) = (desc.dtype(), T::DTYPE);
        if expected != found {
            return Err(TensorAccessError::Dtype { index, expected, found });
        }
        // The bytes are as many elements, and aligned to 256 bytes.
        Ok(bytemuck::cast_slice_mut(self.tensor_bytes_mut(index)?))
    }

    /// A tensor's bytes, to be filled in place. 256-byte aligned.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`].
    pub fn tensor_bytes_mut(&mut self, index: usize) -> Result<&mut [u8], TensorAccessError> {
        let len = self.placed(index)?.desc.byte_len();
        let base = self.as_mut_ptr(index)?;
        // SAFETY: `len` writable bytes of a slot that is `Filling` in this process's name: by the
        // protocol nobody else touches it, and the mapping lives as long as `worker`. The exclusive
        // borrow is the only one in this process.
        Ok(unsafe { core::slice::from_raw_parts_mut(base, len) })
    }

    /// Fills a tensor with `data`, which has to have its length.
    ///
    /// # Errors
    /// [`TensorAccessError`].
    pub fn copy_tensor<T: Element>(
        &mut self,
        index: usize,
        data: &[T],
    ) -> Result<(), TensorAccessError> {
        let desc = &self.placed(index)?.desc;
        let (dtype, elements) = (desc.dtype(), desc.elements());
        if dtype != T::DTYPE {
            return Err(TensorAccessError::Dtype { index, expected: dtype, found: T::DTYPE });
        }
        if elements != data.len() {
            let (expected, found) = (elements, data.len());
            return Err(TensorAccessError::Length { index, expected, found });
        }
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let target = self.as_mut_ptr(index)?;
        // SAFETY: as many writable bytes at `target` as the tensor has, which `data` was just found to
        // have; `data` is borrowed and lies elsewhere, because the entry is borrowed exclusively.
        unsafe { shm_core::copy::copy_in(target, bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Address of a tensor, for callers outside Rust: as many writable bytes as the tensor has, for
    /// as long as this value lives.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`].
    pub fn as_mut_ptr(&mut self, index: usize) -> Result<*mut u8, TensorAccessError> {
        let placed = self.placed(index)?;
        let (offset, len) = (self.offset + placed.offset, placed.desc.byte_len());
        Ok(self.worker.ledger().segment.payload(offset, len))
    }

    /// Where a tensor begins in the store's memory, in bytes.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`].
    pub fn tensor_offset(&self, index: usize) -> Result<usize, TensorAccessError> {
        Ok(self.offset + self.placed(index)?.offset)
    }

    fn placed(&self, index: usize) -> Result<&Placed, TensorAccessError> {
        let tensors = self.plan.tensors.len();
        self.plan.tensors.get(index).ok_or(TensorAccessError::Index { index, tensors })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // In a forked child it is still the parent's.
        if self.done || !self.worker.is_at_home() {
            return;
        }
        let ledger = self.worker.ledger();
        if let Some(spot) = self.spot {
            ledger.keys().clear(spot);
        }
        ledger.give_back(self.grant);
    }
}
