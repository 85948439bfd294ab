//! The writer lock: a word that names the holder, the kernel's proof that the holder lives, and an
//! event for hand-over.
//!
//! Upholds invariants 1 and 3. Taking a free lock is one exchange and no system call. A taken one
//! is believed while the kernel keeps its holder's byte locked, which ends with the holder
//! ([`crate::lock_word`]). The event wakes the next writer when a living one lets go; a dead one
//! cannot ring, so waiters also look for themselves every few milliseconds.
//!
//! Frames of an external stream may be in flight when their writer dies. What carries them out goes
//! when its process does, which may be later than its locks go; so the next writer waits for that.

use super::Shared;
use super::error::{LockError, LockHolder};
use super::layout::HOT;
use super::waiting::{SPIN, Waited};
use crate::clock;
use crate::deadline::Deadline;
use crate::fault;
use crate::os::{Access, generation};
use crate::process::ProcessId;
use crate::sync::Ordering;
use std::io;
use std::time::{Duration, Instant};

/// How soon a waiting writer notices that the holder died.
const RECHECK: Duration = Duration::from_millis(5);
/// How often a writer looks whether what its predecessor left in flight has come to an end.
const SETTLING: Duration = Duration::from_millis(1);
/// How long a holder that was found alive is believed without asking the kernel again.
const BELIEF: Duration = Duration::from_millis(1);

impl Shared {
    /// Takes the writer lock; returns the process generation that it was taken in.
    #[inline]
    pub(crate) fn lock_writer(&self, deadline: Deadline) -> Result<u64, LockError> {
        let name = || self.segment.name().to_owned();
        if self.segment.access() != Access::Full {
            return Err(LockError::ReadOnly { name: name() });
        }
        if self.is_retired() {
            return Err(LockError::Stale { name: name() });
        }
        let me =
            self.segment.identity().map_err(|source| LockError::Io { name: name(), source })?;
        if self.segment.writer_lock().try_take(me).is_err() {
            self.wait_for_lock(me, deadline)?;
        }
        let taken_in = generation();
        if self.is_retired() {
            self.unlock_writer(taken_in);
            return Err(LockError::Stale { name: name() });
        }
        fault::hit("lock.taken");
        if self.layout.external.is_some() {
            self.await_predecessor(taken_in, deadline)?;
            let start = self.segment.hot(HOT.writer_start);
            start.store(ProcessId::own().start, Ordering::Relaxed);
        }
        self.sign_in();
        Ok(taken_in)
    }

    #[cold]
    fn wait_for_lock(&self, me: u64, deadline: Deadline) -> Result<(), LockError> {
        let name = || self.segment.name().to_owned();
        let begun = Instant::now();
        let mut contender = Contender { shared: self, me, believed: None };
        let mut failure = None;
        let waited = self.wait(self.segment.lock_event(), deadline, SPIN, RECHECK, || {
            contender.try_take().unwrap_or_else(|error| {
                failure = Some(error);
                true
            })
        });
        if let Some(source) = failure {
            return Err(LockError::Io { name: name(), source });
        }
        match waited {
            Waited::Ready => Ok(()),
            Waited::Retired => Err(LockError::Stale { name: name() }),
            Waited::TimedOut => {
                let waited = begun.elapsed();
                Err(LockError::Timeout { name: name(), holder: self.lock_holder(), waited })
            }
        }
    }

    /// Waits until nothing that a predecessor announced is carried out any more: all of it is complete,
    /// or its process is gone. On failure the lock is free again.
    #[cold]
    fn await_predecessor(&self, taken_in: u64, deadline: Deadline) -> Result<(), LockError> {
        let begun = Instant::now();
        loop {
            let left = self.writer_process().filter(|_| self.has_frames_in_flight());
            if !left.is_some_and(ProcessId::is_visible) {
                return Ok(());
            }
            let name = || self.segment.name().to_owned();
            if self.is_retired() {
                self.unlock_writer(taken_in);
                return Err(LockError::Stale { name: name() });
            }
            let nap = deadline.slice(SETTLING);
            if nap.is_zero() {
                let (holder, waited) = (self.lock_holder(), begun.elapsed());
                self.unlock_writer(taken_in);
                return Err(LockError::Timeout { name: name(), holder, waited });
            }
            std::thread::sleep(nap);
        }
    }

    fn has_frames_in_flight(&self) -> bool {
        self.layout.external.is_some() && self.flight().is_above(self.ring().newest())
    }

    /// The process that signed in last and, unless it died or left frames in flight, has not signed out.
    fn writer_process(&self) -> Option<ProcessId> {
        let pid = self.segment.hot(HOT.writer_pid).load(Ordering::Relaxed);
        let pid = u32::try_from(pid).ok().filter(|&pid| pid != 0)?;
        let start = self.segment.hot(HOT.writer_start).load(Ordering::Relaxed);
        Some(ProcessId { pid, start })
    }

    /// Lets go of the writer lock, if this process is the one that took it.
    #[inline]
    pub(crate) fn unlock_writer(&self, taken_in: u64) {
        if taken_in != generation() {
            return;
        }
        // Who leaves frames in flight stays named: the next writer has to know whose they are.
        if !self.has_frames_in_flight() {
            self.segment.hot(HOT.writer_pid).store(0, Ordering::Relaxed);
        }
        self.segment.writer_lock().give_back();
        fault::hit("lock.released");
        self.segment.lock_event().ring(self.segment.backing().parker());
    }

    /// Whether any process holds the writer lock; `None` if the system cannot tell.
    pub(crate) fn is_writer_alive(&self) -> Option<bool> {
        let locks = self.segment.backing().locks();
        match self.segment.writer_lock().holder() {
            None => Some(false),
            Some(holder) => locks.is_gone(holder).ok().map(|gone| !gone),
        }
    }

    /// Says who holds the lock. For reports only: whether it is held is the kernel's word.
    #[inline]
    fn sign_in(&self) {
        let hot = |offset| self.segment.hot(offset);
        hot(HOT.writer_since).store(clock::monotonic_ns(), Ordering::Relaxed);
        hot(HOT.writer_pid).store(self.segment.pid().into(), Ordering::Relaxed);
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

/// Somebody who wants a lock that is taken.
struct Contender<'a> {
    shared: &'a Shared,
    me: u64,
    /// The holder that was last found alive, and when.
    believed: Option<(u64, Instant)>,
}

impl Contender<'_> {
    fn try_take(&mut self) -> io::Result<bool> {
        let lock = self.shared.segment.writer_lock();
        let Err(holder) = lock.try_take(self.me) else { return Ok(true) };
        if self.believed.is_some_and(|(who, when)| who == holder && when.elapsed() < BELIEF) {
            return Ok(false);
        }
        if !self.shared.segment.backing().locks().is_gone(holder)? {
            self.believed = Some((holder, Instant::now()));
            return Ok(false);
        }
        Ok(lock.try_take_over(holder, self.me).is_ok())
    }
}
