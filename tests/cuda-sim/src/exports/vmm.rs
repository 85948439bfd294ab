//! Virtual memory management.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::slice;

use super::entries;
use crate::call::{Out, give};
use crate::status::Status;
use crate::vmm::{self, Access, Location, Properties};

entries! {
    fn cuMemGetAllocationGranularity(
        bytes: Out<usize>,
        properties: Option<&Properties>,
        option: c_int,
    ) {
        let properties = properties.ok_or(Status::INVALID_VALUE)?;
        if !matches!(option, 0 | 1) {
            return Err(Status::INVALID_VALUE);
        }
        give(bytes, vmm::granularity(properties)?)
    }

    fn cuMemCreate(
        handle: Out<u64>,
        bytes: usize,
        properties: Option<&Properties>,
        flags: u64,
    ) {
        let handle = handle.ok_or(Status::INVALID_VALUE)?;
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        handle.write(vmm::create(bytes, properties.ok_or(Status::INVALID_VALUE)?)?);
        Ok(())
    }

    fn cuMemRelease(handle: u64) {
        vmm::release(handle)
    }

    fn cuMemAddressReserve(
        base: Out<u64>,
        bytes: usize,
        alignment: usize,
        _wish: u64,
        flags: u64,
    ) {
        let base = base.ok_or(Status::INVALID_VALUE)?;
        base.write(vmm::reserve(bytes, alignment, flags)?);
        Ok(())
    }

    fn cuMemAddressFree(base: u64, bytes: usize) {
        vmm::free(base, bytes)
    }

    fn cuMemMap(base: u64, bytes: usize, offset: usize, handle: u64, flags: u64) {
        vmm::map(base, bytes, offset, handle, flags)
    }

    fn cuMemUnmap(base: u64, bytes: usize) {
        vmm::unmap(base, bytes)
    }

    fn cuMemSetAccess(base: u64, bytes: usize, granted: *const Access, count: usize) {
        if granted.is_null() || !granted.is_aligned() || !(1..=1024).contains(&count) {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the C caller says that `count` descriptions begin at `granted`, which is not
        // null and is aligned; any numbers are a description.
        let granted = unsafe { slice::from_raw_parts(granted, count) };
        vmm::set_access(base, bytes, granted)
    }

    fn cuMemGetAccess(flags: Out<u64>, location: Option<&Location>, address: u64) {
        give(flags, vmm::access(address, *location.ok_or(Status::INVALID_VALUE)?)?)
    }

    fn cuMemExportToShareableHandle(
        out: Option<&mut MaybeUninit<c_int>>,
        handle: u64,
        handle_type: c_int,
        flags: u64,
    ) {
        let out = out.ok_or(Status::INVALID_VALUE)?;
        out.write(vmm::export(handle, handle_type, flags)?);
        Ok(())
    }

    fn cuMemImportFromShareableHandle(handle: Out<u64>, shared: *mut c_void, handle_type: c_int) {
        let handle = handle.ok_or(Status::INVALID_VALUE)?;
        let number = i32::try_from(shared.addr()).map_err(|_| Status::INVALID_VALUE)?;
        // SAFETY: the number is not -1; it is only asked to be duplicated at once, which fails
        // for a number that is no open descriptor.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        handle.write(vmm::import(descriptor, handle_type)?);
        Ok(())
    }

    fn cuMemRetainAllocationHandle(handle: Out<u64>, address: u64) {
        let handle = handle.ok_or(Status::INVALID_VALUE)?;
        handle.write(vmm::retain(address)?);
        Ok(())
    }

    fn cuMemGetAllocationPropertiesFromHandle(properties: Out<Properties>, handle: u64) {
        give(properties, vmm::properties(handle)?)
    }
}
