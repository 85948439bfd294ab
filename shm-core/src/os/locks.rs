//! Byte locks of one handle: exclusion between the handle's own threads on top of the kernel's
//! exclusion between handles.
//!
//! Upholds invariant 3: holding is what the kernel says. The in-process bits exist because a
//! kernel lock belongs to the handle, which would grant it to itself a second time.

use super::{RawLocks, generation};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a handle can lock.
pub(crate) const BYTES: u64 = 1024;

/// Shared by every attached handle; whoever gets it exclusively knows that nobody is attached.
pub(crate) const PRESENCE: u64 = 1;
/// Held while the file's name is taken away or given to another file.
pub(crate) const UNLINK: u64 = 2;
/// Participant `i` proves its life by holding byte `PARTICIPANT + i`.
pub(crate) const PARTICIPANT: u64 = 16;
/// From here on, bytes mean what the kind of segment says.
pub(crate) const KIND: u64 = 512;
/// The handle with identity `n` proves its life by holding byte `HOLDER + n`.
pub(crate) const HOLDER: u64 = 1 << 20;

/// Identities are below this: none is ever handed out twice, and their bytes fit a file offset.
const IDENTITIES: u64 = 1 << 47;
/// Low bits of the identity word: the process generation it belongs to.
const GENERATION_BITS: u32 = 16;
/// In place of an identity: a thread of this handle is about to have one.
const ON_THE_WAY: u64 = IDENTITIES;

/// The byte locks of one handle.
#[derive(Debug)]
pub(crate) struct Locks {
    raw: Box<dyn RawLocks>,
    held: [AtomicU64; (BYTES / 64) as usize],
    generation: AtomicU64,
    /// Identity and the generation it was claimed in; 0 before the first.
    identity: AtomicU64,
}

impl Locks {
    pub(crate) fn new(raw: Box<dyn RawLocks>) -> Locks {
        let generation = AtomicU64::new(generation());
        Locks { raw, held: Default::default(), generation, identity: AtomicU64::new(0) }
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

    /// Tells whether anybody, this handle included, has `byte` exclusively.
    pub(crate) fn is_held(&self, byte: u64) -> io::Result<bool> {
        self.forget_locks_of_the_parent();
        let (word, bit) = self.bit(byte);
        Ok(word.load(Ordering::Acquire) & bit != 0 || self.raw.is_held_elsewhere(byte)?)
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

    /// The identity under which this handle holds locks: a number that no other handle has or had,
    /// and whose byte the kernel keeps locked for as long as the handle lives in this process.
    /// `draw` hands out numbers from 1, each once.
    #[inline]
    pub(crate) fn identity(&self, draw: impl FnMut() -> u64) -> io::Result<u64> {
        let tag = generation() & ((1 << GENERATION_BITS) - 1);
        let word = self.identity.load(Ordering::Acquire);
        let known = word >> GENERATION_BITS;
        match word & ((1 << GENERATION_BITS) - 1) == tag && known != 0 && known != ON_THE_WAY {
            true => Ok(known),
            false => self.claim_identity(tag, draw),
        }
    }

    /// The identity that this handle has in this process, if it has one.
    fn own_identity(&self) -> Option<u64> {
        let word = self.identity.load(Ordering::Acquire);
        let tag = generation() & ((1 << GENERATION_BITS) - 1);
        let known = word >> GENERATION_BITS;
        (word & ((1 << GENERATION_BITS) - 1) == tag && known != 0).then_some(known)
    }

    #[cold]
    fn claim_identity(&self, tag: u64, mut draw: impl FnMut() -> u64) -> io::Result<u64> {
        let mut present = self.identity.load(Ordering::Acquire);
        loop {
            let (known, of) = (present >> GENERATION_BITS, present & ((1 << GENERATION_BITS) - 1));
            if known != 0 && known != ON_THE_WAY && of == tag {
                return Ok(known);
            }
            if known == ON_THE_WAY && of == tag {
                // Another thread is between two system calls.
                std::thread::yield_now();
                present = self.identity.load(Ordering::Acquire);
                continue;
            }
            let claim = ON_THE_WAY << GENERATION_BITS | tag;
            match self.identity.compare_exchange(
                present,
                claim,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(now) => present = now,
            }
        }
        let outcome = loop {
            // A drawn number whose byte somebody holds was handed out twice by a damaged counter.
            let drawn = draw() % IDENTITIES;
            match self.raw.try_exclusive(HOLDER + drawn) {
                Ok(true) if drawn != 0 => break Ok(drawn),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        let settled = outcome.as_ref().map_or(0, |drawn| drawn << GENERATION_BITS | tag);
        self.identity.store(settled, Ordering::Release);
        outcome
    }

    /// Tells whether the handle with that identity is gone: the kernel has no lock on its byte.
    pub(crate) fn is_gone(&self, identity: u64) -> io::Result<bool> {
        if self.own_identity() == Some(identity) {
            return Ok(false);
        }
        Ok(identity >= IDENTITIES || !self.raw.is_held_elsewhere(HOLDER + identity)?)
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
