//! Which addresses a device may use, and what lies behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::block::Block;
use crate::pages::Pages;
use crate::status::{Result, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cuMemAlloc`.
    Device,
    /// `cuMemAllocAsync`.
    Pool,
    /// `cuMemAllocManaged`.
    Managed,
    /// Page-locked memory that the driver allocated.
    Pinned,
    /// Page-locked memory of the caller's.
    Registered,
    /// Opened by a legacy handle.
    Imported,
    /// `cuMemMap`.
    Mapped,
}

/// A run of addresses with one thing behind it.
pub struct Region {
    pub base: u64,
    pub bytes: u64,
    pub kind: Kind,
    /// The handle of the context it belongs to.
    pub context: usize,
    /// The ordinal of the device it lies on.
    pub device: usize,
    /// Unique among all regions of the process, also of the past.
    pub id: u64,
    pub flags: u32,
    pub block: Option<Arc<Block>>,
    /// Keeps the addresses from being given to anything else.
    pub pages: Option<Arc<Pages>>,
    /// What each device may do here, where that is granted one by one.
    pub access: Mutex<HashMap<usize, u32>>,
    gone: AtomicBool,
}

pub const READ: u32 = 1;
pub const READ_WRITE: u32 = 3;

impl Region {
    pub fn new(kind: Kind, base: u64, bytes: u64) -> Self {
        Self {
            base,
            bytes,
            kind,
            context: 0,
            device: 0,
            id: 0,
            flags: 0,
            block: None,
            pages: None,
            access: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    pub fn is_host(&self) -> bool {
        matches!(self.kind, Kind::Pinned | Kind::Registered)
    }

    pub fn is_seen_by_host(&self) -> bool {
        self.is_host() || self.kind == Kind::Managed
    }

    /// Where the worker finds the bytes at `address`, which lies inside.
    fn place(&self, address: u64) -> usize {
        match &self.block {
            Some(block) => block.data() + (address - self.base) as usize,
            None => address as usize,
        }
    }

    /// From now on work that uses it is an error.
    pub fn end(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Why work on it that runs now goes wrong, if it does.
    pub fn wrong(&self, device: usize, write: bool) -> Option<String> {
        let name = || format!("{:?} memory at {:#x}", self.kind, self.base);
        if self.gone.load(Ordering::Acquire) {
            return Some(format!("queued work used {} after it was freed", name()));
        }
        if self.kind == Kind::Imported && self.block.as_ref().is_some_and(|it| it.is_retired()) {
            return Some(format!("use after the exporter freed it: {}", name()));
        }
        if self.kind == Kind::Mapped {
            let granted = self.access.lock().get(&device).copied().unwrap_or(0);
            let wanted = if write { READ_WRITE } else { READ };
            if granted & wanted != wanted {
                let what = if write { "write to" } else { "read of" };
                return Some(format!("{what} {} without that access", name()));
            }
        }
        None
    }
}

/// Bytes that queued work reads or writes.
pub struct Place {
    pub region: Option<Arc<Region>>,
    pub at: usize,
}

/// All regions by address.
#[derive(Default)]
pub struct AddressMap {
    regions: BTreeMap<u64, Arc<Region>>,
}

impl AddressMap {
    pub fn insert(&mut self, region: Region) -> Arc<Region> {
        let region = Arc::new(region);
        self.regions.insert(region.base, Arc::clone(&region));
        region
    }

    /// The region that `address` lies in.
    pub fn at(&self, address: u64) -> Option<&Arc<Region>> {
        let (_, region) = self.regions.range(..=address).next_back()?;
        (address - region.base < region.bytes).then_some(region)
    }

    pub fn starting(&self, base: u64) -> Option<&Arc<Region>> {
        self.regions.get(&base)
    }

    pub fn remove(&mut self, base: u64) -> Option<Arc<Region>> {
        let region = self.regions.remove(&base)?;
        region.end();
        Some(region)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.regions.values()
    }

    /// The regions in a range, the last one first. They never overlap each other.
    pub fn overlapping(&self, base: u64, bytes: u64) -> impl Iterator<Item = &Arc<Region>> {
        let end = base.saturating_add(bytes);
        let below = self.regions.range(..end).rev().map(|(_, region)| region);
        below.take_while(move |region| region.base + region.bytes > base)
    }

    /// A range that a device uses: all of it must lie in one run of memory that it can reach.
    pub fn device_range(&self, address: u64, bytes: u64) -> Result<Vec<(Place, usize)>> {
        let mut parts = Vec::new();
        let (mut at, mut left) = (address, bytes);
        loop {
            let region = self.at(at).ok_or(Status::INVALID_VALUE)?;
            let inside = (region.base + region.bytes - at).min(left);
            let place = Place { region: Some(Arc::clone(region)), at: region.place(at) };
            parts.push((place, inside as usize));
            left -= inside;
            at += inside;
            // Only mappings lie side by side as one range.
            if left == 0 {
                return Ok(parts);
            }
            if region.kind != Kind::Mapped {
                return Err(Status::INVALID_VALUE);
            }
        }
    }

    /// A range on the host: page-locked memory as a region, any other as bare addresses.
    pub fn host_range(&self, address: u64, bytes: u64) -> Result<Place> {
        let Some(region) = self.overlapping(address, bytes.max(1)).next() else {
            return Ok(Place { region: None, at: address as usize });
        };
        let inside =
            address >= region.base && address + bytes <= region.base.saturating_add(region.bytes);
        if !region.is_seen_by_host() || !inside {
            return Err(Status::INVALID_VALUE);
        }
        Ok(Place { region: Some(Arc::clone(region)), at: region.place(address) })
    }
}
