//! A registered region, and bytes lent from it.

use super::mapping::Mapping;
use crate::server::Refusal;
use crate::wire::RegionStatus;
use rustix::fd::OwnedFd;
use rustix::fs::fstat;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One registered region. Whoever lends bytes of it keeps the pages mapped.
#[derive(Debug)]
pub(super) struct Region {
    pub status: RegionStatus,
    /// Device and inode: whichever way the key is spelled.
    pub identity: (u64, u64),
    pub object: OwnedFd,
    pub mapping: Mapping,
    /// How many tensors are lent.
    lent: AtomicUsize,
}

impl Region {
    pub fn new(
        status: RegionStatus,
        identity: (u64, u64),
        object: OwnedFd,
        mapping: Mapping,
    ) -> Region {
        Region { status, identity, object, mapping, lent: AtomicUsize::new(0) }
    }

    /// True while a request uses it.
    pub fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Acquire) != 0
    }

    /// Refuses a region whose object its client has cut short.
    pub fn check(&self) -> Result<(), Refusal> {
        let name = &self.status.name;
        if self.mapping.is_damaged() {
            return Err(Refusal::invalid(format!(
                "shared memory region '{name}' is damaged: its object '{}' was cut short while in use; unregister the region and register it again",
                self.status.key
            )));
        }
        let end = self.status.offset + self.status.byte_size;
        let size = fstat(&self.object).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        if size < end {
            return Err(Refusal::invalid(format!(
                "shared memory region '{name}' needs {end} bytes of its object '{}', which now has {size}: it was cut short after registration; unregister the region and register it again",
                self.status.key
            )));
        }
        Ok(())
    }
}

/// Bytes of a registered region, for one tensor of one request.
pub(in crate::server) struct Lent {
    region: Arc<Region>,
    first: NonNull<u8>,
    len: usize,
}

// SAFETY: it keeps the region mapped and gives out raw pointers only.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// Called with the registry locked, so that a region that is found idle is not lent meanwhile.
    pub(super) fn new(region: &Arc<Region>, offset: u64, byte_size: u64) -> Result<Lent, Refusal> {
        let name = &region.status.name;
        let total = region.mapping.len() as u64;
        if offset > total || (offset == total && byte_size > 0) {
            return Err(Refusal::invalid(format!(
                "Invalid offset for shared memory region: '{name}': offset {offset}, and the region has {total} bytes"
            )));
        }
        if byte_size > total - offset {
            return Err(Refusal::invalid(format!(
                "Invalid offset + byte size for shared memory region: '{name}': offset {offset} + byte size {byte_size}, and the region has {total} bytes"
            )));
        }
        // SAFETY: the offset was just found to be inside of the mapping, or its end.
        let first = unsafe { region.mapping.first().add(offset as usize) };
        region.lent.fetch_add(1, Ordering::Relaxed);
        let lent = Lent { region: Arc::clone(region), first, len: byte_size as usize };
        lent.check()?;
        Ok(lent)
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.first.as_ptr()
    }

    pub fn as_non_null(&self) -> NonNull<u8> {
        self.first
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Refuses memory that its client has cut short. To be asked before every use, and after.
    pub fn check(&self) -> Result<(), Refusal> {
        self.region.check()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.region.lent.fetch_sub(1, Ordering::Release);
    }
}
