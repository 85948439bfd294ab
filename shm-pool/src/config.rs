//! What a pool is to be.
//!
//! Upholds invariant 2: a configuration is possible or a typed error, and a geometry that was read
//! from a segment passes through the same checks.

use crate::arena::MAX_CHUNKS;
use crate::layout::{Geometry, Kind, Layout};
use crate::seat::MAX_SEATS;
use crate::word::SEATS_PER_LANE;
use std::time::Duration;

/// Slots and granules begin at multiples of this many bytes of host memory.
pub(crate) const ALIGNMENT: usize = 256;
/// The most slots of a pool.
pub const MAX_SLOTS: usize = 1 << 24;
/// The most metadata of a pool, in bytes.
pub const MAX_METADATA: usize = 64 << 10;
const MIN_GRANULE: usize = 4096;
/// Granules that a chunk pool has by default, about.
const GRANULES: usize = 16 * 1024;
pub(crate) const MAX_GRANULES: usize = (1 << 20) - 1;
const MIN_QUEUE_CELLS: usize = 1024;
const MAX_QUEUE_CELLS: usize = 1 << 20;

/// How a pool is to be made.
///
/// ```
/// use shm_pool::PoolConfig;
///
/// // Sixteen slots of one full-HD RGB image, for two consumers.
/// let images = PoolConfig::slots(16, 1920 * 1080 * 3)?.consumers(2)?;
/// // A gigabyte for tensors of any size.
/// let tensors = PoolConfig::chunks(1 << 30)?;
/// let error = PoolConfig::slots(0, 1).unwrap_err();
/// assert_eq!(error.to_string(), "slots is 0; a pool has 1 to 16777216 slots");
/// # Ok::<(), shm_pool::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub(crate) kind: Kind,
    pub(crate) slots: usize,
    pub(crate) slot_size: usize,
    pub(crate) granule: usize,
    pub(crate) capacity: usize,
    pub(crate) alignment: usize,
    pub(crate) expected: usize,
    pub(crate) queue_cells: Option<usize>,
    pub(crate) overdue: Duration,
    /// How long an entry of a store is believed; zero is for ever.
    pub(crate) ttl: Duration,
    pub(crate) persistent: bool,
    pub(crate) metadata: Vec<u8>,
    pub(crate) entries: bool,
}

/// Why a pool cannot be made that way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number of slots that no pool can have.
    #[error("slots is {found}; a pool has 1 to {MAX_SLOTS} slots")]
    Slots {
        /// The number as given.
        found: usize,
    },
    /// A slot without bytes, or one that no machine has room for.
    #[error("slot_size is {found} bytes; give 1 byte or more, as far as memory goes")]
    SlotSize {
        /// The size as given, in bytes.
        found: usize,
    },
    /// A capacity that no chunk pool can have.
    #[error("capacity is {found} bytes; give at least {least}, as far as memory goes")]
    Capacity {
        /// The capacity as given, in bytes.
        found: usize,
        /// The least, in bytes.
        least: usize,
    },
    /// A granule that is no power of two, too small, or too small for the capacity.
    #[error(
        "granule is {found} bytes; give a power of two of at least {MIN_GRANULE}, and at least \
         1/{MAX_GRANULES} of the capacity"
    )]
    Granule {
        /// The granule as given, in bytes.
        found: usize,
    },
    /// A granule for a pool of slots, which has none.
    #[error("granule is for chunk pools; this is a pool of slots of {slot_size} bytes")]
    GranuleOfSlots {
        /// What a slot has.
        slot_size: usize,
    },
    /// More consumers than a lease can name, or none.
    #[error("consumers is {found}; a pool has 1 to {MAX_SEATS} consumers")]
    Consumers {
        /// The number as given.
        found: usize,
    },
    /// More room for queues than a pool can have.
    #[error("queue_cells is {found}; at most {MAX_QUEUE_CELLS} are supported")]
    QueueCells {
        /// The number as given.
        found: usize,
    },
    /// More metadata than fits.
    #[error("metadata has {found} bytes; at most {MAX_METADATA} are supported")]
    Metadata {
        /// Its length in bytes.
        found: usize,
    },
}

impl PoolConfig {
    /// `slots` slots that hold up to `slot_size` bytes each; sizes are rounded up to 256.
    ///
    /// # Errors
    /// [`ConfigError::Slots`], [`ConfigError::SlotSize`].
    pub fn slots(slots: usize, slot_size: usize) -> Result<PoolConfig, ConfigError> {
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(ConfigError::Slots { found: slots });
        }
        let size = || ConfigError::SlotSize { found: slot_size };
        let rounded = slot_size.checked_next_multiple_of(ALIGNMENT).filter(|&size| size > 0);
        let rounded = rounded.ok_or_else(size)?;
        let fits = |&bytes: &usize| bytes <= isize::MAX as usize;
        let capacity = rounded.checked_mul(slots).filter(fits).ok_or_else(size)?;
        Ok(PoolConfig {
            kind: Kind::Slots,
            slots,
            slot_size: rounded,
            granule: 0,
            capacity,
            alignment: ALIGNMENT,
            expected: 1,
            queue_cells: None,
            overdue: Duration::from_secs(1),
            ttl: Duration::ZERO,
            persistent: false,
            metadata: Vec::new(),
            entries: false,
        })
    }

    /// `capacity` bytes that are lent in chunks of any size.
    ///
    /// A chunk is a contiguous run of granules. Its length is rounded up to one of 32 steps per octave,
    /// which keeps chunks of similar sizes interchangeable and wastes at most 3 %; chunks of more than an
    /// eighth of the capacity are rounded up to a granule only.
    ///
    /// # Errors
    /// [`ConfigError::Capacity`].
    pub fn chunks(capacity: usize) -> Result<PoolConfig, ConfigError> {
        let wanted = (capacity / GRANULES).next_power_of_two().max(MIN_GRANULE);
        PoolConfig::with_granule(capacity, wanted)
    }

    /// The unit in which a chunk pool lends, in bytes: a power of two of at least 4096. By default
    /// the capacity is divided into about 16,000.
    ///
    /// # Errors
    /// [`ConfigError::Granule`]; [`ConfigError::GranuleOfSlots`] for a pool of slots.
    pub fn granule(self, bytes: usize) -> Result<PoolConfig, ConfigError> {
        if self.kind == Kind::Slots {
            return Err(ConfigError::GranuleOfSlots { slot_size: self.slot_size });
        }
        let sized = PoolConfig::with_granule(self.capacity, bytes)?;
        let (slots, granule, capacity) = (sized.slots, sized.granule, sized.capacity);
        Ok(PoolConfig { slots, granule, capacity, slot_size: capacity, ..self })
    }

    fn with_granule(capacity: usize, granule: usize) -> Result<PoolConfig, ConfigError> {
        if !granule.is_power_of_two() || granule < MIN_GRANULE {
            return Err(ConfigError::Granule { found: granule });
        }
        let found = capacity;
        let impossible = || ConfigError::Capacity { found, least: 1 };
        let capacity = capacity
            .checked_next_multiple_of(granule)
            .filter(|&bytes| bytes > 0 && bytes <= isize::MAX as usize)
            .ok_or_else(impossible)?;
        let granules = capacity / granule;
        if granules > MAX_GRANULES {
            return Err(ConfigError::Granule { found: granule });
        }
        let slots = granules.min(MAX_CHUNKS);
        let config = PoolConfig::slots(slots, granule)?;
        Ok(PoolConfig { kind: Kind::Chunks, slot_size: capacity, granule, capacity, ..config })
    }

    /// How many consumers are expected, at most 64; 1 by default.
    ///
    /// A publication for everyone waits for each expected consumer, also for those who have not
    /// joined yet, until they leave. More may join, up to the next multiple of eight.
    ///
    /// # Errors
    /// [`ConfigError::Consumers`].
    pub fn consumers(self, expected: usize) -> Result<PoolConfig, ConfigError> {
        match expected {
            1..=MAX_SEATS => Ok(PoolConfig { expected, ..self }),
            found => Err(ConfigError::Consumers { found }),
        }
    }

    /// Room for the tickets of all queues together; by default twice the number of slots, within
    /// 1,024 to 65,536.
    ///
    /// # Errors
    /// [`ConfigError::QueueCells`].
    pub fn queue_cells(self, cells: usize) -> Result<PoolConfig, ConfigError> {
        match cells {
            0..=MAX_QUEUE_CELLS => Ok(PoolConfig { queue_cells: Some(cells), ..self }),
            found => Err(ConfigError::QueueCells { found }),
        }
    }

    /// From which age on a lease is reported as overdue; one second by default. Nothing is ever taken
    /// from a holder that lives because of it.
    pub fn overdue_after(self, age: Duration) -> PoolConfig {
        PoolConfig { overdue: age, ..self }
    }

    /// Lets the pool outlive its owner's handle. Otherwise the owner takes the name away when it lets
    /// go, and a pool that nobody is attached to is garbage, which is swept when space is needed.
    pub fn persistent(self, persistent: bool) -> PoolConfig {
        PoolConfig { persistent, ..self }
    }

    /// Bytes of the owner's own that everybody who opens the pool can see.
    ///
    /// # Errors
    /// [`ConfigError::Metadata`] beyond 64 KiB.
    pub fn metadata(self, bytes: &[u8]) -> Result<PoolConfig, ConfigError> {
        match bytes.len() {
            0..=MAX_METADATA => Ok(PoolConfig { metadata: bytes.to_vec(), ..self }),
            found => Err(ConfigError::Metadata { found }),
        }
    }

    /// Bytes that a storage has to have for such a pool, if its slots begin at multiples of `alignment`,
    /// a power of two: see [`Storage::ALIGNMENT`](crate::Storage::ALIGNMENT).
    pub fn storage_len(&self, alignment: usize) -> usize {
        self.clone().aligned_to(alignment).capacity
    }

    /// Seats of such a pool.
    pub(crate) fn seats(&self) -> usize {
        Layout::new(&self.geometry()).map_or(0, |layout| layout.lanes * SEATS_PER_LANE)
    }

    /// Slots begin at multiples of `bytes` of the storage, a power of two.
    pub(crate) fn aligned_to(mut self, bytes: usize) -> PoolConfig {
        let alignment = bytes.max(ALIGNMENT).next_power_of_two();
        self.alignment = alignment;
        if self.kind == Kind::Slots {
            self.slot_size = self.slot_size.next_multiple_of(alignment);
            self.capacity = self.slot_size.saturating_mul(self.slots);
        }
        self
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let granules = if self.kind == Kind::Chunks { self.capacity / self.granule } else { 0 };
        let queue_cells = self
            .queue_cells
            .unwrap_or_else(|| (2 * self.slots).clamp(MIN_QUEUE_CELLS, MAX_QUEUE_CELLS / 16));
        Geometry {
            version: Geometry::VERSION,
            kind: self.kind as u32,
            slots: self.slots as u64,
            slot_size: self.slot_size as u64,
            granules: granules as u64,
            granule: self.granule as u64,
            capacity: self.capacity as u64,
            alignment: self.alignment as u64,
            expected: self.expected as u32,
            entries: u32::from(self.entries),
            queue_cells: queue_cells as u64,
            overdue_ns: u64::try_from(self.overdue.as_nanos()).unwrap_or(u64::MAX),
            ttl_ns: u64::try_from(self.ttl.as_nanos()).unwrap_or(u64::MAX),
            reserved: [0; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_named() {
        let slots = |slots, size| PoolConfig::slots(slots, size).unwrap_err();
        assert!(matches!(slots(MAX_SLOTS + 1, 1), ConfigError::Slots { .. }));
        assert!(matches!(slots(1, 0), ConfigError::SlotSize { found: 0 }));
        assert!(matches!(slots(2, usize::MAX / 2), ConfigError::SlotSize { .. }));
        let chunks = |capacity| PoolConfig::chunks(capacity).unwrap_err();
        assert!(matches!(chunks(0), ConfigError::Capacity { found: 0, .. }));
        let config = PoolConfig::chunks(1 << 30).unwrap();
        assert!(matches!(config.clone().granule(4095), Err(ConfigError::Granule { found: 4095 })));
        assert!(matches!(config.clone().consumers(0), Err(ConfigError::Consumers { found: 0 })));
        assert!(matches!(config.consumers(65), Err(ConfigError::Consumers { found: 65 })));
        let slots = PoolConfig::slots(1, 1).unwrap().granule(4096).unwrap_err();
        assert!(matches!(slots, ConfigError::GranuleOfSlots { .. }));
    }

    #[test]
    fn a_gigabyte_has_sixteen_thousand_granules() {
        let geometry = PoolConfig::chunks(1 << 30).unwrap().geometry();
        assert_eq!((geometry.granules, geometry.granule), (16 * 1024, 64 * 1024));
    }
}
