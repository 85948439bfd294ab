//! The only place that decides between the processor's atomics and loom's.
//!
//! Every lock-free protocol of this crate (see [`seqlock`](crate::seqlock),
//! [`event`](crate::event), [`flight`](crate::flight) and [`lock_word`](crate::lock_word)) is written over *borrowed* atomics from here, so that the code that
//! runs over a mapping is the code that the model checker runs. Upholds invariant 1 (a peer may
//! stop at any instruction) by making it checkable.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Deliberate damage to a protocol. A model must fail under each of them; outside the model
/// checker no mutation exists and the checks compile to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Leave out the release fence between the odd mark and the payload.
    OddFence,
    /// Leave out the acquire fence between the payload and the second look at the sequence.
    ValidateFence,
    /// Store the even mark without release.
    EvenRelease,
    /// Store `latest` without release.
    LatestRelease,
    /// Accept a cell that holds another frame than the one that was looked for.
    CountCheck,
    /// Write into the cell that `latest` names.
    ReuseLatest,
    /// Let a device leave out the odd mark.
    OddMark,
    /// Let a device hand a frame over before it is complete.
    LatestFirst,
    /// Ask whether the writer lives before reading the epoch that the answer is good for.
    DoubtLate,
    /// Sleep without looking once more after arming.
    SleepUnchecked,
    /// Ring without advancing the epoch, so that the kernel's comparison sees no change.
    EpochStill,
    /// The woken waiter forgets the others.
    DropChain,
    /// Let go of a lock without release.
    GiveBackRelaxed,
    /// Take a lock without acquire.
    TakeRelaxed,
    /// Take over from a dead holder without looking whether somebody else was faster.
    TakeOverBlindly,
}

#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}

#[cfg(loom)]
pub(crate) use model::{check, mutated, violates};

#[cfg(loom)]
mod model {
    use super::Mutation;
    use std::sync::Mutex;

    static ACTIVE: Mutex<Option<Mutation>> = Mutex::new(None);
    static VIOLATION: Mutex<Option<String>> = Mutex::new(None);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn mutated(which: Mutation) -> bool {
        *lock(&ACTIVE) == Some(which)
    }

    /// Notes that a property does not hold. No panic: unwinding would drop the checker's objects
    /// after the checker, and a model that is meant to fail must be able to say so.
    #[track_caller]
    pub(crate) fn check(holds: bool, property: &str) {
        if !holds {
            let place = std::panic::Location::caller();
            lock(&VIOLATION).get_or_insert_with(|| format!("{place}: {property}"));
        }
    }

    /// Explores `model` with the given damage (or none); returns the property it violates, if any.
    pub(crate) fn violates(
        mutation: Option<Mutation>,
        model: impl Fn() + Sync + Send + 'static,
    ) -> Option<String> {
        let _turn = lock(&ONE_AT_A_TIME);
        *lock(&ACTIVE) = mutation;
        *lock(&VIOLATION) = None;
        loom::model(model);
        *lock(&ACTIVE) = None;
        lock(&VIOLATION).take()
    }
}
