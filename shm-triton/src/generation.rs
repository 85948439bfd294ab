//! One region of a model with its slots, from its registration to the last of its requests.
//!
//! ```text
//!            current ──────────▶ retired ──────────▶ gone
//!               │  grown, damaged,  │  its last slot    unlinked, unmapped; the server is told
//!               │  fate unknown     │  comes back       as soon as it answers
//!               └──▶ registered again (the server was restarted), still current
//! ```
//!
//! Memory whose request was never answered is never lent again: its generation is retired, the next call has
//! a new one. So a server that still writes there, alive, dying or stopped, writes where nobody reads.
//!
//! Upholds invariants 1, 3 and 6 (a slot owns its generation, and so the mapping).

use crate::error::RegionError;
use crate::hub::{Counts, Hub};
use crate::layout::SlotLayout;
use crate::lent::Memo;
use crate::region::{Lengthwise, Region};
use parking_lot::Mutex;
use shm_core::Deadline;
use shm_pool::{LendError, Policy, Pool, PoolConfig, Slot};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

/// One region of a model with its slots.
#[derive(Debug)]
pub(crate) struct Generation {
    pub hub: Arc<Hub>,
    pub region: Region,
    pub layout: SlotLayout,
    pub pool: Pool<Lengthwise>,
    retired: AtomicBool,
    /// Some request to it was never answered.
    fate_unknown: AtomicBool,
    /// How often it was registered.
    registrations: AtomicU64,
    /// Held while it is registered again.
    registering: Mutex<()>,
    /// Who waits for a slot without blocking.
    wakers: Mutex<Vec<Waker>>,
    /// By slot, what was last asked with it.
    memos: Mutex<Vec<Option<Memo>>>,
    /// Set once the memory is given back and the server about to be told, which is after the last
    /// reference to this is gone.
    pub gone: Arc<AtomicBool>,
}

impl Generation {
    /// Makes the region, and has the server map it.
    pub(crate) fn create(
        hub: &Arc<Hub>,
        model: &str,
        slots: usize,
        layout: SlotLayout,
        deadline: Deadline,
    ) -> Result<Arc<Generation>, RegionError> {
        let pool_error = |source: Box<dyn std::error::Error + Send + Sync>| RegionError::Pool {
            model: model.to_owned(),
            source,
        };
        let config = PoolConfig::slots(slots, layout.bytes).map_err(|e| pool_error(e.into()))?;
        let bytes = layout
            .bytes
            .checked_next_multiple_of(256)
            .and_then(|slot| slot.checked_mul(slots))
            .ok_or_else(|| pool_error("more bytes than an address can tell".into()))?;
        let region = match hub.inline.load(Ordering::Relaxed) {
            true => Region::process_local(model, bytes)?,
            false => Region::create(model, bytes)?,
        };
        let pool = Pool::process_local_over(model, &config, Lengthwise { bytes })
            .map_err(|e| pool_error(e.into()))?;
        hub.segment_mapped();
        let generation = Generation {
            hub: hub.clone(),
            region,
            layout,
            pool,
            retired: AtomicBool::new(false),
            fate_unknown: AtomicBool::new(false),
            registrations: AtomicU64::new(0),
            registering: Mutex::new(()),
            wakers: Mutex::new(Vec::new()),
            memos: Mutex::new(vec![None; slots]),
            gone: Arc::default(),
        };
        if generation.region.is_shared() {
            hub.learn_version(deadline)?;
            // From here on dropping it tells the server: it may have mapped it whatever it answers.
            generation.registrations.store(1, Ordering::Release);
            generation.region.register(hub, deadline)?;
        }
        Ok(Arc::new(generation))
    }

    /// How often the server was asked to map it, to be given to [`Generation::register_again`].
    pub(crate) fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Acquire)
    }

    /// Has the server map it again, which has forgotten it since registration number `seen`; nothing if
    /// somebody else has done so meanwhile.
    pub(crate) fn register_again(&self, seen: u64, deadline: Deadline) -> Result<(), RegionError> {
        let remaining = deadline.remaining().unwrap_or(std::time::Duration::from_secs(3600));
        // Whoever holds it for longer has a later deadline than ours, and the caller tries once more.
        let Some(_registering) = self.registering.try_lock_for(remaining) else { return Ok(()) };
        if self.registrations() == seen {
            self.hub.learn_version(deadline)?;
            self.region.register(&self.hub, deadline)?;
            self.registrations.fetch_add(1, Ordering::AcqRel);
            Counts::add(&self.hub.counts.registered_again);
        }
        Ok(())
    }

    /// Lends no more slots. Those who wait for one look for the next generation.
    pub(crate) fn retire(&self) {
        if !self.retired.swap(true, Ordering::AcqRel) {
            Counts::add(&self.hub.counts.retired);
            // Wakes those who wait.
            let _ = self.pool.unlink();
            self.wake();
        }
    }

    /// Retires it because a request to it will never be answered, and may still be running.
    pub(crate) fn retire_unanswered(&self) {
        self.fate_unknown.store(true, Ordering::Release);
        self.retire();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Retires it if somebody else has removed or shortened its file.
    pub(crate) fn check(&self) -> Result<(), RegionError> {
        if self.region.is_shared() && !self.region.is_intact() {
            self.retire();
            return Err(RegionError::Damaged { region: self.region.name.clone() });
        }
        Ok(())
    }

    /// A slot, if one is free now; `None` if not, and also if the generation is retired.
    pub(crate) fn try_lend(&self) -> Option<Slot<Lengthwise>> {
        let slot = self.pool.try_lend(self.layout.bytes, Policy::Block).ok().flatten()?;
        // Between the two it may have been retired, and this slot be the one that is not to be used.
        (!self.is_retired()).then_some(slot)
    }

    /// A slot, once one is free; `None` when there is time left but the generation is retired.
    pub(crate) fn lend(
        &self,
        deadline: Deadline,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Slot<Lengthwise>>, Waited> {
        const LOOK_UP: std::time::Duration = std::time::Duration::from_millis(50);
        let ended = |error| match error {
            LendError::Retired { .. } => Ok(None),
            _ => Err(Waited),
        };
        let mut place = match self.pool.request(self.layout.bytes) {
            Ok(place) => place,
            Err(error) => return ended(error),
        };
        loop {
            let nap = deadline.remaining().map_or(LOOK_UP, |left| left.min(LOOK_UP));
            match place.nap(nap) {
                Ok(Some(slot)) => return Ok((!self.is_retired()).then_some(slot)),
                Ok(None) if deadline.has_passed() || interrupt() => return Err(Waited),
                Ok(None) if self.is_retired() => return Ok(None),
                Ok(None) => {}
                Err(error) => return ended(error),
            }
        }
    }

    pub(crate) fn memo(&self, slot: usize) -> Option<Memo> {
        self.memos.lock().get_mut(slot)?.take()
    }

    pub(crate) fn keep_memo(&self, slot: usize, memo: Option<Memo>) {
        if let Some(place) = self.memos.lock().get_mut(slot) {
            *place = memo;
        }
    }

    /// Has `waker` woken when a slot may have come free.
    pub(crate) fn wake_later(&self, waker: &Waker) {
        self.wakers.lock().push(waker.clone());
    }

    /// Wakes those who wait without blocking: all, because any of them may have given up.
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Slots that are lent or belong to open requests.
    pub(crate) fn in_use(&self) -> usize {
        self.pool.stats().in_use()
    }
}

/// The wait for a slot is over, without one.
#[derive(Debug)]
pub(crate) struct Waited;

impl Drop for Generation {
    fn drop(&mut self) {
        // In a forked child everything is the parent's.
        if !self.hub.is_ours() {
            return;
        }
        self.region.unlink();
        if self.registrations() > 0 {
            match self.fate_unknown.load(Ordering::Acquire) && !self.hub.fences() {
                true => self.hub.debts.leak(),
                false => self.hub.debts.owe(self.region.name.clone()),
            }
        }
        self.gone.store(true, Ordering::Release);
        self.hub.segment_gone();
    }
}
