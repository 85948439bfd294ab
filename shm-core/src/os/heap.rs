//! A segment inside one process: for tests, for documentation, and for running one code path
//! whether or not a peer exists.
//!
//! Upholds the same contract as the other backings (invariants 1, 3 and 5), with threads as peers.

use super::region::{Pages, Region};
use super::{Backing, Locks, RawLocks};
use crate::event::Park;
use crate::sync::{AtomicU64, Ordering};
use parking_lot::{Condvar, Mutex};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

const PAGE: usize = 4096;

/// One allocation of `len` zero bytes, and its backing; `None` if there is not that much memory.
pub(crate) fn create(len: usize) -> Option<(Region, HeapBacking)> {
    let locks = Locks::new(Box::new(OneHandle));
    Some((allocate(len)?, HeapBacking { locks, sleepers: Sleepers::default() }))
}

fn allocate(len: usize) -> Option<Region> {
    let layout = Layout::from_size_align(len.max(PAGE), PAGE).ok()?;
    // SAFETY: the layout has a non-zero size.
    let base = unsafe { alloc_zeroed(layout) };
    let base = NonNull::new(base)?;
    let pages = Box::new(HeapPages { base, layout });
    // SAFETY: page aligned, `len` writable bytes until `pages` frees them.
    Some(unsafe { Region::new(base, len, pages) })
}

#[derive(Debug)]
struct HeapPages {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the allocation has no thread affinity, and the value only frees it.
unsafe impl Send for HeapPages {}
// SAFETY: nothing is reachable through a shared reference.
unsafe impl Sync for HeapPages {}

impl Pages for HeapPages {}

impl Drop for HeapPages {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate` with this layout, freed once.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// Locks and sleep of a process-local segment. There is exactly one handle on it, which all users
/// share, so the in-process bits of [`Locks`] are the whole exclusion.
#[derive(Debug)]
pub(crate) struct HeapBacking {
    locks: Locks,
    sleepers: Sleepers,
}

impl Backing for HeapBacking {
    fn locks(&self) -> &Locks {
        &self.locks
    }
    fn parker(&self) -> &(dyn Park<Timeout = Duration> + Send + Sync) {
        &self.sleepers
    }
    fn recheck(&self) -> Duration {
        Duration::from_millis(50)
    }
    fn inode(&self) -> Option<u64> {
        None
    }
    fn is_linked(&self) -> bool {
        true
    }
}

#[derive(Debug, Default)]
struct Sleepers {
    gate: Mutex<()>,
    woken: Condvar,
}

impl Park for Sleepers {
    type Timeout = Duration;

    fn park(&self, word: &AtomicU64, epoch: u32, timeout: Duration) {
        let mut guard = self.gate.lock();
        if word.load(Ordering::Acquire) as u32 == epoch {
            self.woken.wait_for(&mut guard, timeout);
        }
    }

    fn unpark(&self, _word: &AtomicU64, _count: u32) {
        // The events of a segment share one condition variable, so all sleepers look again.
        let _guard = self.gate.lock();
        self.woken.notify_all();
    }
}

#[derive(Debug)]
struct OneHandle;

impl RawLocks for OneHandle {
    fn try_exclusive(&self, _byte: u64) -> io::Result<bool> {
        Ok(true)
    }
    fn try_shared(&self, _byte: u64) -> io::Result<bool> {
        Ok(true)
    }
    fn release(&self, _byte: u64) -> io::Result<()> {
        Ok(())
    }
    fn is_held_elsewhere(&self, _byte: u64) -> io::Result<bool> {
        Ok(false)
    }
}
