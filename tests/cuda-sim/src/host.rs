//! Page-locked host memory: the driver's own and registered memory of the caller's.

use std::fs;
use std::sync::Arc;

use crate::address::{Kind, Region};
use crate::context::{current, synchronize_all};
use crate::inject::{self, Fault};
use crate::pages::Pages;
use crate::status::{Result, Status};

const KNOWN_FLAGS: u32 = 0xF;
const READ_ONLY: u32 = 8;

/// `cuMemHostAlloc`.
pub fn allocate(bytes: usize, flags: u32) -> Result<usize> {
    let (driver, context) = current()?;
    if bytes == 0 || flags & !7 != 0 {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::OutOfMemory)?;
    let pages = Pages::fresh(bytes)?;
    let base = pages.base();
    let mut region = Region::new(Kind::Pinned, base as u64, bytes as u64);
    region.context = context.handle;
    region.device = context.device;
    region.id = driver.new_id() as u64;
    region.flags = flags;
    region.pages = Some(Arc::new(pages));
    driver.state().map.insert(region);
    Ok(base)
}

/// `cuMemFreeHost`, after all queued work.
pub fn free(address: usize) -> Result {
    remove(address, Kind::Pinned, Status::INVALID_VALUE)
}

/// `cuMemHostRegister`: all of it must be mapped, and writable unless it is said not to be.
pub fn register(address: usize, bytes: usize, flags: u32) -> Result {
    let (driver, context) = current()?;
    let end = address.checked_add(bytes).ok_or(Status::INVALID_VALUE)?;
    if address == 0 || bytes == 0 || flags & !KNOWN_FLAGS != 0 {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::Registration)?;
    let mut state = driver.state();
    if let Some(other) = state.map.overlapping(address as u64, bytes as u64).next() {
        return Err(match other.kind {
            Kind::Registered | Kind::Pinned => Status::HOST_MEMORY_ALREADY_REGISTERED,
            _ => Status::INVALID_VALUE,
        });
    }
    if !is_mapped(address, end, flags & READ_ONLY == 0) {
        return Err(Status::INVALID_VALUE);
    }
    let mut region = Region::new(Kind::Registered, address as u64, bytes as u64);
    region.context = context.handle;
    region.device = context.device;
    region.id = driver.new_id() as u64;
    region.flags = flags;
    state.map.insert(region);
    Ok(())
}

/// `cuMemHostUnregister`, after all queued work.
pub fn unregister(address: usize) -> Result {
    remove(address, Kind::Registered, Status::HOST_MEMORY_NOT_REGISTERED)
}

/// The device's address of page-locked memory: the same number.
pub fn device_pointer(address: usize) -> Result<(u64, u32)> {
    let (driver, _context) = current()?;
    let state = driver.state();
    let region = state.map.at(address as u64).ok_or(Status::INVALID_VALUE)?;
    if region.is_host() { Ok((address as u64, region.flags)) } else { Err(Status::INVALID_VALUE) }
}

fn remove(address: usize, kind: Kind, unknown: Status) -> Result {
    let (driver, _context) = current()?;
    let is_there =
        driver.state().map.starting(address as u64).is_some_and(|region| region.kind == kind);
    if !is_there {
        return Err(unknown);
    }
    synchronize_all(driver);
    driver.state().map.remove(address as u64).ok_or(unknown)?;
    Ok(())
}

/// Whether this process may touch all of `start..end`.
fn is_mapped(start: usize, end: usize, writing: bool) -> bool {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return true };
    let mut reached = start;
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(access)) = (words.next(), words.next()) else { continue };
        let Some((first, last)) = range.split_once('-') else { continue };
        let (Ok(first), Ok(last)) =
            (usize::from_str_radix(first, 16), usize::from_str_radix(last, 16))
        else {
            continue;
        };
        if last <= reached || first > reached {
            continue;
        }
        if !access.starts_with('r') || writing && access.as_bytes().get(1) != Some(&b'w') {
            return false;
        }
        reached = last;
        if reached >= end {
            return true;
        }
    }
    false
}
