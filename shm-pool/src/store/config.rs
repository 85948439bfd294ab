//! What a store is to be.

use crate::arena::MAX_CHUNKS;
use crate::config::{ConfigError, PoolConfig};
use std::time::Duration;

/// How a store is to be made.
///
/// ```
/// use shm_pool::StoreConfig;
/// use std::time::Duration;
///
/// // A gigabyte of entries that are forgotten after ten minutes.
/// let cache = StoreConfig::new(1 << 30)?.ttl(Duration::from_secs(600));
/// # Ok::<(), shm_pool::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoreConfig {
    pub(crate) pool: PoolConfig,
}

impl StoreConfig {
    /// `capacity` bytes of memory, reserved at once, for entries of any size.
    ///
    /// An entry takes a contiguous run of granules: its tensors, each rounded up to 256 bytes, and 256
    /// bytes or more for its key and layout.
    ///
    /// # Errors
    /// [`ConfigError::Capacity`].
    pub fn new(capacity: usize) -> Result<StoreConfig, ConfigError> {
        let pool = PoolConfig::chunks(capacity)?.queue_cells(0)?;
        Ok(StoreConfig { pool: PoolConfig { entries: true, ..pool } })
    }

    /// The unit in which memory is given to entries, in bytes: a power of two of at least 4096. By
    /// default the capacity is divided into about 16,000.
    ///
    /// # Errors
    /// [`ConfigError::Granule`].
    pub fn granule(self, bytes: usize) -> Result<StoreConfig, ConfigError> {
        Ok(StoreConfig { pool: self.pool.granule(bytes)? })
    }

    /// The most entries, at most 65,535; by default as many as there are granules. Each costs 256
    /// bytes of bookkeeping. Set it after [`StoreConfig::granule`].
    ///
    /// # Errors
    /// [`ConfigError::Slots`].
    pub fn entries(self, most: usize) -> Result<StoreConfig, ConfigError> {
        match most {
            1..=MAX_CHUNKS => Ok(StoreConfig { pool: PoolConfig { slots: most, ..self.pool } }),
            found => Err(ConfigError::Slots { found }),
        }
    }

    /// How long an entry is found after it was stored; by default for ever. Zero is for ever too.
    pub fn ttl(self, ttl: Duration) -> StoreConfig {
        StoreConfig { pool: PoolConfig { ttl, ..self.pool } }
    }

    /// From which age on a lease is reported as overdue; one second by default.
    pub fn overdue_after(self, age: Duration) -> StoreConfig {
        StoreConfig { pool: self.pool.overdue_after(age) }
    }

    /// Lets the store outlive its owner's handle, as
    /// [`PoolConfig::persistent`](crate::PoolConfig::persistent) does.
    pub fn persistent(self, persistent: bool) -> StoreConfig {
        StoreConfig { pool: self.pool.persistent(persistent) }
    }

    /// Bytes of the owner's own that everybody who opens the store can see.
    ///
    /// # Errors
    /// [`ConfigError::Metadata`] beyond 64 KiB.
    pub fn metadata(self, bytes: &[u8]) -> Result<StoreConfig, ConfigError> {
        Ok(StoreConfig { pool: self.pool.metadata(bytes)? })
    }
}
