//! Host memory that a device reaches by itself: pages that were pinned, and pages that exist already
//! and are registered, such as those of a segment.
//!
//! Upholds invariant 6: a registration keeps what owns its pages until it is taken back.

use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, check};
use core::any::Any;
use core::ffi::c_void;
use std::fmt;
use std::sync::Arc;

const PORTABLE: u32 = 1;
const DEVICE_MAP: u32 = 2;

/// Pages of host memory of one's own that copies reach without a detour.
#[derive(Debug)]
pub struct PinnedBuffer {
    device: Device,
    address: usize,
    len: usize,
}

impl PinnedBuffer {
    /// `len` bytes of zeroes.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn new(device: &Device, len: usize) -> Result<PinnedBuffer, CudaError> {
        let _current = device.enter()?;
        let mut address = core::ptr::null_mut();
        // SAFETY: `address` is writable; a context is current.
        let made = unsafe { calls::cuMemHostAlloc(&mut address, len, PORTABLE | DEVICE_MAP) };
        check("cuMemHostAlloc", made)?;
        // SAFETY: as many writable bytes, nobody else's yet.
        unsafe { address.cast::<u8>().write_bytes(0, len) };
        Ok(PinnedBuffer { device: device.clone(), address: address as usize, len })
    }

    /// Address of the first byte. Bytes that a queued copy uses are not for slices.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.address as *mut u8
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        if let Ok(_current) = self.device.enter() {
            // SAFETY: allocated by `new`, freed once; the driver finishes queued work on it first.
            let _ = unsafe { calls::cuMemFreeHost(self.address as *mut c_void) };
        }
    }
}

/// Pages that belong to somebody else, made reachable for the device until this is dropped.
pub struct Registration {
    device: Device,
    host: usize,
    on_device: u64,
    len: usize,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Registration {
    /// Registers `len` bytes of whole pages at `host`, which live as long as `owner`.
    ///
    /// # Safety
    /// They are mapped and writable for as long as `owner` lives.
    ///
    /// # Errors
    /// What the driver refuses, such as pages that are registered already.
    pub unsafe fn new(
        device: &Device,
        host: *mut u8,
        len: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Registration, CudaError> {
        let _current = device.enter()?;
        let host = host.cast::<c_void>();
        // SAFETY: mapped and writable, by the caller's promise.
        let made = unsafe { calls::cuMemHostRegister_v2(host, len, PORTABLE | DEVICE_MAP) };
        check("cuMemHostRegister", made)?;
        let device = device.clone();
        // From here on dropping it takes the registration back.
        let mut registration =
            Registration { device, host: host as usize, on_device: 0, len, _owner: owner };
        // SAFETY: the address is writable, and the pages are registered.
        let told =
            unsafe { calls::cuMemHostGetDevicePointer_v2(&mut registration.on_device, host, 0) };
        check("cuMemHostGetDevicePointer", told)?;
        Ok(registration)
    }

    /// Where the device finds what this process has at `host`.
    ///
    /// # Panics
    /// If that is not inside.
    pub fn device_address(&self, host: *const u8) -> u64 {
        let offset = (host as usize).checked_sub(self.host).filter(|&offset| offset < self.len);
        match offset {
            Some(offset) => self.on_device + offset as u64,
            None => panic!("the address lies outside of the registered pages"),
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({:#x}, {} bytes, {:?})", self.host, self.len, self.device)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        if let Ok(_current) = self.device.enter() {
            // SAFETY: registered by `new`, taken back once; whoever queued work on it waited for it.
            let _ = unsafe { calls::cuMemHostUnregister(self.host as *mut c_void) };
        }
    }
}
