//! Byte locks of one handle: exclusion between the handle's own threads on top of the kernel's
//! exclusion between handles.
//!
//! Upholds invariant 3: holding is what the kernel says. The in-process bits exist because a
//! kernel lock belongs to the handle, which would grant it to itself a second time.

use super::{RawLocks, generation};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a handle can lock.
pub(crate) const BYTES: u64 = 256;

/// Held by the one process that may publish.
pub(crate) const WRITER: u64 = 0;
/// Shared by every attached handle; whoever gets it exclusively knows that nobody is attached.
pub(crate) const PRESENCE: u64 = 1;
/// Held while the file's name is taken away or given to another file.
pub(crate) const UNLINK: u64 = 2;
/// Participant `i` proves its life by holding byte `PARTICIPANT + i`.
pub(crate) const PARTICIPANT: u64 = 16;

/// The byte locks of one handle.
#[derive(Debug)]
pub(crate) struct Locks {
    raw: Box<dyn RawLocks>,
    held: [AtomicU64; (BYTES / 64) as usize],
    generation: AtomicU64,
}

impl Locks {
    pub(crate) fn new(raw: Box<dyn RawLocks>) -> Locks {
        let generation = AtomicU64::new(generation());
        Locks { raw, held: Default::default(), generation }
    }

    /// Takes `byte` exclusively, against other handles and against other threads of this one.
    pub(crate) fn try_exclusive(&self, byte: u64) -> io::Result<bool> {
        self.forget_locks_of_the_parent();
        let (word, bit) = self.bit(byte);
        if word.fetch_or(bit, Ordering::Acquire) & bit != 0 {
            return Ok(false);
        }
        let outcome = self.raw.try_exclusive(byte);
        if !matches!(outcome, Ok(true)) {
            word.fetch_and(!bit, Ordering::Release);
        }
        outcome
    }

    /// Gives back what `try_exclusive` took, unless this process is a fork of the one that took it.
    pub(crate) fn release(&self, byte: u64, taken_in: u64) {
        if taken_in != generation() {
            return;
        }
        // A failure to unlock cannot be answered here; closing the descriptor releases as well.
        let _ = self.raw.release(byte);
        let (word, bit) = self.bit(byte);
        word.fetch_and(!bit, Ordering::Release);
    }

    /// Shares `byte` for the life of the handle.
    pub(crate) fn share(&self, byte: u64) -> io::Result<bool> {
        self.raw.try_shared(byte)
    }

    /// Turns a shared byte into an exclusive one if no other handle shares it.
    pub(crate) fn try_upgrade(&self, byte: u64) -> io::Result<bool> {
        self.raw.try_exclusive(byte)
    }

    /// Tells whether `byte` is held by anybody, this handle included.
    pub(crate) fn is_held(&self, byte: u64) -> io::Result<bool> {
        self.forget_locks_of_the_parent();
        let (word, bit) = self.bit(byte);
        Ok(word.load(Ordering::Acquire) & bit != 0 || self.raw.is_held_elsewhere(byte)?)
    }

    fn bit(&self, byte: u64) -> (&AtomicU64, u64) {
        (&self.held[(byte / 64) as usize], 1 << (byte % 64))
    }

    fn forget_locks_of_the_parent(&self) {
        let now = generation();
        if self.generation.swap(now, Ordering::AcqRel) != now {
            for word in &self.held {
                word.store(0, Ordering::Release);
            }
        }
    }
}

/// An exclusively held byte, given back on drop.
pub(crate) struct LockGuard<'a> {
    locks: &'a Locks,
    byte: u64,
    taken_in: u64,
}

impl<'a> LockGuard<'a> {
    /// Takes `byte` of `locks` now, or tells that somebody else has it.
    pub(crate) fn try_new(locks: &'a Locks, byte: u64) -> io::Result<Option<LockGuard<'a>>> {
        let taken = locks.try_exclusive(byte)?;
        Ok(taken.then(|| LockGuard { locks, byte, taken_in: generation() }))
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.locks.release(self.byte, self.taken_in);
    }
}
