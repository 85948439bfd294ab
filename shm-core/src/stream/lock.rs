//! The writer lock: a kernel lock on one byte, with an event for hand-over.
//!
//! Upholds invariants 1 and 3. The lock itself is [`crate::os`]'s: it dies with its holder. The
//! event wakes the next writer when a living one lets go; a dead one cannot ring, so waiters also
//! look for themselves every few milliseconds.

use super::Shared;
use super::error::{LockError, LockHolder};
use super::layout::HOT;
use super::waiting::{SPIN, Waited};
use crate::clock;
use crate::deadline::Deadline;
use crate::fault;
use crate::os::{Access, generation, locks};
use crate::sync::Ordering;
use std::time::{Duration, Instant};

/// How soon a waiting writer notices that the holder died.
const RECHECK: Duration = Duration::from_millis(5);

impl Shared {
    /// Takes the writer lock; returns the process generation that it was taken in.
    pub(crate) fn lock_writer(&self, deadline: Deadline) -> Result<u64, LockError> {
        let name = || self.segment.name().to_owned();
        if self.segment.access() != Access::Full {
            return Err(LockError::ReadOnly { name: name() });
        }
        if self.is_retired() {
            return Err(LockError::Stale { name: name() });
        }
        let begun = Instant::now();
        let locks = self.segment.backing().locks();
        let mut failure = None;
        let waited = self.wait(self.segment.lock_event(), deadline, SPIN, RECHECK, || {
            locks.try_exclusive(locks::WRITER).unwrap_or_else(|error| {
                failure = Some(error);
                true
            })
        });
        if let Some(source) = failure {
            return Err(LockError::Io { name: name(), source });
        }
        let taken_in = generation();
        match waited {
            Waited::Ready if self.is_retired() => {
                self.unlock_writer(taken_in);
                Err(LockError::Stale { name: name() })
            }
            Waited::Ready => {
                fault::hit("lock.taken");
                self.sign_in();
                Ok(taken_in)
            }
            Waited::Retired => Err(LockError::Stale { name: name() }),
            Waited::TimedOut => {
                let waited = begun.elapsed();
                Err(LockError::Timeout { name: name(), holder: self.lock_holder(), waited })
            }
        }
    }

    /// Lets go of the writer lock, if this process is the one that took it.
    pub(crate) fn unlock_writer(&self, taken_in: u64) {
        let locks = self.segment.backing().locks();
        if taken_in != generation() {
            return;
        }
        self.segment.hot(HOT.writer_pid).store(0, Ordering::Relaxed);
        locks.release(locks::WRITER, taken_in);
        fault::hit("lock.released");
        self.segment.lock_event().ring(self.segment.backing().parker());
    }

    /// Whether any process holds the writer lock.
    pub(crate) fn is_writer_alive(&self) -> Option<bool> {
        self.segment.backing().locks().is_held(locks::WRITER).ok()
    }

    /// Says who holds the lock. For reports only: whether it is held is the kernel's word.
    fn sign_in(&self) {
        let hot = |offset| self.segment.hot(offset);
        hot(HOT.writer_since).store(clock::monotonic_ns(), Ordering::Relaxed);
        hot(HOT.writer_pid).store(std::process::id().into(), Ordering::Relaxed);
        hot(HOT.writers).fetch_add(1, Ordering::Relaxed);
        self.segment.set_role(crate::segment::Role::Writer);
    }

    fn lock_holder(&self) -> Option<LockHolder> {
        let pid = self.segment.hot(HOT.writer_pid).load(Ordering::Relaxed);
        let pid = u32::try_from(pid).ok().filter(|&pid| pid != 0)?;
        let since = self.segment.hot(HOT.writer_since).load(Ordering::Relaxed);
        let held_for = Duration::from_nanos(clock::monotonic_ns().saturating_sub(since));
        Some(LockHolder { pid, held_for })
    }
}
