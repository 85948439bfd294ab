//! What the operating system lends a segment: pages, locks that die with their holder, and sleep.
//!
//! | backing    | pages                               | locks                     | sleep             |
//! |------------|-------------------------------------|---------------------------|-------------------|
//! | `linux`    | `shared_memory` creates, own `mmap` | OFD locks, one byte each  | futex, shared     |
//! | `portable` | `shared_memory`                     | `std::fs::File` locks     | `raw_sync` event  |
//! | `heap`     | one allocation of this process      | in-process                | condition variable|
//!
//! All three pass the same conformance suite. Upholds invariants 1, 3 and 5: a lock is released by
//! the kernel when its holder dies and never by a timer, and a sleeper is woken or re-checks.

use crate::event::Park;
use std::io;
use std::time::Duration;

pub(crate) mod heap;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
pub(crate) mod locks;
#[cfg(any(feature = "testing", not(target_os = "linux")))]
pub(crate) mod portable;
pub(crate) mod region;

#[cfg(target_os = "linux")]
pub use linux::NotInherited;
#[cfg(target_os = "linux")]
pub(crate) use linux::generation;
pub(crate) use locks::{LockGuard, Locks};
pub(crate) use region::Region;

/// Which part of a mapping the holder may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything: writers.
    Full,
    /// The control page only (arming a wake-up, the participant entry); header, frame headers and
    /// payload are mapped read-only: readers.
    Attached,
    /// Nothing, not even the file: observers. They wake by re-checking.
    ReadOnly,
}

/// Advisory locks on single bytes of a segment's file, released by the kernel when the holder dies.
pub(crate) trait RawLocks: Send + Sync + core::fmt::Debug {
    /// Takes the byte for this handle alone, if nobody else has it.
    fn try_exclusive(&self, byte: u64) -> io::Result<bool>;
    /// Takes the byte together with other sharers, if nobody has it exclusively.
    fn try_shared(&self, byte: u64) -> io::Result<bool>;
    /// Gives the byte back.
    fn release(&self, byte: u64) -> io::Result<()>;
    /// Tells whether another handle holds the byte in any way.
    fn is_held_elsewhere(&self, byte: u64) -> io::Result<bool>;
}

/// Everything a segment needs from its backing besides its pages.
pub(crate) trait Backing: core::fmt::Debug + Send + Sync {
    /// The byte locks of this handle.
    fn locks(&self) -> &Locks;
    /// Puts to sleep and wakes.
    fn parker(&self) -> &(dyn Park<Timeout = Duration> + Send + Sync);
    /// How long a sleeper may miss a wake-up that was lost to a killed peer.
    fn recheck(&self) -> Duration;
    /// Inode of the segment's file, if it has one.
    fn inode(&self) -> Option<u64>;
    /// False once the file has no name any more.
    fn is_linked(&self) -> bool;
    /// False once the file has fewer than `len` bytes: somebody else's doing, and touching what is
    /// missing would be a signal.
    fn reaches(&self, _len: u64) -> bool {
        true
    }
    /// False once the file has no name, or fewer than `len` bytes.
    fn is_intact(&self, _len: u64) -> bool {
        self.is_linked()
    }
}

/// How many forks lie between the first process and this one. Where `fork` is not watched, 0: a
/// handle is then not to be used on both sides of one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn generation() -> u64 {
    0
}
