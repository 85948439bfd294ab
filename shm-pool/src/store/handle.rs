//! The store as its users see it.
//!
//! Upholds invariants 6 (every handle, reservation and lease owns the mapping), 9 (only the owner takes
//! the name away) and 10.

use super::config::StoreConfig;
use super::entry::Retrieved;
use super::error::{AttachError, StoreError};
use super::reservation::Reservation;
use super::reserve::{self, StoreRequest};
use super::retrieve;
use super::worker::Worker;
use crate::error::{CreateError, JoinError, RemoveError};
use crate::fsck::Fsck;
use crate::policy::Wait;
use crate::pool::Pool;
use crate::reap::Reaped;
use crate::recycler::Recycler;
use crate::stats::{Overdue, PoolInfo, PoolStats};
use shm_core::segment::Access;
use shm_core::{Deadline, TensorDesc};
use std::sync::Arc;
use std::time::Duration;

/// A handle on a keyed store: a cache of tensors under keys that several processes share.
///
/// Whoever is attached stores and retrieves by itself; there is no server. One worker at a time may
/// store a key; an entry is found when it is committed, and from then on it does not change. It stays
/// until it is removed, is too old, or is in the way of a new one and nobody has leased it: what was not
/// in use for longest goes first.
///
/// The process that creates a store is its owner, and takes the name away when its last handle goes
/// (unless the store is [persistent](StoreConfig::persistent)). Those who open it are workers, which
/// never do. Cloning is cheap; each handle that was opened has one of 64 seats.
///
/// ```
/// use shm_pool::{Store, StoreConfig, StoreError, Wait};
/// use shm_core::{Dtype, TensorDesc};
/// # let name = format!("doc-store-{}", std::process::id());
///
/// let store = Store::create(&name, &StoreConfig::new(1 << 24)?)?;
///
/// // One worker stores the keys and values of a layer ...
/// let layout = [TensorDesc::new(Dtype::F32, &[2, 16, 64])?];
/// let mut reservation = store.prepare_store(b"prompt-17/layer-0", &layout, Wait::Try)?;
/// reservation.tensor_mut::<f32>(0)?.fill(0.5);
/// reservation.commit()?;
///
/// // ... and another one, usually in another process, leases them.
/// let worker = Store::open(&name)?;
/// let retrieved = worker.prepare_retrieve(&[b"prompt-17/layer-0"], Wait::Try)?;
/// let tensor = retrieved.tensor(0, 0)?;
/// assert_eq!((tensor.shape(), tensor.get::<f32>(2047)?), (&[2, 16, 64][..], 0.5));
/// assert!(matches!(store.remove(b"prompt-17/layer-0"), Err(StoreError::Leased { .. })));
/// retrieved.release();
/// assert!(store.remove(b"prompt-17/layer-0")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    worker: Arc<Worker>,
}

impl Store {
    /// Creates an empty store and becomes its owner. A store of the same name that nobody is attached
    /// to any more is replaced.
    ///
    /// # Errors
    /// [`CreateError::AlreadyOwned`] if the name has an owner who lives; see [`CreateError`] for the
    /// rest. Nothing is left behind on error.
    pub fn create(name: &str, config: &StoreConfig) -> Result<Store, CreateError> {
        Store::own(Pool::create(name, &config.pool)?)
    }

    /// A store inside this process, under no name: the same code without a file.
    ///
    /// # Errors
    /// [`CreateError`] if the name or the size is impossible.
    pub fn process_local(name: &str, config: &StoreConfig) -> Result<Store, CreateError> {
        Store::own(Pool::process_local(name, &config.pool)?)
    }

    fn own(pool: Pool) -> Result<Store, CreateError> {
        let consumer = pool.consumer().map_err(|error| CreateError::Io {
            name: pool.name().to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(Store { worker: Arc::new(Worker::new(consumer)) })
    }

    /// Opens a store as a worker, which never takes the name away.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn open(name: &str) -> Result<Store, AttachError> {
        Store::open_within(name, Deadline::NOW)
    }

    /// Opens a store, waiting until `deadline` for somebody to create it.
    ///
    /// # Errors
    /// As for [`Store::open`], once the deadline has passed.
    pub fn open_within(name: &str, deadline: impl Into<Deadline>) -> Result<Store, AttachError> {
        let pool = Pool::open_for(name, Access::Full, deadline.into(), true)?;
        let consumer = pool.consumer().map_err(|error| match error {
            JoinError::Full { name, seats } => AttachError::Full { name, seats },
            JoinError::Retired { name } => AttachError::Retired { name },
            JoinError::Open(error) => AttachError::Open(error),
            JoinError::Io { name, source } => AttachError::Io { name, source },
            error => {
                AttachError::Io { name: name.to_owned(), source: std::io::Error::other(error) }
            }
        })?;
        Ok(Store { worker: Arc::new(Worker::new(consumer)) })
    }

    /// Reserves a key, with memory for tensors of that layout, to be filled and committed.
    ///
    /// Where nothing is free, entries that nobody has leased make room, those that are too old first and
    /// then those that were not in use for longest; where that does not do, `wait` says how long to
    /// stand in line.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the key is stored, [`StoreError::InProgress`] if another worker has
    /// reserved it, at once in both cases; [`StoreError::Full`] and [`StoreError::Timeout`] name who
    /// has what; see [`StoreError`].
    pub fn prepare_store(
        &self,
        key: &[u8],
        layout: &[TensorDesc],
        wait: Wait,
    ) -> Result<Reservation, StoreError> {
        reserve::prepare(&self.worker, key, layout, wait)
    }

    /// A place in the line for the memory of an entry, for callers that wait in turns: it is kept until
    /// it is served or dropped.
    ///
    /// # Errors
    /// As for [`Store::prepare_store`], but for waiting.
    pub fn request_store(
        &self,
        key: &[u8],
        layout: &[TensorDesc],
    ) -> Result<StoreRequest, StoreError> {
        reserve::request(&self.worker, key, layout)
    }

    /// Leases the entries of all `keys`, or of none; the same key may be named twice. With a deadline,
    /// waits until all of them are there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] names those that are not there, and nothing is leased; see
    /// [`StoreError`].
    pub fn prepare_retrieve(&self, keys: &[&[u8]], wait: Wait) -> Result<Retrieved, StoreError> {
        retrieve::prepare(&self.worker, keys, wait)
    }

    /// As [`Store::prepare_retrieve`], for callers that wait in turns: asleep at most once, and for at
    /// most `longest`; whatever ends the sleep, a signal too, ends the call. `None` if something is
    /// missing still.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn retrieve_nap(
        &self,
        keys: &[&[u8]],
        longest: Duration,
    ) -> Result<Option<Retrieved>, StoreError> {
        retrieve::nap(&self.worker, keys, longest)
    }

    /// Whether the key is stored now. It may be gone by the time that it is retrieved.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.worker.ledger().stored(self.worker.hasher.hash(key)).is_some()
    }

    /// Takes an entry out. True if it was there.
    ///
    /// # Errors
    /// [`StoreError::Leased`] names who has it; see [`StoreError`].
    pub fn remove(&self, key: &[u8]) -> Result<bool, StoreError> {
        self.worker.remove(key)
    }

    /// Takes out all entries that nobody has leased; how many that were.
    ///
    /// # Errors
    /// [`StoreError::Forked`], [`StoreError::Io`].
    pub fn clear(&self) -> Result<usize, StoreError> {
        self.worker.clear()
    }

    /// The keys of all entries. While others store and remove, some may be missing, or gone already.
    ///
    /// # Errors
    /// [`StoreError::Forked`].
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.worker.admit()?;
        Ok(self.worker.keys())
    }

    /// Number of entries, among them those that are too old and have not been taken out yet.
    pub fn len(&self) -> usize {
        self.worker.ledger().entries_stored()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts everything: `stored` are entries, `filling` reservations, `hits`, `misses` and `evicted`
    /// what happened to keys since the store was created.
    pub fn stats(&self) -> PoolStats {
        self.worker.ledger().stats()
    }

    /// What the store is.
    pub fn describe(&self) -> PoolInfo {
        self.pool().describe()
    }

    /// Reservations and leases that are older than the store's overdue age, oldest first. Nothing is
    /// taken from a worker that lives.
    pub fn overdue(&self) -> Vec<Overdue> {
        self.worker.ledger().overdue_entries()
    }

    /// Explains every entry.
    pub fn fsck(&self) -> Fsck {
        self.worker.ledger().fsck_entries()
    }

    /// Gives back what dead workers had: reservations, and leases. Those who wait for room do so by
    /// themselves.
    pub fn reap(&self) -> Reaped {
        self.worker.ledger().reap()
    }

    /// A thread that reaps, see [`Pool::recycler`].
    ///
    /// # Errors
    /// As for [`Pool::recycler`].
    pub fn recycler(&self) -> std::io::Result<Recycler> {
        self.pool().recycler()
    }

    /// Takes the store's name away. Leases stay valid; nothing more is stored.
    ///
    /// # Errors
    /// [`RemoveError::Owned`] unless this handle is the owner's, even if the owner is dead: that is
    /// what [`remove`](crate::remove) is for.
    pub fn unlink(&self) -> Result<(), RemoveError> {
        let pool = self.pool();
        match pool.is_owner() {
            true => pool.unlink(),
            false => {
                let pid = self.worker.ledger().segment.creator_pid();
                Err(RemoveError::Owned { name: pool.name().to_owned(), pid })
            }
        }
    }

    /// Whether this handle, in this process, is the owner's.
    pub fn is_owner(&self) -> bool {
        self.pool().is_owner()
    }

    /// Whether the owner lives, as the kernel sees it.
    pub fn has_owner(&self) -> bool {
        self.pool().has_owner()
    }

    /// The name exactly as the owner gave it.
    pub fn name(&self) -> &str {
        self.worker.ledger().segment.name()
    }

    /// Random id: two stores that ever had the same name differ in it.
    pub fn instance(&self) -> [u8; 16] {
        self.worker.ledger().segment.instance()
    }

    /// The owner's own bytes.
    pub fn metadata(&self) -> &[u8] {
        self.worker.ledger().segment.metadata()
    }

    /// Bytes of memory for entries.
    pub fn capacity(&self) -> usize {
        self.worker.ledger().layout.capacity
    }

    /// True once the store was unlinked, as far as this handle knows.
    pub fn is_retired(&self) -> bool {
        self.worker.ledger().is_retired()
    }

    #[cfg(test)]
    pub(super) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    fn pool(&self) -> Pool {
        self.worker.consumer.pool()
    }
}
