//! The only place that decides between the processor's atomics and loom's.
//!
//! The lock-free protocols of this crate ([`slot`](crate::slot), [`hints`](crate::hints),
//! [`arena`](crate::arena), ...) are written over *borrowed* atomics from here, so that the code that
//! runs over a mapping is the code that the model checker runs. Upholds invariant 1 (a peer may stop
//! at any instruction) by making it checkable.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub(crate) use watched::AtomicU64;

/// A full fence, for use right after an atomic exchange: between "I have changed this" and "is anybody
/// waiting for it". On x86-64 the exchange is a full barrier already (Intel SDM volume 3, 8.2.3.9), so
/// only the compiler has to be told.
#[inline]
pub(crate) fn fence_after_exchange() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fence(Ordering::SeqCst);
}

/// Deliberate damage to a protocol. A model must fail under each of them; outside the model
/// checker no mutation exists and the checks compile to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Publish a slot without release.
    PublishRelaxed,
    /// Redeem without acquire.
    RedeemRelaxed,
    /// Clear one's bit without release.
    ReleaseRelaxed,
    /// Free a slot without looking at the other lanes.
    OneLane,
    /// Look at the other lanes without the fence.
    LaneFence,
    /// Claim a slot without acquire.
    ClaimRelaxed,
    /// Claim by a store instead of an exchange.
    ClaimBlindly,
    /// Take back what somebody has begun to read.
    TakeHeld,
    /// Believe in a share without looking at the slot again.
    ShareUnchecked,
    /// Do not compare generations when a bit is cleared.
    AnyGeneration,
    /// Do not look at the word again after its parent was marked as full.
    FullUnchecked,
    /// Take such a mark back on one level, whatever was made of it above.
    UnmarkOnce,
    /// Look at the hint of a slot that was freed, or at the slot whose hint was taken, without a fence.
    PutUnfenced,
    /// Clear granules without comparing whose they are.
    ClearBlindly,
    /// Wait without the fence between arming and looking.
    WaitFence,
    /// Put the mark of a cell back without looking at the cell again.
    MarkOnce,
    /// Take departed consumers for present: no second look at the audience.
    AudienceUnchecked,
    /// Put a ticket without comparing the cell's lap.
    AnyLap,
    /// Leave a tentative key in place when it was beaten.
    KeepTentative,
    /// Look for others who insert a key without the fence after one's own cell.
    EstablishFence,
    /// Spare the tentative cell that one has beaten.
    SpareTentative,
    /// Beat every other tentative cell, also those that come first.
    BeatEverybody,
    /// Make an entry readable before nobody has it pinned.
    LanesAfterState,
    /// Look whether an entry is in the store without the fence after pinning it.
    PinFence,
    /// Look for pins without the fence after marking an entry.
    EvictFence,
    /// Take an entry that is being evicted for one that stays.
    RescueBlindly,
    /// Put a ticket without release.
    PutRelaxed,
    /// Overwrite what the slowest consumer has not got.
    SlowestUnchecked,
    /// Use a queue's hints without looking whether it is still there.
    AnyLife,
    /// Prepare a queue's words without release.
    PrepareRelaxed,
    /// Take a claim of one's own seat for one's own.
    SeatIsClaim,
    /// Ring without the fence between the change and looking for waiters.
    RingFence,
    /// Wake without moving the epoch on.
    EpochStill,
    /// Look for names without marking who was granted one last.
    GrantUnmarked,
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

#[cfg(loom)]
mod watched;
