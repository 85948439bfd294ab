//! Pages of a client's object in this process.

use super::guard::{self, Watched};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr::NonNull;

/// A mapping of part of an object: unmapped when dropped, never moved.
#[derive(Debug)]
pub(super) struct Mapping {
    first: NonNull<u8>,
    len: usize,
    /// `None` only while it is being unmapped, and where there is no guard.
    watched: Option<Watched>,
}

// SAFETY: pages of the process; it gives out raw pointers only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Why an object could not be mapped.
#[derive(Debug)]
pub(super) enum MapError {
    System(Errno),
    /// The guard's table is full.
    TooMany,
}

impl Mapping {
    /// Maps `len` bytes, at least one, from `offset`, a multiple of the page size.
    pub fn new(
        object: impl AsFd,
        offset: u64,
        len: usize,
        guarded: bool,
    ) -> Result<Mapping, MapError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory that is in use.
        let first = unsafe {
            mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, object, offset)
        }
        .map_err(MapError::System)?;
        let first = NonNull::new(first.cast()).expect("the kernel maps nothing at null unasked");
        let mut mapping = Mapping { first, len, watched: None };
        if guarded {
            mapping.watched = Some(guard::watch(first, len).ok_or(MapError::TooMany)?);
        }
        Ok(mapping)
    }

    pub fn first(&self) -> NonNull<u8> {
        self.first
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// True once an access found that the object had been cut short: zeros took the place of its pages.
    pub fn is_damaged(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_damaged)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The guard must not put pages where something else may soon be mapped.
        self.watched = None;
        // SAFETY: these pages are this mapping's own since `new`, and whoever lends bytes of them keeps
        // the mapping alive.
        let unmapped = unsafe { munmap(self.first.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
