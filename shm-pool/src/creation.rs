//! Making, finding and removing pools.
//!
//! Upholds invariants 2 (a segment is believed only after its geometry was checked), 3 and 9 (a name that
//! has an owner who lives is left alone, by the kernel's word).

use crate::config::PoolConfig;
use crate::error::{CreateError, OpenError, RemoveError};
use crate::layout::{Geometry, Layout, POOL_KIND};
use crate::ledger::Ledger;
use crate::member::OWNER_BYTE;
use crate::pool::{Core, Pool};
use crate::storage::{Host, Storage};
use crate::word::SEATS_PER_LANE;
use shm_core::Deadline;
use shm_core::segment::{Access, Lifetime, Segment, SegmentSpec};
use std::sync::Arc;
use std::time::Duration;

/// How often a creator looks again when others are at the same name.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

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
        let (config, spec) = Pool::plan_over(name, config, &storage)?;
        create(name, &config, spec, storage)
    }

    /// A pool that lends offsets into `storage` inside this process only, under no name: the bookkeeping
    /// is out of reach of whoever else has the storage.
    ///
    /// ```
    /// use shm_pool::{Policy, Pool, PoolConfig, Storage, Wait};
    /// use std::error::Error;
    ///
    /// /// Memory that somebody else maps too.
    /// #[derive(Debug)]
    /// struct Mapped(usize);
    ///
    /// impl Storage for Mapped {
    ///     const ALIGNMENT: usize = 256;
    ///     fn len(&self) -> usize { self.0 }
    ///     fn descriptor(&self) -> Vec<u8> { Vec::new() }
    ///     fn attach(_: &[u8], len: usize) -> Result<Mapped, Box<dyn Error + Send + Sync>> { Ok(Mapped(len)) }
    /// }
    ///
    /// let pool = Pool::process_local_over("slots", &PoolConfig::slots(2, 1000)?, Mapped(4096))?;
    /// let first = pool.lend(1000, Wait::Try, Policy::Fail)?;
    /// let second = pool.lend(1000, Wait::Try, Policy::Fail)?;
    /// assert_eq!(first.offset().abs_diff(second.offset()), 1024);
    /// assert!(pool.lend(1000, Wait::Try, Policy::Fail).is_err());
    /// drop(first);
    /// assert!(pool.lend(1000, Wait::Try, Policy::Fail).is_ok());
    /// # Ok::<(), Box<dyn Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Pool::create_over`].
    pub fn process_local_over(
        name: &str,
        config: &PoolConfig,
        storage: S,
    ) -> Result<Pool<S>, CreateError> {
        let (config, spec) = Pool::plan_over(name, config, &storage)?;
        own(Segment::process_local(name, spec)?, &config, storage)
    }

    fn plan_over(
        name: &str,
        config: &PoolConfig,
        storage: &S,
    ) -> Result<(PoolConfig, SegmentSpec), CreateError> {
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
        let seats = config.seats();
        let spec = spec_of(&config, storage.companion_len(config.slots, seats), &descriptor);
        Ok((config, spec))
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
        let seats = layout.lanes * SEATS_PER_LANE;
        let (expected, found) = (storage.companion_len(layout.slots, seats), segment.payload_len());
        if found != expected {
            let (expected, found) = (expected.to_string(), found as u64);
            let corrupt = shm_core::OpenError::corrupt(name, "payload_len", expected, found);
            return Err(corrupt.into());
        }
        attach(segment, layout, storage, false)
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
    let mut tries = TRIES;
    let segment = loop {
        match Segment::create(name, spec.clone()) {
            Err(shm_core::CreateError::Exists { .. }) if tries > 0 => match make_way(name) {
                // Perhaps somebody only looks, to create it too.
                Err(CreateError::Orphaned { .. }) if tries > 1 => std::thread::sleep(PAUSE),
                outcome => outcome?,
            },
            outcome => break outcome?,
        }
        tries -= 1;
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
        Ok(next) if next.is_held(OWNER_BYTE).map_err(io)? => Err(CreateError::AlreadyOwned {
            name: name.to_owned(),
            pid: next.creator_pid(),
            since_wall_ns: next.created_wall_ns(),
        }),
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
    let ledger = Ledger::new(segment, layout, S::WORKS_ON);
    ledger
        .own()
        .map_err(|source| CreateError::Io { name: ledger.segment.name().to_owned(), source })?;
    let persistent = config.persistent;
    Ok(Pool::of(Arc::new(Core { ledger, storage, ownership, persistent })))
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
    let ledger = Ledger::new(segment, layout, S::WORKS_ON);
    ledger.own().map_err(|source| OpenError::Io { name, source })?;
    Ok(Pool::of(Arc::new(Core { ledger, storage, ownership: None, persistent: false })))
}
