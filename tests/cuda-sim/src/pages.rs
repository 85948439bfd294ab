//! Runs of pages that this process maps.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use crate::status::Result;

pub const PAGE: usize = 4096;

/// A mapping, gone when dropped. Addresses are kept as numbers: they cross threads and are only
/// turned into pointers where bytes are touched.
pub struct Pages {
    base: usize,
    len: usize,
}

impl Pages {
    /// Addresses that nothing may touch, which a host program that does so learns at once.
    pub fn reserve(len: usize, align: usize) -> Result<Self> {
        let len = len.next_multiple_of(PAGE);
        let spare = if align > PAGE { align } else { 0 };
        let whole = Self::anonymous(len + spare, ProtFlags::empty())?;
        let base = whole.base.next_multiple_of(align.max(PAGE));
        Ok(whole.keep(base, len))
    }

    /// Fresh host memory.
    pub fn fresh(len: usize) -> Result<Self> {
        Self::anonymous(len.next_multiple_of(PAGE), ProtFlags::READ | ProtFlags::WRITE)
    }

    /// The first `len` bytes of a shared file.
    pub fn shared(file: BorrowedFd<'_>, len: usize) -> Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: no address is asked for, so the kernel picks one where nothing is mapped.
        let base = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
        Ok(Self { base: base.expose_provenance(), len })
    }

    pub fn base(&self) -> usize {
        self.base
    }

    fn anonymous(len: usize, access: ProtFlags) -> Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: no address is asked for, so the kernel picks one where nothing is mapped.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), len, access, flags) }?;
        Ok(Self { base: base.expose_provenance(), len })
    }

    /// Only `len` bytes from `base`, which lie inside; the rest goes back.
    fn keep(mut self, base: usize, len: usize) -> Self {
        let before = Self { base: self.base, len: base - self.base };
        let after = Self { base: base + len, len: self.base + self.len - base - len };
        drop((before, after));
        (self.base, self.len) = (base, len);
        self
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let base = ptr::with_exposed_provenance_mut::<c_void>(self.base);
        // SAFETY: this value owns the range, and whoever uses its addresses holds this value.
        let gone = unsafe { munmap(base, self.len) };
        debug_assert!(gone.is_ok(), "whole pages that are mapped can be unmapped");
    }
}
