//! Creating a draft of a segment file, reserving its pages, and mapping it.
//!
//! Upholds invariants 4 (readers' mappings are read-only by the page table), 6 (the mapping lives
//! as long as its region) and 9 (mode 0600, created exclusively). `shared_memory` creates and
//! sizes the object; the mapping that stays is our own, because that gives one descriptor per
//! handle instead of two, which also carries the locks, and pages that were never writable in a
//! reader.

use super::directory::{self, FileIdentity};
use super::fork;
use super::futex::Futex;
use super::ofd::OfdLocks;
use crate::event::Park;
use crate::os::region::{Pages, Region};
use crate::os::{Access, Backing, Locks};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use shared_memory::{ShmemConf, ShmemError};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

/// From this payload size on, huge pages are asked for where the system offers them.
const HUGE_PAGE: usize = 2 << 20;

/// The descriptor of one handle: locks, identity and lifetime of a segment file.
#[derive(Debug)]
pub(crate) struct LinuxBacking {
    // Dropped before the descriptor below closes: see `fork`.
    locks: Locks,
    file: Arc<OwnedFd>,
    identity: FileIdentity,
}

impl LinuxBacking {
    /// Takes over a freshly opened descriptor; `None` if the process forked meanwhile.
    fn new(file: OwnedFd, opened_in: fork::Epoch) -> Result<Option<LinuxBacking>, Errno> {
        let identity = directory::identify(&file)?;
        let file = Arc::new(file);
        let raw = OfdLocks::new(file.clone(), opened_in);
        Ok(raw.map(|raw| LinuxBacking { locks: Locks::new(Box::new(raw)), file, identity }))
    }

    /// The file.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// What the file was when it was opened.
    pub(crate) fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Reserves all pages now, so that a full file system is an error and never a signal.
    pub(crate) fn reserve(&self, len: u64) -> Result<(), Errno> {
        loop {
            match rustix::fs::fallocate(&*self.file, FallocateFlags::empty(), 0, len) {
                Err(Errno::INTR) => continue,
                outcome => return outcome,
            }
        }
    }
}

impl Backing for LinuxBacking {
    fn locks(&self) -> &Locks {
        &self.locks
    }
    fn parker(&self) -> &(dyn Park<Timeout = Duration> + Send + Sync) {
        &Futex
    }
    fn recheck(&self) -> Duration {
        Duration::from_millis(50)
    }
    fn inode(&self) -> Option<u64> {
        Some(self.identity.inode)
    }
    fn is_linked(&self) -> bool {
        directory::identify(&self.file).is_ok_and(|found| found.links > 0)
    }
    fn reaches(&self, len: u64) -> bool {
        directory::identify(&self.file).is_ok_and(|found| found.len >= len)
    }
    fn is_intact(&self, len: u64) -> bool {
        directory::identify(&self.file).is_ok_and(|found| found.links > 0 && found.len >= len)
    }
}

/// Creates the file `draft`, `len` zero bytes, not yet reserved.
pub(crate) fn create_draft(draft: &str, len: usize) -> io::Result<LinuxBacking> {
    loop {
        let mut created = ShmemConf::new()
            .os_id(format!("/{draft}"))
            .size(len)
            .create()
            .map_err(shared_memory_error)?;
        // From here on the name is ours to remove, and never that of a dropped mapping.
        created.set_owner(false);
        let opened_in = fork::epoch();
        if let Some(backing) = LinuxBacking::new(directory::open(draft, true)?, opened_in)? {
            return Ok(backing);
        }
        directory::remove(draft)?;
    }
}

/// Opens the file `name` for the given access.
pub(crate) fn attach(name: &str, access: Access) -> Result<LinuxBacking, Errno> {
    loop {
        let opened_in = fork::epoch();
        let file = directory::open(name, access != Access::ReadOnly)?;
        if let Some(backing) = LinuxBacking::new(file, opened_in)? {
            return Ok(backing);
        }
    }
}

impl LinuxBacking {
    /// Maps `len` bytes of the file, which still has the name `name`; with [`Access::Attached`] only
    /// `control` is writable. [`Errno::STALE`] if the name leads to another file, or to none, by now.
    ///
    /// A mapping keeps its open file description alive, and with it the description's locks: in a
    /// forked child they would outlive the parent. So the pages come from a description of their own,
    /// which never holds a lock.
    pub(crate) fn map(
        &self,
        name: &str,
        len: usize,
        access: Access,
        control: Range<usize>,
    ) -> io::Result<Region> {
        let file = match directory::open(name, access != Access::ReadOnly) {
            Err(Errno::NOENT) => return Err(Errno::STALE.into()),
            outcome => outcome?,
        };
        let found = directory::identify(&file)?;
        if (found.device, found.inode) != (self.identity.device, self.identity.inode) {
            return Err(Errno::STALE.into());
        }
        let protection = match access {
            Access::Full => ProtFlags::READ | ProtFlags::WRITE,
            Access::Attached | Access::ReadOnly => ProtFlags::READ,
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0)?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let pages = Box::new(MappedPages { base, len });
        if access == Access::Attached {
            pages.make_writable(control)?;
        }
        if len >= HUGE_PAGE {
            // A wish: refused where the file system has no huge pages.
            // SAFETY: the whole of the mapping above; the advice does not change its contents.
            let _ =
                unsafe { rustix::mm::madvise(base.as_ptr().cast(), len, Advice::LinuxHugepage) };
        }
        // SAFETY: page aligned, `len` bytes mapped until `pages` unmaps them. The file was reserved
        // in full at creation and its length was compared with `len` before.
        Ok(unsafe { Region::new(base, len, pages) })
    }
}

fn shared_memory_error(error: ShmemError) -> io::Error {
    match error {
        ShmemError::MapCreateFailed(code) | ShmemError::UnknownOsError(code) => {
            io::Error::from_raw_os_error(code as i32)
        }
        other => io::Error::other(other),
    }
}

#[derive(Debug)]
struct MappedPages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping has no thread affinity, and the value only changes protection and unmaps.
unsafe impl Send for MappedPages {}
// SAFETY: nothing is reachable through a shared reference.
unsafe impl Sync for MappedPages {}

impl MappedPages {
    fn make_writable(&self, pages: Range<usize>) -> io::Result<()> {
        assert!(pages.end <= self.len, "the control page lies inside the segment");
        // SAFETY: the range lies inside this mapping, and nothing has been reached through it yet.
        unsafe {
            let start = self.base.as_ptr().add(pages.start);
            let writable = MprotectFlags::READ | MprotectFlags::WRITE;
            Ok(rustix::mm::mprotect(start.cast(), pages.len(), writable)?)
        }
    }
}

impl Pages for MappedPages {}

impl Drop for MappedPages {
    fn drop(&mut self) {
        // SAFETY: this mapping, made in `map`, unmapped once; the region that lent its bytes is
        // being dropped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
