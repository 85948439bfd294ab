//! Allocating and freeing device memory.

use std::sync::Arc;

use crate::address::{Kind, Region};
use crate::block::{Block, Sharing};
use crate::context::{Context, current, synchronize_all};
use crate::driver::Driver;
use crate::inject::{self, Fault};
use crate::pages::Pages;
use crate::status::{Result, Status};
use crate::stream;

/// `cuMemAlloc` and its kin: which one is told by `kind`.
pub fn allocate(kind: Kind, bytes: usize, flags: u32) -> Result<u64> {
    let (driver, context) = current()?;
    allocate_in(driver, &context, kind, bytes, flags)
}

/// Memory that a stream allocates: the address is there at once.
pub fn allocate_on(bytes: usize, handle: usize) -> Result<u64> {
    let (driver, context) = current()?;
    stream::find_in(handle, &context)?;
    allocate_in(driver, &context, Kind::Pool, bytes, 0)
}

fn allocate_in(
    driver: &Driver,
    context: &Context,
    kind: Kind,
    bytes: usize,
    flags: u32,
) -> Result<u64> {
    if bytes == 0 {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::OutOfMemory)?;
    let device = &driver.devices[context.device];
    let sharing = if kind == Kind::Device { Sharing::Legacy } else { Sharing::Private };
    let block = Block::create(bytes, device.physical, sharing, &device.used, device.memory)?;
    let pages = (kind != Kind::Managed).then(|| Pages::reserve(bytes, 512)).transpose()?;
    let base = pages.as_ref().map_or(block.data(), Pages::base) as u64;
    let mut region = Region::new(kind, base, bytes as u64);
    region.context = context.handle;
    region.device = context.device;
    region.id = driver.new_id() as u64;
    region.flags = flags;
    region.block = Some(Arc::new(block));
    region.pages = pages.map(Arc::new);
    driver.state().map.insert(region);
    Ok(base)
}

/// Frees after all queued work.
pub fn free(address: u64) -> Result {
    let (driver, _context) = current()?;
    if address == 0 {
        return Ok(());
    }
    freeable(driver, address)?;
    synchronize_all(driver);
    release(driver, address)
}

/// Frees in stream order.
pub fn free_on(address: u64, handle: usize) -> Result {
    let (driver, context) = current()?;
    let stream = stream::find_in(handle, &context)?;
    if freeable(driver, address)?.kind == Kind::Managed {
        return Err(Status::INVALID_VALUE);
    }
    let work = move |_: &Context| {
        if release(driver, address).is_err() {
            driver.violation(format!("freed twice in stream order: memory at {address:#x}"));
        }
        Ok(())
    };
    context.submit(&stream, Box::new(work))?;
    Ok(())
}

fn freeable(driver: &Driver, address: u64) -> Result<Arc<Region>> {
    let state = driver.state();
    let region = state.map.starting(address).ok_or(Status::INVALID_VALUE)?;
    match region.kind {
        Kind::Device | Kind::Pool | Kind::Managed => Ok(Arc::clone(region)),
        Kind::Pinned | Kind::Registered | Kind::Imported | Kind::Mapped => {
            Err(Status::INVALID_VALUE)
        }
    }
}

fn release(driver: &Driver, address: u64) -> Result {
    let region = driver.state().map.remove(address).ok_or(Status::INVALID_VALUE)?;
    if let Some(block) = &region.block
        && block.retire()
    {
        driver.violation(format!("freed while mapped by others: memory at {address:#x}"));
    }
    Ok(())
}

/// Free and total bytes of the current device.
pub fn info() -> Result<(u64, u64)> {
    let (driver, context) = current()?;
    let device = &driver.devices[context.device];
    let used = device.used.load(std::sync::atomic::Ordering::Relaxed);
    Ok((device.memory.saturating_sub(used), device.memory))
}
