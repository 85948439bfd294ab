//! Entries in the hands of a worker that reads them.
//!
//! Upholds invariants 2 (no reference into memory that a peer may write, unless the caller vouches for
//! the peers) and 6 (an entry owns its mapping, its lease and the worker's seat).

use super::error::{StoreError, TensorAccessError};
use super::header::Plan;
use super::worker::Worker;
use shm_core::{Dtype, Element, TensorDesc};
use std::sync::Arc;

/// The entries of several keys, in the order of the keys: leased, so that none of them is evicted or
/// replaced before it is released, which dropping does.
#[derive(Debug)]
pub struct Retrieved {
    entries: Vec<Entry>,
}

/// The lease on one entry, and what is in it.
#[derive(Debug)]
pub struct Entry {
    worker: Arc<Worker>,
    slot: usize,
    generation: u64,
    offset: usize,
    plan: Plan,
    touch: bool,
}

/// A tensor of a leased entry.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    entry: &'a Entry,
    index: usize,
}

impl Retrieved {
    pub(super) fn new(entries: Vec<Entry>) -> Retrieved {
        Retrieved { entries }
    }

    /// One entry per key.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to be released one by one.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// A tensor of the entry of a key, both by position.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`].
    ///
    /// # Panics
    /// If there are not so many keys.
    pub fn tensor(&self, key: usize, index: usize) -> Result<Tensor<'_>, TensorAccessError> {
        self.entries[key].tensor(index)
    }

    /// Gives all leases back.
    pub fn release(self) {}
}

impl Entry {
    /// What the entry that the caller has just leased says. `None` if it is another key's.
    pub(super) fn read(
        worker: &Arc<Worker>,
        slot: usize,
        generation: u64,
        key: &[u8],
    ) -> Result<Option<Entry>, StoreError> {
        let read = worker.ledger().read_header(slot, generation, |plan, found, offset| {
            (found == key).then_some((plan, offset))
        });
        match read {
            Ok(Some((plan, offset))) => {
                let worker = worker.clone();
                Ok(Some(Entry { worker, slot, generation, offset, plan, touch: true }))
            }
            Ok(None) => {
                worker.let_go(slot, generation, false);
                Ok(None)
            }
            Err((field, expected, found)) => {
                worker.let_go(slot, generation, false);
                let name = worker.name();
                Err(StoreError::Damaged { name, slot, field, expected, found })
            }
        }
    }

    /// Releases it as if it had not been leased.
    pub(super) fn forget(mut self) {
        self.touch = false;
    }

    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.plan.tensors.len()
    }

    /// True if it has no tensors, which no entry that was stored has.
    pub fn is_empty(&self) -> bool {
        self.plan.tensors.is_empty()
    }

    /// All tensors.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        (0..self.len()).map(|index| Tensor { entry: self, index })
    }

    /// One tensor.
    ///
    /// # Errors
    /// [`TensorAccessError::Index`].
    pub fn tensor(&self, index: usize) -> Result<Tensor<'_>, TensorAccessError> {
        match self.len() {
            tensors if index >= tensors => Err(TensorAccessError::Index { index, tensors }),
            _ => Ok(Tensor { entry: self, index }),
        }
    }

    /// Gives the lease back.
    pub fn release(self) {}
}

impl Drop for Entry {
    fn drop(&mut self) {
        // In a forked child it is still the parent's.
        if self.worker.is_at_home() {
            self.worker.let_go(self.slot, self.generation, self.touch);
        }
    }
}

impl<'a> Tensor<'a> {
    /// Dtype and shape.
    pub fn desc(&self) -> &'a TensorDesc {
        &self.entry.plan.tensors[self.index].desc
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.desc().dtype()
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.desc().shape()
    }

    /// Its length in bytes.
    pub fn byte_len(&self) -> usize {
        self.desc().byte_len()
    }

    /// Where it begins in the store's memory, in bytes.
    pub fn offset(&self) -> usize {
        self.entry.offset + self.entry.plan.tensors[self.index].offset
    }

    /// Its address, 256-byte aligned: as many readable bytes as it has, for as long as the lease.
    pub fn as_ptr(&self) -> *const u8 {
        self.entry.worker.ledger().segment.payload(self.offset(), self.byte_len())
    }

    /// One element.
    ///
    /// # Errors
    /// [`TensorAccessError::Element`], [`TensorAccessError::Dtype`].
    pub fn get<T: Element>(&self, element: usize) -> Result<T, TensorAccessError> {
        let mut out = [T::zeroed()];
        self.copy_range(element, &mut out)?;
        Ok(out[0])
    }

    /// Copies all elements out; `out` has to have its length.
    ///
    /// # Errors
    /// [`TensorAccessError::Length`], [`TensorAccessError::Dtype`].
    pub fn copy_to<T: Element>(&self, out: &mut [T]) -> Result<(), TensorAccessError> {
        let (index, expected, found) = (self.index, self.desc().elements(), out.len());
        if expected != found {
            return Err(TensorAccessError::Length { index, expected, found });
        }
        self.copy_range(0, out)
    }

    /// Copies `out.len()` elements from element `start` on.
    ///
    /// # Errors
    /// [`TensorAccessError::Element`] if they do not all exist, [`TensorAccessError::Dtype`].
    pub fn copy_range<T: Element>(
        &self,
        start: usize,
        out: &mut [T],
    ) -> Result<(), TensorAccessError> {
        self.check::<T>()?;
        let (index, elements) = (self.index, self.desc().elements());
        let end = start.saturating_add(out.len());
        if end > elements {
            return Err(TensorAccessError::Element { index, element: end - 1, elements });
        }
        self.copy_bytes(start * size_of::<T>(), bytemuck::cast_slice_mut(out));
        Ok(())
    }

    /// A copy of its bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.byte_len()];
        self.copy_bytes(0, &mut bytes);
        bytes
    }

    /// The elements in place.
    ///
    /// # Errors
    /// [`TensorAccessError::Dtype`].
    ///
    /// # Safety
    /// No process writes the tensor while the slice lives. Every process that uses the store through
    /// this library keeps to that for as long as the entry is leased.
    pub unsafe fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorAccessError> {
        self.check::<T>()?;
        let base = self.as_ptr().cast();
        // SAFETY: mapped for as long as the entry, 256-byte aligned, `elements` of them by the
        // description, which was checked against the chunk; any bytes are a `T`; nobody writes them, by
        // the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts(base, self.desc().elements()) })
    }

    fn check<T: Element>(&self) -> Result<(), TensorAccessError> {
        let (index, expected, found) = (self.index, self.dtype(), T::DTYPE);
        match expected == found {
            true => Ok(()),
            false => Err(TensorAccessError::Dtype { index, expected, found }),
        }
    }

    fn copy_bytes(&self, start: usize, out: &mut [u8]) {
        self.entry.worker.ledger().copy_payload(self.offset() + start, out);
    }
}

/// Leases go to the thread that needs them.
const _: () = {
    const fn sent_and_shared<T: Send + Sync>() {}
    sent_and_shared::<Retrieved>();
};
