//! The pool as its users see it.
//!
//! Upholds invariants 6 (every handle, slot and lease owns the mapping), 9 (only the owner takes the
//! name away, and anybody once the kernel says that the owner is dead) and 10.

use crate::error::RemoveError;
use crate::ledger::Ledger;
use crate::member::OWNER_BYTE;
use crate::reap::Reaped;
use crate::storage::{Host, Storage};
use shm_core::segment::Held;
use std::sync::Arc;

/// A handle on a pool: lend slots from it, take a seat as a consumer, look after it.
///
/// Cloning is cheap and shares the mapping, which lives as long as any handle, slot, lease or consumer
/// that came from it. The process that created the pool is its owner; when the owner's last handle
/// goes, so does the name (unless the pool is [persistent](crate::PoolConfig::persistent)), and those who are
/// attached drain what is left.
///
/// ```
/// use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};
/// use std::time::Duration;
/// # let name = format!("doc-pool-{}", std::process::id());
///
/// // The tokenizer's process.
/// let pool = Pool::create(&name, &PoolConfig::slots(8, 4096)?)?;
/// let mut slot = pool.lend(16, Wait::from(Duration::from_secs(1)), Policy::Block)?;
/// slot.as_mut_slice::<i32>()?.copy_from_slice(&[101, 7592, 2088, 102]);
/// let ticket = slot.publish(Audience::Everyone)?;      // forty bytes, sent by any channel
///
/// // The scheduler's process.
/// let consumer = Consumer::open(&name)?;
/// let lease = consumer.redeem(&ticket)?;
/// assert_eq!(lease.get::<i32>(1)?, 7592);
/// lease.release();                                     // the slot is free again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool<S: Storage = Host> {
    core: Arc<Core<S>>,
}

impl<S: Storage> Clone for Pool<S> {
    fn clone(&self) -> Pool<S> {
        Pool { core: self.core.clone() }
    }
}

/// What all users of one handle share.
#[derive(Debug)]
pub(crate) struct Core<S: Storage> {
    pub(crate) ledger: Ledger,
    pub(crate) storage: S,
    pub(crate) ownership: Option<Held>,
    pub(crate) persistent: bool,
}

impl<S: Storage> Core<S> {
    pub(crate) fn name(&self) -> String {
        self.ledger.segment.name().to_owned()
    }
}

impl<S: Storage> Drop for Core<S> {
    fn drop(&mut self) {
        if let Some(held) = self.ownership.filter(Held::is_ours) {
            if !self.persistent {
                // Somebody may have taken the name away already.
                let _ = self.ledger.segment.unlink();
            }
            self.ledger.segment.let_go(held);
        }
    }
}

impl<S: Storage> Pool<S> {
    /// Gives back what dead processes had, at once. Blocked producers and those who are refused do so
    /// by themselves; this is for who wants to be sure.
    pub fn reap(&self) -> Reaped {
        self.core.ledger.reap()
    }

    /// Takes the pool's name away. What is lent stays valid; nothing more is lent.
    ///
    /// # Errors
    /// [`RemoveError::Owned`] if this handle is not the owner's and the owner lives.
    pub fn unlink(&self) -> Result<(), RemoveError> {
        let segment = &self.core.ledger.segment;
        if !self.is_owner() {
            let owned = segment
                .is_held(OWNER_BYTE)
                .map_err(|source| RemoveError::Io { name: self.core.name(), source })?;
            if owned {
                let pid = segment.creator_pid();
                return Err(RemoveError::Owned { name: self.core.name(), pid });
            }
        }
        Ok(segment.unlink()?)
    }

    /// Whether this handle, in this process, is the owner's.
    pub fn is_owner(&self) -> bool {
        self.core.ownership.is_some_and(|held| held.is_ours())
    }

    /// Whether the owner lives, as the kernel sees it.
    pub fn has_owner(&self) -> bool {
        self.core.ledger.segment.is_held(OWNER_BYTE).unwrap_or(true)
    }

    /// The name exactly as the owner gave it.
    pub fn name(&self) -> &str {
        self.core.ledger.segment.name()
    }

    /// Random id: two pools that ever had the same name differ in it.
    pub fn instance(&self) -> [u8; 16] {
        self.core.ledger.segment.instance()
    }

    /// The owner's own bytes.
    pub fn metadata(&self) -> &[u8] {
        self.core.ledger.segment.metadata()
    }

    /// Number of slots; of a chunk pool, how many chunks can be lent at once.
    pub fn slots(&self) -> usize {
        self.core.ledger.layout.slots
    }

    /// The most bytes that can be lent at once.
    pub fn slot_size(&self) -> usize {
        self.core.ledger.layout.slot_size
    }

    /// Bytes of the storage that the pool lends.
    pub fn capacity(&self) -> usize {
        self.core.ledger.layout.capacity
    }

    /// Number of seats, which is the most consumers there can be at once.
    pub fn seats(&self) -> usize {
        self.core.ledger.seats()
    }

    /// True once the pool was unlinked, as far as this handle knows.
    pub fn is_retired(&self) -> bool {
        self.core.ledger.is_retired()
    }

    /// The memory that is lent.
    pub fn storage(&self) -> &S {
        &self.core.storage
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.core
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.core.ledger
    }

    pub(crate) fn of(core: Arc<Core<S>>) -> Pool<S> {
        Pool { core }
    }
}
