//! Device memory and page-locked host memory.

use std::ffi::c_void;
use std::ptr;

use super::entries;
use crate::address::Kind;
use crate::call::{Out, give, offer};
use crate::context::current;
use crate::host;
use crate::memory;
use crate::status::Status;

entries! {
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let (unused, all) = memory::info()?;
        offer(free, unused as usize);
        offer(total, all as usize);
        Ok(())
    }

    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) {
        let address = address.ok_or(Status::INVALID_VALUE)?;
        address.write(memory::allocate(Kind::Device, bytes, 0)?);
        Ok(())
    }

    fn cuMemAllocManaged(address: Out<u64>, bytes: usize, flags: u32) {
        let address = address.ok_or(Status::INVALID_VALUE)?;
        // CU_MEM_ATTACH_GLOBAL or CU_MEM_ATTACH_HOST.
        if !matches!(flags, 1 | 2) {
            return Err(Status::INVALID_VALUE);
        }
        address.write(memory::allocate(Kind::Managed, bytes, flags)?);
        Ok(())
    }

    fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: usize) {
        let address = address.ok_or(Status::INVALID_VALUE)?;
        address.write(memory::allocate_on(bytes, stream)?);
        Ok(())
    }

    fn cuMemFree_v2(address: u64) {
        memory::free(address)
    }

    fn cuMemFreeAsync(address: u64, stream: usize) {
        memory::free_on(address, stream)
    }

    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) {
        let (driver, _context) = current()?;
        let state = driver.state();
        let region = state.map.at(address).ok_or(Status::NOT_FOUND)?;
        offer(base, region.base);
        offer(bytes, region.bytes as usize);
        Ok(())
    }

    fn cuMemAllocHost_v2(address: Out<*mut c_void>, bytes: usize) {
        let address = address.ok_or(Status::INVALID_VALUE)?;
        address.write(ptr::with_exposed_provenance_mut(host::allocate(bytes, 0)?));
        Ok(())
    }

    fn cuMemHostAlloc(address: Out<*mut c_void>, bytes: usize, flags: u32) {
        let address = address.ok_or(Status::INVALID_VALUE)?;
        address.write(ptr::with_exposed_provenance_mut(host::allocate(bytes, flags)?));
        Ok(())
    }

    fn cuMemFreeHost(address: *mut c_void) {
        host::free(address.expose_provenance())
    }

    fn cuMemHostRegister_v2(address: *mut c_void, bytes: usize, flags: u32) {
        host::register(address.expose_provenance(), bytes, flags)
    }

    fn cuMemHostUnregister(address: *mut c_void) {
        host::unregister(address.expose_provenance())
    }

    fn cuMemHostGetDevicePointer_v2(device: Out<u64>, address: *mut c_void, flags: u32) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        give(device, host::device_pointer(address.expose_provenance())?.0)
    }

    fn cuMemHostGetFlags(flags: Out<u32>, address: *mut c_void) {
        give(flags, host::device_pointer(address.expose_provenance())?.1)
    }
}
