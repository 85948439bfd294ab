//! The pool as its users see it.
//!
//! Upholds invariants 6 (every handle, slot and lease owns the mapping), 9 (only the owner takes the
//! name away, and anybody once the kernel says that the owner is dead) and 10.

use crate::config::PoolConfig;
use crate::error::{CreateError, LendError, OpenError, RemoveError};
use crate::grant::Waiting;
use crate::layout::{Geometry, Layout, POOL_KIND};
use crate::ledger::Ledger;
use crate::lent::Slot;
use crate::line::RECHECK;
use crate::member::OWNER_BYTE;
use crate::policy::{Cancel, Policy, Wait};
use crate::reap::Reaped;
use crate::request::Request;
use crate::storage::{Host, Storage};
use shm_core::Deadline;
use shm_core::segment::{Access, Held, Lifetime, Segment, SegmentSpec};
use std::sync::Arc;
use std::time::Instant;

/// Who is refused at once may ask often, so only so many slots are looked at for the reason.
const LOOK_AT: usize = 256;

/// A handle on a pool: lend slots from it, take a seat as a consumer, look after it.
///
/// Cloning is cheap and shares the mapping, which lives as long as any handle, slot, lease or consumer
/// that came from it. The process that created the pool is its owner; when the owner's last handle
/// goes, so does the name (unless the pool is [persistent](PoolConfig::persistent)), and those who are
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
    ownership: Option<Held>,
    persistent: bool,
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

impl Pool {
    /// Creates a pool in host memory, everything free, and becomes its owner.
    ///
    /// A pool of the same name that nobody is attached to any more is replaced.
    ///
    /// # Errors
    /// [`CreateError::AlreadyOwned`] if the name has an owner who lives; see [`CreateError`] for the
    /// rest. Nothing is left behind on error.
    pub fn create(name: &str, config: &PoolConfig) -> Result<Pool, CreateError> {
        let spec = spec_of(config, config.capacity, &[]);
        create(name, config, spec, Host { bytes: config.capacity })
    }

    /// A pool inside this process, under no name: the same code without a file.
    ///
    /// # Errors
    /// [`CreateError`] if the name or the size is impossible.
    pub fn process_local(name: &str, config: &PoolConfig) -> Result<Pool, CreateError> {
        let spec = spec_of(config, config.capacity, &[]);
        let segment = Segment::process_local(name, spec)?;
        own(segment, config, Host { bytes: config.capacity })
    }

    /// Opens a pool for producing and consuming.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(name: &str) -> Result<Pool, OpenError> {
        Pool::open_within(name, Deadline::NOW)
    }

    /// Opens a pool, waiting until `deadline` for somebody to create it.
    ///
    /// # Errors
    /// As for [`Pool::open`], once the deadline has passed.
    pub fn open_within(name: &str, deadline: impl Into<Deadline>) -> Result<Pool, OpenError> {
        Pool::open_for(name, Access::Full, deadline.into(), false)
    }

    pub(crate) fn open_for(
        name: &str,
        access: Access,
        deadline: Deadline,
        entries: bool,
    ) -> Result<Pool, OpenError> {
        let segment = Segment::open_within(name, POOL_KIND, access, deadline)?;
        let layout = Layout::of(&segment, true)?;
        let bytes = layout.capacity;
        attach(segment, layout, Host { bytes }, entries)
    }
}

impl<S: Storage> Pool<S> {
    /// Creates a pool that lends offsets into `storage`.
    ///
    /// # Errors
    /// [`CreateError::Storage`] if the storage is shorter than the pool, else as for
    /// [`Pool::create`].
    pub fn create_over(
        name: &str,
        config: &PoolConfig,
        storage: S,
    ) -> Result<Pool<S>, CreateError> {
        let config = config.clone().aligned_to(S::ALIGNMENT);
        let wrong = |field, expected: usize, found| CreateError::Storage {
            name: name.to_owned(),
            field,
            expected: format!("at least {expected} bytes"),
            found,
        };
        if storage.len() < config.capacity {
            return Err(wrong("length", config.capacity, storage.len()));
        }
        let descriptor = storage.descriptor();
        if descriptor.len() > crate::config::MAX_METADATA {
            return Err(CreateError::Storage {
                name: name.to_owned(),
                field: "descriptor",
                expected: format!("at most {} bytes", crate::config::MAX_METADATA),
                found: descriptor.len(),
            });
        }
        let spec = spec_of(&config, 0, &descriptor);
        create(name, &config, spec, storage)
    }

    /// Opens a pool over a storage.
    ///
    /// # Errors
    /// [`OpenError::Storage`] with what the storage says, else as for [`Pool::open`].
    pub fn open_over(name: &str) -> Result<Pool<S>, OpenError> {
        let segment = Segment::open_within(name, POOL_KIND, Access::Full, Deadline::NOW)?;
        let layout = Layout::of(&segment, false)?;
        let descriptor = &segment.geometry()[size_of::<Geometry>()..];
        let storage = S::attach(descriptor, layout.capacity)
            .map_err(|source| OpenError::Storage { name: name.to_owned(), source })?;
        attach(segment, layout, storage, false)
    }

    /// Lends a slot of at least `bytes` bytes, to be filled and published.
    ///
    /// [`Policy::Block`] waits as `wait` says, in line with everybody else who needs the same.
    ///
    /// # Errors
    /// [`LendError::Full`], [`LendError::Timeout`] name who has the slots; see [`LendError`].
    #[inline]
    pub fn lend(&self, bytes: usize, wait: Wait, policy: Policy) -> Result<Slot<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        match self.core.ledger.try_grant(need, owner) {
            Some(grant) => Ok(Slot::new(&self.core, grant, bytes)),
            None => self.lend_slowly(bytes, wait, policy, None),
        }
    }

    /// As [`Pool::lend`], until `cancel` says to stop.
    ///
    /// # Errors
    /// [`LendError::Cancelled`], else as for [`Pool::lend`].
    pub fn lend_or_cancel(
        &self,
        bytes: usize,
        wait: Wait,
        policy: Policy,
        cancel: &Cancel,
    ) -> Result<Slot<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        match self.core.ledger.try_grant(need, owner) {
            Some(grant) => Ok(Slot::new(&self.core, grant, bytes)),
            None => self.lend_slowly(bytes, wait, policy, Some(cancel)),
        }
    }

    /// A place in the line for `bytes` bytes, for callers that wait in turns: it is kept until it is
    /// served or dropped.
    ///
    /// # Errors
    /// As for [`Pool::lend`], but for waiting.
    pub fn request(&self, bytes: usize) -> Result<Request<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        Ok(Request::new(&self.core, self.core.ledger.wait_for(need, owner), bytes))
    }

    #[inline]
    fn admit(&self, bytes: usize) -> Result<(usize, u16), LendError> {
        let ledger = &self.core.ledger;
        if bytes == 0 || bytes > ledger.layout.slot_size {
            return Err(self.impossible(bytes));
        }
        if ledger.is_retired() {
            return Err(LendError::Retired { name: self.core.name() });
        }
        if ledger.segment.access() != Access::Full {
            return Err(LendError::ReadOnly { name: self.core.name() });
        }
        let owner = ledger
            .own()
            .map_err(|source| LendError::Io { name: self.core.name(), source })?;
        Ok((ledger.need_of(bytes), owner))
    }

    #[cold]
    fn impossible(&self, bytes: usize) -> LendError {
        let name = self.core.name();
        match bytes {
            0 => LendError::Nothing { name },
            found => LendError::TooLarge { name, most: self.slot_size(), found },
        }
    }

    #[cold]
    fn lend_slowly(
        &self,
        bytes: usize,
        wait: Wait,
        policy: Policy,
        cancel: Option<&Cancel>,
    ) -> Result<Slot<S>, LendError> {
        let begun = Instant::now();
        let (need, owner) = self.admit(bytes)?;
        let ledger = &self.core.ledger;
        ledger.reap_paced();
        let mut grant = ledger.try_grant(need, owner);
        while policy == Policy::DropOldestUnread && grant.is_none() {
            if !ledger.drop_oldest_unread() {
                break;
            }
            grant = ledger.try_grant(need, owner);
        }
        if let Some(grant) = grant {
            return Ok(Slot::new(&self.core, grant, bytes));
        }
        let deadline = match (policy, wait) {
            (Policy::Fail, _) | (_, Wait::Try) => return Err(self.full(bytes, need)),
            (_, Wait::Until(deadline)) => deadline,
        };
        let mut request = Request::new(&self.core, ledger.wait_for(need, owner), bytes);
        let _registered = cancel.map(|cancel| request.listen_to(cancel));
        loop {
            if cancel.is_some_and(Cancel::is_cancelled) {
                return Err(LendError::Cancelled { name: self.core.name(), bytes });
            }
            let left = deadline.remaining().map_or(RECHECK, |left| left.min(RECHECK));
            if let Some(slot) = request.nap(left)? {
                return Ok(slot);
            }
            if policy == Policy::DropOldestUnread {
                ledger.drop_oldest_unread();
            }
            if deadline.has_passed() {
                return Err(self.timed_out(bytes, need, begun));
            }
        }
    }

    fn full(&self, bytes: usize, need: usize) -> LendError {
        let free = self.note_refusal(need);
        let holders = self.core.ledger.longest_held(LOOK_AT);
        LendError::Full { name: self.core.name(), bytes, free, holders }
    }

    fn timed_out(&self, bytes: usize, need: usize, begun: Instant) -> LendError {
        let free = self.note_refusal(need);
        let (waited, holders) = (begun.elapsed(), self.core.ledger.longest_held(usize::MAX));
        LendError::Timeout { name: self.core.name(), bytes, waited, free, holders }
    }

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

    pub(crate) fn waiting(core: &Arc<Core<S>>, waiting: &mut Waiting) {
        core.ledger.stop_waiting(waiting);
    }
}

/// Takes the name of a pool away whose owner is dead. Those who are attached drain what is left.
///
/// # Errors
/// [`RemoveError::Owned`] if the owner lives.
pub fn remove(name: &str) -> Result<(), RemoveError> {
    let segment = Segment::open_within(name, POOL_KIND, Access::Full, Deadline::NOW)
        .map_err(OpenError::from)?;
    let io = |source| RemoveError::Io { name: name.to_owned(), source };
    match segment.is_held(OWNER_BYTE).map_err(io)? {
        true => Err(RemoveError::Owned { name: name.to_owned(), pid: segment.creator_pid() }),
        false => Ok(segment.unlink()?),
    }
}

fn spec_of(config: &PoolConfig, payload_len: usize, descriptor: &[u8]) -> SegmentSpec {
    let geometry = config.geometry();
    let control_len = Layout::new(&geometry).map_or(0, |layout| layout.control_len);
    let mut bytes = bytemuck::bytes_of(&geometry).to_vec();
    bytes.extend_from_slice(descriptor);
    SegmentSpec {
        kind: POOL_KIND,
        geometry: bytes,
        counters: Ledger::counters(),
        metadata: config.metadata.clone(),
        payload_len,
        payload_align: 4096,
        control_len,
        hold: Some(OWNER_BYTE),
        lifetime: if config.persistent { Lifetime::Persistent } else { Lifetime::Attached },
        ..SegmentSpec::default()
    }
}

fn create<S: Storage>(
    name: &str,
    config: &PoolConfig,
    spec: SegmentSpec,
    storage: S,
) -> Result<Pool<S>, CreateError> {
    let segment = match Segment::create(name, spec.clone()) {
        Err(shm_core::CreateError::Exists { .. }) => {
            make_way(name)?;
            Segment::create(name, spec)?
        }
        outcome => outcome?,
    };
    own(segment, config, storage)
}

/// Removes the pool of that name if it has neither owner nor anybody attached.
fn make_way(name: &str) -> Result<(), CreateError> {
    let exists = || shm_core::CreateError::Exists { name: name.to_owned() };
    let present = match Segment::open_within(name, POOL_KIND, Access::Full, Deadline::NOW) {
        Ok(present) => present,
        Err(shm_core::OpenError::NotFound { .. }) => return Ok(()),
        Err(_) => return Err(exists().into()),
    };
    let io = |source| CreateError::Io { name: name.to_owned(), source };
    let pid = present.creator_pid();
    if present.is_held(OWNER_BYTE).map_err(io)? {
        let since_wall_ns = present.created_wall_ns();
        return Err(CreateError::AlreadyOwned { name: name.to_owned(), pid, since_wall_ns });
    }
    if !present.is_temporary() {
        return Err(CreateError::Orphaned { name: name.to_owned(), pid });
    }
    drop(present);
    // Only what nobody is attached to.
    let _ = shm_core::unlink_unused(name);
    match Segment::open_within(name, POOL_KIND, Access::Full, Deadline::NOW) {
        Ok(_) => Err(CreateError::Orphaned { name: name.to_owned(), pid }),
        Err(_) => Ok(()),
    }
}

fn own<S: Storage>(
    mut segment: Segment,
    config: &PoolConfig,
    storage: S,
) -> Result<Pool<S>, CreateError> {
    let ownership = segment.take_hold();
    let io = |source| CreateError::Io { name: segment.name().to_owned(), source };
    let layout = Layout::of(&segment, false)
        .map_err(|error| io(std::io::Error::other(error.to_string())))?;
    let ledger = Ledger::new(segment, layout);
    ledger.own().map_err(|source| CreateError::Io {
        name: ledger.segment.name().to_owned(),
        source,
    })?;
    let persistent = config.persistent;
    Ok(Pool { core: Arc::new(Core { ledger, storage, ownership, persistent }) })
}

fn attach<S: Storage>(
    segment: Segment,
    layout: Layout,
    storage: S,
    entries: bool,
) -> Result<Pool<S>, OpenError> {
    let name = segment.name().to_owned();
    if layout.entries != entries {
        let purpose = |entries| if entries { "store" } else { "pool" };
        let (expected, found) = (purpose(entries), purpose(layout.entries));
        return Err(OpenError::Purpose { name, expected, found });
    }
    let ledger = Ledger::new(segment, layout);
    ledger.own().map_err(|source| OpenError::Io { name, source })?;
    Ok(Pool { core: Arc::new(Core { ledger, storage, ownership: None, persistent: false }) })
}
