//! Virtual memory management: physical memory, addresses and access apart from each other.

use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};
use std::sync::Arc;

use rustix::io::fcntl_dupfd_cloexec;

use crate::address::{Kind, READ, READ_WRITE, Region};
use crate::block::{Block, Sharing};
use crate::driver::driver;
use crate::inject::{self, Fault};
use crate::pages::Pages;
use crate::status::{Result, Status};

/// Memory behind an allocation handle.
pub struct Physical {
    block: Arc<Block>,
    exportable: bool,
    device: usize,
    handles: u64,
}

/// Addresses without memory.
pub struct Reservation {
    pages: Arc<Pages>,
    bytes: usize,
}

/// The layout of `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub kind: i32,
    pub id: i32,
}

/// The layout of `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Properties {
    pub kind: i32,
    pub handle_types: i32,
    pub location: Location,
    pub windows: usize,
    pub flags: [u8; 8],
}

/// The layout of `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub location: Location,
    pub flags: u32,
}

pub const GRANULARITY: usize = 2 << 20;
const ON_DEVICE: i32 = 1;
const PINNED: i32 = 1;
const DESCRIPTOR: i32 = 1;

impl Properties {
    pub fn check(&self) -> Result<usize> {
        let driver = driver()?;
        let device = usize::try_from(self.location.id).map_err(|_| Status::INVALID_VALUE)?;
        let is_known = self.kind == PINNED
            && self.location.kind == ON_DEVICE
            && matches!(self.handle_types, 0 | DESCRIPTOR)
            && device < driver.devices.len();
        if is_known { Ok(device) } else { Err(Status::INVALID_VALUE) }
    }
}

/// `cuMemCreate`.
pub fn create(bytes: usize, properties: &Properties) -> Result<u64> {
    let driver = driver()?;
    let ordinal = properties.check()?;
    if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::OutOfMemory)?;
    let device = &driver.devices[ordinal];
    let exportable = properties.handle_types == DESCRIPTOR;
    let sharing = if exportable { Sharing::Descriptor } else { Sharing::Private };
    let block = Block::create(bytes, device.physical, sharing, &device.used, device.memory)?;
    keep(Physical { block: Arc::new(block), exportable, device: ordinal, handles: 1 })
}

/// `cuMemRelease`: the memory stays while it is mapped.
pub fn release(handle: u64) -> Result {
    let mut state = driver()?.state();
    let physical = state.physical.get_mut(&handle).ok_or(Status::INVALID_VALUE)?;
    physical.handles -= 1;
    if physical.handles == 0 {
        state.physical.remove(&handle);
    }
    Ok(())
}

/// `cuMemAddressReserve`.
pub fn reserve(bytes: usize, alignment: usize, flags: u64) -> Result<u64> {
    let driver = driver()?;
    let aligned = alignment == 0 || alignment.is_power_of_two();
    if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) || !aligned || flags != 0 {
        return Err(Status::INVALID_VALUE);
    }
    let pages = Pages::reserve(bytes, alignment.max(GRANULARITY))?;
    let base = pages.base() as u64;
    let reservation = Reservation { pages: Arc::new(pages), bytes };
    driver.state().reservations.insert(base, reservation);
    Ok(base)
}

/// `cuMemAddressFree`: of a whole reservation in which nothing is mapped.
pub fn free(base: u64, bytes: usize) -> Result {
    let mut state = driver()?.state();
    let reserved = state.reservations.get(&base).map(|it| it.bytes);
    if reserved != Some(bytes) || state.map.overlapping(base, bytes as u64).next().is_some() {
        return Err(Status::INVALID_VALUE);
    }
    state.reservations.remove(&base);
    Ok(())
}

/// `cuMemMap`.
pub fn map(base: u64, bytes: usize, offset: usize, handle: u64, flags: u64) -> Result {
    let driver = driver()?;
    let mut state = driver.state();
    let physical = state.physical.get(&handle).ok_or(Status::INVALID_VALUE)?;
    let (block, device) = (Arc::clone(&physical.block), physical.device);
    let (reserved, reservation) =
        state.reservations.range(..=base).next_back().ok_or(Status::INVALID_VALUE)?;
    let end = base.checked_add(bytes as u64).ok_or(Status::INVALID_VALUE)?;
    let fits = bytes != 0
        && bytes.is_multiple_of(GRANULARITY)
        && (base as usize).is_multiple_of(GRANULARITY)
        && bytes <= block.bytes()
        && end <= reserved + reservation.bytes as u64;
    if !fits || offset != 0 || flags != 0 {
        return Err(Status::INVALID_VALUE);
    }
    if state.map.overlapping(base, bytes as u64).next().is_some() {
        return Err(Status::INVALID_VALUE);
    }
    let mut region = Region::new(Kind::Mapped, base, bytes as u64);
    region.device = device;
    region.id = driver.new_id() as u64;
    region.flags = handle_types(physical.exportable) as u32;
    region.pages = Some(Arc::clone(&reservation.pages));
    region.block = Some(block);
    state.map.insert(region);
    Ok(())
}

/// `cuMemUnmap`: of one or more whole mappings that fill the range.
pub fn unmap(base: u64, bytes: usize) -> Result {
    let mut state = driver()?.state();
    for region in whole_mappings(&state.map, base, bytes)? {
        state.map.remove(region.base);
    }
    Ok(())
}

/// `cuMemSetAccess`.
pub fn set_access(base: u64, bytes: usize, granted: &[Access]) -> Result {
    let driver = driver()?;
    let state = driver.state();
    let mappings = whole_mappings(&state.map, base, bytes)?;
    for access in granted {
        let known = access.location.kind == ON_DEVICE
            && usize::try_from(access.location.id).is_ok_and(|id| id < driver.devices.len())
            && matches!(access.flags, 0 | READ | READ_WRITE);
        if !known {
            return Err(Status::INVALID_VALUE);
        }
    }
    for mapping in mappings {
        let mut now = mapping.access.lock();
        now.extend(granted.iter().map(|access| (access.location.id as usize, access.flags)));
    }
    Ok(())
}

/// `cuMemGetAccess`.
pub fn access(address: u64, location: Location) -> Result<u64> {
    let state = driver()?.state();
    let region = state.map.at(address).ok_or(Status::INVALID_VALUE)?;
    if region.kind != Kind::Mapped || location.kind != ON_DEVICE {
        return Err(Status::INVALID_VALUE);
    }
    let granted = region.access.lock();
    Ok(u64::from(granted.get(&(location.id as usize)).copied().unwrap_or(0)))
}

/// `cuMemExportToShareableHandle`: a descriptor that the caller closes.
pub fn export(handle: u64, handle_type: i32, flags: u64) -> Result<RawFd> {
    let state = driver()?.state();
    let physical = state.physical.get(&handle).ok_or(Status::INVALID_VALUE)?;
    if !physical.exportable || handle_type != DESCRIPTOR || flags != 0 {
        return Err(Status::INVALID_VALUE);
    }
    Ok(fcntl_dupfd_cloexec(physical.block.file(), 3)?.into_raw_fd())
}

/// `cuMemImportFromShareableHandle`: the descriptor stays the caller's.
pub fn import(descriptor: BorrowedFd<'_>, handle_type: i32) -> Result<u64> {
    let driver = driver()?;
    if handle_type != DESCRIPTOR {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::IpcOpen)?;
    let file = fcntl_dupfd_cloexec(descriptor, 3).map_err(|_| Status::INVALID_VALUE)?;
    let block = Block::open(file, Sharing::Descriptor)?;
    let device = driver
        .devices
        .iter()
        .position(|device| device.physical == block.device())
        .ok_or(Status::INVALID_VALUE)?;
    keep(Physical { block: Arc::new(block), exportable: true, device, handles: 1 })
}

/// `cuMemRetainAllocationHandle`: the handle of what is mapped at an address, once more.
pub fn retain(address: u64) -> Result<u64> {
    let driver = driver()?;
    let mut state = driver.state();
    let region = state.map.at(address).ok_or(Status::INVALID_VALUE)?;
    let (Kind::Mapped, Some(block)) = (region.kind, region.block.clone()) else {
        return Err(Status::INVALID_VALUE);
    };
    let (device, exportable) = (region.device, region.flags != 0);
    let known = state.physical.iter_mut().find(|(_, it)| Arc::ptr_eq(&it.block, &block));
    if let Some((handle, physical)) = known {
        physical.handles += 1;
        return Ok(*handle);
    }
    let handle = driver.new_id() as u64;
    state.physical.insert(handle, Physical { block, exportable, device, handles: 1 });
    Ok(handle)
}

/// `cuMemGetAllocationPropertiesFromHandle`.
pub fn properties(handle: u64) -> Result<Properties> {
    let state = driver()?.state();
    let physical = state.physical.get(&handle).ok_or(Status::INVALID_VALUE)?;
    Ok(Properties {
        kind: PINNED,
        handle_types: handle_types(physical.exportable),
        location: Location { kind: ON_DEVICE, id: physical.device as i32 },
        windows: 0,
        flags: [0; 8],
    })
}

/// Needs an initialised driver, and no context.
pub fn granularity(properties: &Properties) -> Result<usize> {
    properties.check()?;
    Ok(GRANULARITY)
}

fn keep(physical: Physical) -> Result<u64> {
    let driver = driver()?;
    let handle = driver.new_id() as u64;
    driver.state().physical.insert(handle, physical);
    Ok(handle)
}

fn handle_types(exportable: bool) -> i32 {
    if exportable { DESCRIPTOR } else { 0 }
}

fn whole_mappings(
    map: &crate::address::AddressMap,
    base: u64,
    bytes: usize,
) -> Result<Vec<Arc<Region>>> {
    let end = base.checked_add(bytes as u64).ok_or(Status::INVALID_VALUE)?;
    let mut found: Vec<_> = map.overlapping(base, bytes as u64).cloned().collect();
    found.reverse();
    let mut reached = base;
    for region in &found {
        if region.kind != Kind::Mapped || region.base != reached {
            return Err(Status::INVALID_VALUE);
        }
        reached += region.bytes;
    }
    if reached == end && bytes != 0 { Ok(found) } else { Err(Status::INVALID_VALUE) }
}
