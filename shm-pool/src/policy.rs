//! How long to wait, what to do when a pool is full, and how to stop waiting.
//!
//! Upholds invariants 5 and 8: every choice is the caller's, and nothing falls back by itself.

use parking_lot::Mutex;
use shm_core::Deadline;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a call may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Try,
    /// Until then.
    Until(Deadline),
}

impl Wait {
    /// For as long as it takes. The call still notices dead peers and a pool that was removed.
    pub const FOREVER: Wait = Wait::Until(Deadline::NEVER);

    pub(crate) fn deadline(self) -> Deadline {
        match self {
            Wait::Try => Deadline::NOW,
            Wait::Until(deadline) => deadline,
        }
    }
}

impl From<Duration> for Wait {
    fn from(duration: Duration) -> Wait {
        Wait::Until(duration.into())
    }
}

impl From<Instant> for Wait {
    fn from(instant: Instant) -> Wait {
        Wait::Until(instant.into())
    }
}

impl From<Deadline> for Wait {
    fn from(deadline: Deadline) -> Wait {
        Wait::Until(deadline)
    }
}

/// What to do when nothing is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Wait in line.
    #[default]
    Block,
    /// Say so at once, whatever the wait.
    Fail,
    /// Take back the oldest publication that no consumer has begun to read, as often as it takes; if
    /// all are being read, wait in line. What was taken back is counted as `dropped`, and its ticket
    /// is stale.
    DropOldestUnread,
}

/// Ends a wait from another thread.
///
/// ```
/// use shm_pool::{Cancel, LendError, Policy, Pool, PoolConfig, Wait};
/// let pool = Pool::process_local("doc", &PoolConfig::slots(1, 64)?)?;
/// let _all = pool.lend(64, Wait::Try, Policy::Fail)?;
///
/// let cancel = Cancel::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| cancel.cancel());
///     let refused = pool.lend_or_cancel(64, Wait::FOREVER, Policy::Block, &cancel);
///     assert!(matches!(refused, Err(LendError::Cancelled { .. })));
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

type Listener = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    listeners: Mutex<Vec<(u64, Listener)>>,
}

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shared").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}

impl Cancel {
    /// One that has not been cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends every wait that was given this, now and from now on.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        for (_, wake) in self.shared.listeners.lock().iter() {
            wake();
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Calls `wake` when cancelled, until the result is dropped.
    pub(crate) fn listen(&self, wake: Listener) -> Listening {
        let mut listeners = self.shared.listeners.lock();
        let key = listeners.last().map_or(0, |(key, _)| key + 1);
        listeners.push((key, wake));
        Listening { cancel: self.clone(), key }
    }
}

/// A registration with a [`Cancel`].
pub(crate) struct Listening {
    cancel: Cancel,
    key: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.cancel.shared.listeners.lock().retain(|(key, _)| *key != self.key);
    }
}
