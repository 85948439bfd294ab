//! A run of bytes that other processes may change at any moment, and the only ways to touch it.
//!
//! Upholds invariants 2 and 6: there is no slice over a region, only atomics and pointers for the
//! copy engine, all bounds-checked in release builds; and the region owns its pages.

use crate::sync::{AtomicU32, AtomicU64};
use core::ptr::NonNull;

/// Keeps the pages of a region alive and releases them on drop.
pub(crate) trait Pages: Send + Sync + core::fmt::Debug {}

/// `len` readable bytes at `base`, valid for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    _pages: Box<dyn Pages>,
}

// SAFETY: `base` points to pages that `_pages` (Send) keeps mapped wherever the region is, and
// every access goes through atomics or the copy engine.
unsafe impl Send for Region {}
// SAFETY: as above; shared access from several threads is what the atomics are for.
unsafe impl Sync for Region {}

impl Region {
    /// # Safety
    /// * `base` is page aligned and `len` bytes from it are readable until `pages` is dropped.
    /// * Bytes that are not writable are never reached through an atomic that is stored to: the
    ///   segment layer knows its access and stores only where it may.
    pub(crate) unsafe fn new(base: NonNull<u8>, len: usize, pages: Box<dyn Pages>) -> Region {
        Region { base, len, _pages: pages }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Address of `len` bytes at `offset`.
    ///
    /// # Panics
    /// When they do not lie inside the region: offsets come from a geometry that was validated
    /// against the region's length, so this is a bug and not bad input.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> *mut u8 {
        let end = offset.checked_add(len).expect("offset overflows");
        assert!(end <= self.len, "bytes {offset}..{end} lie outside a region of {}", self.len);
        // SAFETY: `offset <= len`, so the pointer stays within (or one past) the mapped run.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The 64-bit word at `offset`, which must be a multiple of 8.
    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8), "offset {offset} is not aligned to 8");
        // SAFETY: in bounds and aligned by the two checks (the base is page aligned), mapped for
        // the lifetime of `self`; concurrent changes by anyone are what an atomic permits.
        unsafe { &*self.bytes(offset, 8).cast::<AtomicU64>() }
    }

    /// The 32-bit word at `offset`, which must be a multiple of 4.
    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "offset {offset} is not aligned to 4");
        // SAFETY: as for `word64`.
        unsafe { &*self.bytes(offset, 4).cast::<AtomicU32>() }
    }
}
