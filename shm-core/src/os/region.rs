//! A run of bytes that other processes may change at any moment, and the only ways to touch it.
//!
//! Upholds invariants 2 and 6: there is no slice over a region, only atomics and pointers for the
//! copy engine, all bounds-checked in release builds; and the region owns its pages.

use crate::copy::{self, CopyPath};
use crate::seqlock::Cell;
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

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Address of `len` bytes at `offset`.
    ///
    /// # Panics
    /// When they do not lie inside the region: offsets come from a geometry that was validated
    /// against the region's length, so this is a bug and not bad input.
    #[inline]
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> *mut u8 {
        let end = offset.checked_add(len).expect("offset overflows");
        assert!(end <= self.len, "bytes {offset}..{end} lie outside a region of {}", self.len);
        // SAFETY: `offset <= len`, so the pointer stays within (or one past) the mapped run.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// The atomics at `offset`, which must be aligned for them.
    #[inline]
    pub(crate) fn words<T: AtomicWords>(&self, offset: usize) -> &T {
        let at = self.bytes(offset, size_of::<T>()).cast::<T>();
        assert!(at.is_aligned(), "offset {offset} is not aligned to {}", align_of::<T>());
        // SAFETY: in bounds and aligned by the two checks, mapped for the lifetime of `self`; any
        // bytes are a `T`, and concurrent changes by anyone are what its atomics permit.
        unsafe { &*at }
    }

    /// The 64-bit word at `offset`, which must be a multiple of 8.
    #[inline]
    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        self.words(offset)
    }

    /// The 32-bit word at `offset`, which must be a multiple of 4.
    #[inline]
    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        self.words(offset)
    }

    /// Copies `data` to `offset`. The caller's mapping is writable there.
    #[inline]
    pub(crate) fn copy_in(&self, offset: usize, data: &[u8]) {
        let target = self.bytes(offset, data.len());
        // SAFETY: as many mapped bytes at `target` as `data` has, by the bounds check; peers may
        // access them, this process reaches them by atomics and copies only. `data` is borrowed,
        // so nobody writes it; a slice into the same region is a frame in place, which the writer
        // lends exclusively and which is never copied onto itself.
        unsafe { copy::copy_in(target, data.as_ptr(), data.len()) }
    }

    /// As `copy_in`, by a path that is available.
    pub(crate) fn copy_in_by(&self, path: CopyPath, offset: usize, data: &[u8]) {
        let target = self.bytes(offset, data.len());
        // SAFETY: as for `copy_in`; both sides may be reached from any thread.
        unsafe { copy::copy_with(path, target, data.as_ptr(), data.len()) }
    }

    /// Copies `out.len()` bytes from `offset`; they may be a mix of older and newer bytes.
    #[inline]
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) {
        let source = self.bytes(offset, out.len());
        // SAFETY: as for `copy_in`, with the roles exchanged.
        unsafe { copy::copy_out(out.as_mut_ptr(), source, out.len()) }
    }

    /// Stores `len` zero bytes at `offset`. The caller's mapping is writable there.
    pub(crate) fn fill_zero(&self, offset: usize, len: usize) {
        let target = self.bytes(offset, len);
        // SAFETY: `len` mapped bytes, by the bounds check; see `copy_in` for who else has access.
        unsafe { copy::fill_zero(target, len) }
    }
}

/// Types that may be borrowed from a region.
///
/// # Safety
/// Made of atomics only, so that any bytes are a value and anyone may change them at any time.
pub(crate) unsafe trait AtomicWords {}

// SAFETY: an atomic.
unsafe impl AtomicWords for AtomicU64 {}
// SAFETY: an atomic.
unsafe impl AtomicWords for AtomicU32 {}
// SAFETY: eight atomic words without padding, see its const assertion.
unsafe impl AtomicWords for Cell {}
