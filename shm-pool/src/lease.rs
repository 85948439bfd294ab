//! A published slot in a consumer's hands.
//!
//! Upholds invariants 2 (no reference into memory that a peer may write, unless the caller vouches for
//! the peers), 4 and 6 (a lease owns its mapping and its seat).

use crate::consumer::Seated;
use crate::error::{ElementError, RedeemError};
use crate::layout::at;
use crate::slot::Release;
use crate::storage::{Host, Storage};
use shm_core::{Element, fork_generation};
use std::sync::Arc;

/// A consumer's hold on a publication: the slot is not used again before it is released, which dropping
/// does.
///
/// Producers that follow the protocol do not write while it is held, so what is read is what was
/// published. A process that does not follow it may; the safe methods stay sound even then, because
/// they copy.
#[derive(Debug)]
pub struct Lease<S: Storage = Host> {
    seated: Arc<Seated<S>>,
    slot: usize,
    generation: u64,
    offset: usize,
    bytes: usize,
    done: bool,
}

impl<S: Storage> Lease<S> {
    /// The hold that was just taken on a slot, whose record has to make sense.
    #[inline]
    pub(crate) fn new(
        seated: &Arc<Seated<S>>,
        slot: usize,
        generation: u64,
    ) -> Result<Lease<S>, RedeemError> {
        let ledger = &seated.core.ledger;
        let run = ledger.believed_run(slot, generation).unwrap_or((0, 0));
        let (offset, capacity) = ledger.place_of(slot, run);
        let bytes = ledger.byte_len_of(slot);
        let seated = seated.clone();
        // From here on dropping it releases it.
        let lease = Lease { seated, slot, generation, offset, bytes, done: false };
        match bytes <= capacity && bytes > 0 {
            true => Ok(lease),
            false => Err(RedeemError::Damaged {
                name: lease.seated.core.name(),
                slot,
                field: "byte_len",
                expected: format!("1..={capacity}"),
                found: bytes as u64,
            }),
        }
    }

    /// Gives the publication back: this consumer is done with it.
    #[inline]
    pub fn release(mut self) {
        self.let_go();
    }

    /// Number of the slot.
    pub fn index(&self) -> usize {
        self.slot
    }

    /// Which use of the slot this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes of the publication.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Where it begins in the storage, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    fn let_go(&mut self) {
        // In a forked child it is still the parent's.
        if core::mem::replace(&mut self.done, true) || self.seated.born != fork_generation() {
            return;
        }
        let ledger = &self.seated.core.ledger;
        if ledger.release(self.slot, self.generation, self.seated.seat) == Release::NotHeld {
            ledger.count(at::LATE, 1);
        }
    }
}

impl<S: Storage> Drop for Lease<S> {
    #[inline]
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Lease {
    /// Address of the publication, 256-byte aligned, read-only, valid for as long as the lease.
    pub fn as_ptr(&self) -> *const u8 {
        self.seated.core.ledger.segment.payload(self.offset, self.bytes)
    }

    /// Number of elements of type `T`.
    ///
    /// # Errors
    /// [`ElementError::Size`] if the length is no multiple of the element's.
    pub fn elements<T: Element>(&self) -> Result<usize, ElementError> {
        let (bytes, size) = (self.bytes, size_of::<T>());
        match bytes.is_multiple_of(size) {
            true => Ok(bytes / size),
            false => Err(ElementError::Size { bytes, size }),
        }
    }

    /// One element.
    ///
    /// # Errors
    /// [`ElementError::Index`], [`ElementError::Size`].
    #[inline]
    pub fn get<T: Element>(&self, index: usize) -> Result<T, ElementError> {
        let elements = self.elements::<T>()?;
        if index >= elements {
            return Err(ElementError::Index { index, elements });
        }
        let mut element = T::zeroed();
        self.copy_out(index * size_of::<T>(), bytemuck::bytes_of_mut(&mut element));
        Ok(element)
    }

    /// All elements, each copied out when it is its turn.
    ///
    /// # Errors
    /// [`ElementError::Size`].
    pub fn iter<T: Element>(&self) -> Result<impl ExactSizeIterator<Item = T> + '_, ElementError> {
        let elements = self.elements::<T>()?;
        Ok((0..elements).map(|index| {
            let mut element = T::zeroed();
            self.copy_out(index * size_of::<T>(), bytemuck::bytes_of_mut(&mut element));
            element
        }))
    }

    /// Copies everything out; `out` has to have its length.
    ///
    /// # Errors
    /// [`ElementError::Length`].
    pub fn copy_to<T: Element>(&self, out: &mut [T]) -> Result<(), ElementError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(out);
        if bytes.len() != self.bytes {
            let expected = self.bytes / size_of::<T>();
            return Err(ElementError::Length { expected, found: out.len() });
        }
        self.copy_out(0, bytes);
        Ok(())
    }

    /// Copies `out.len()` elements from element `start` on.
    ///
    /// # Errors
    /// [`ElementError::Index`] if they do not all exist.
    pub fn copy_range<T: Element>(&self, start: usize, out: &mut [T]) -> Result<(), ElementError> {
        let elements = self.elements::<T>()?;
        match start.checked_add(out.len()) {
            Some(end) if end <= elements => {
                self.copy_out(start * size_of::<T>(), bytemuck::cast_slice_mut(out));
                Ok(())
            }
            _ => Err(ElementError::Index { index: start.max(elements), elements }),
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes];
        self.copy_out(0, &mut bytes);
        bytes
    }

    /// The elements in place.
    ///
    /// # Errors
    /// [`ElementError::Size`].
    ///
    /// # Safety
    /// No process writes the slot while the slice lives. Every process that uses the pool through this
    /// library keeps to that for as long as the lease is held.
    pub unsafe fn as_slice<T: Element>(&self) -> Result<&[T], ElementError> {
        let elements = self.elements::<T>()?;
        // SAFETY: mapped for as long as the lease, 256-byte aligned, `elements` of them by the line
        // above; any bytes are a `T`; nobody writes them, by the caller's promise.
        Ok(unsafe { core::slice::from_raw_parts(self.as_ptr().cast(), elements) })
    }

    /// A copy of `len` bytes of the storage.
    pub(crate) fn copy_of(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.copy_from_storage(offset, &mut bytes);
        bytes
    }

    /// Address of `len` bytes of the storage.
    pub(crate) fn address_of(&self, offset: usize, len: usize) -> *const u8 {
        self.seated.core.ledger.segment.payload(offset, len)
    }

    #[inline]
    fn copy_out(&self, offset: usize, out: &mut [u8]) {
        self.copy_from_storage(self.offset + offset, out);
    }

    #[inline]
    fn copy_from_storage(&self, offset: usize, out: &mut [u8]) {
        let source = self.address_of(offset, out.len());
        // SAFETY: `out.len()` mapped bytes at `source`, by the check in `payload`; others may write
        // them, which `copy_out` is made for; `out` is borrowed exclusively.
        unsafe { shm_core::copy::copy_out(out.as_mut_ptr(), source, out.len()) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Audience, Policy, Pool, PoolConfig, RedeemError, Wait};

    #[test]
    fn a_record_that_points_at_anothers_memory_is_not_believed() {
        let pool = Pool::process_local("test-run", &PoolConfig::chunks(1 << 20).unwrap()).unwrap();
        let consumer = pool.consumer().unwrap();
        let publish = || {
            let slot = pool.lend(10_000, Wait::Try, Policy::Fail).unwrap();
            slot.publish(Audience::Everyone).unwrap()
        };
        let (mine, others) = (publish(), publish());
        let ledger = pool.ledger();
        ledger.set_run(mine.index as usize, ledger.run(others.index as usize));
        let refused = consumer.redeem(&mine).unwrap_err();
        assert!(matches!(refused, RedeemError::Damaged { .. }), "{refused}");
        assert!(consumer.redeem(&others).is_ok());
    }
}
