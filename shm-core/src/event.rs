//! An eventcount over one shared word: how a waiter sleeps without missing a frame, and how a
//! writer that nobody waits for pays one atomic addition and no system call.
//!
//! Upholds invariants 1 (no lost wake-up that a killed peer could cause outlives the bounded
//! re-check) and 5 (waits have deadlines, idle waiters cost no CPU).
//!
//! ```text
//!   word:  63 ........ 32 | 31 ......... 0          chain: waiters that the first one woken
//!          armed waiters  |  epoch (futex)                 still has to wake
//! ```
//!
//! * A **waiter** adds one armed waiter (which also reads the epoch), looks at its condition once
//!   more, and parks as long as the epoch is still that one.
//! * A **ringer** adds one to the epoch *after* making the condition true. The addition returns
//!   the number of armed waiters: none, and it is done. Otherwise it takes them off and wakes one.
//! * The **first one woken** wakes the others (`chain`), so ringing costs the ringer the same
//!   whether one reader waits or sixty-four.
//!
//! Both sides use read-modify-write operations on the same word, so they are totally ordered:
//! either the ringer sees the armed waiter, or the waiter's addition reads the ringer's and with it
//! the condition. No sequentially consistent fence is needed. A peer that is killed between being
//! woken and waking the others leaves `chain` behind: the next ring, or the bounded re-check of the
//! sleepers, repairs it.

use crate::sync::{AtomicU32, AtomicU64, Mutation, Ordering, mutated};

const ONE_ARMED: u64 = 1 << 32;

/// Puts threads to sleep on the epoch half of an event word.
pub(crate) trait Park {
    /// What the caller may wait for at most; checked by the implementation.
    type Timeout: Copy;
    /// Sleeps while the epoch is `epoch`, until woken or the timeout passes. May wake for no reason.
    fn park(&self, word: &AtomicU64, epoch: u32, timeout: Self::Timeout);
    /// Wakes up to `count` sleepers.
    fn unpark(&self, word: &AtomicU64, count: u32);
}

/// The two words of one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) word: &'a AtomicU64,
    pub(crate) chain: &'a AtomicU32,
}

/// A waiter's reservation: while the epoch stays the same, it need not arm again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Armed(u32);

impl Event<'_> {
    /// Announces that the condition may have changed. Call after the change.
    #[inline]
    pub(crate) fn ring<P: Park + ?Sized>(&self, parker: &P) {
        let step = if mutated(Mutation::EpochStill) { 0 } else { 1 };
        // SYNC: event. Release publishes the condition to the waiter whose `arm` comes later;
        // Acquire orders the wake-up after the waiter's arming when it came earlier.
        let before = self.word.fetch_add(step, Ordering::AcqRel);
        if before >= ONE_ARMED || self.chain.load(Ordering::Relaxed) != 0 {
            self.wake_one(parker);
        }
    }

    /// Announces a change that everybody must see at once (the segment is retired, a handle closes).
    pub(crate) fn ring_all<P: Park + ?Sized>(&self, parker: &P) {
        self.word.fetch_add(1, Ordering::AcqRel);
        parker.unpark(self.word, u32::MAX >> 1);
    }

    /// How often the event has rung, modulo 2^32.
    pub(crate) fn epoch(&self) -> u32 {
        self.word.load(Ordering::Acquire) as u32
    }

    #[cold]
    fn wake_one<P: Park + ?Sized>(&self, parker: &P) {
        // Whoever takes the armed waiters off is the one who wakes them, so two ringers at once
        // can neither wake twice for one waiter nor take off one that armed in between unwoken.
        let take = |word: u64| (word >= ONE_ARMED).then_some(word & (ONE_ARMED - 1));
        let taken = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
        match taken {
            Ok(word) => {
                let others = (word >> 32) - 1;
                if others > 0 {
                    self.chain.store(u32::try_from(others).unwrap_or(u32::MAX), Ordering::Release);
                }
                parker.unpark(self.word, 1);
            }
            // Whoever was to wake the others has not, and may have been killed.
            Err(_) => self.pass_on(parker),
        }
    }

    fn arm(&self, earlier: Option<Armed>) -> Armed {
        if let Some(armed) = earlier {
            // Nobody rang since: the ringer that comes still finds this waiter armed.
            if self.word.load(Ordering::Acquire) as u32 == armed.0 {
                return armed;
            }
        }
        // SYNC: event. Pairs with the addition in `ring`.
        Armed(self.word.fetch_add(ONE_ARMED, Ordering::AcqRel) as u32)
    }

    /// Arms, looks at the condition once more, and sleeps unless it holds or somebody rang since.
    /// Pass the same `armed` on every turn of one wait. Returns whether the condition was seen to
    /// hold; it is not asked again then, because asking may have taken a lock.
    pub(crate) fn sleep<P: Park + ?Sized>(
        &self,
        parker: &P,
        armed: &mut Option<Armed>,
        timeout: P::Timeout,
        ready: impl FnOnce() -> bool,
    ) -> bool {
        let reservation = self.arm(*armed);
        *armed = Some(reservation);
        if !mutated(Mutation::SleepUnchecked) && ready() {
            return true;
        }
        parker.park(self.word, reservation.0, timeout);
        self.pass_on(parker);
        false
    }

    fn pass_on<P: Park + ?Sized>(&self, parker: &P) {
        if mutated(Mutation::DropChain) {
            return;
        }
        if self.chain.load(Ordering::Acquire) != 0 {
            // All of them rather than the counted number: a ring that came in between may have
            // woken one of those counted here instead of its own.
            if self.chain.swap(0, Ordering::AcqRel) > 0 {
                parker.unpark(self.word, u32::MAX >> 1);
            }
        }
    }
}

#[cfg(all(test, loom))]
pub(crate) mod kernel;

#[cfg(all(test, loom))]
mod tests;

#[cfg(all(test, not(loom)))]
mod repair;
