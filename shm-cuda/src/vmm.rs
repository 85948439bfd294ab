//! Allocations that live as long as anybody has them: physical memory, its file descriptor, and
//! mappings of it (CUDA driver API, virtual memory management).
//!
//! Unlike a legacy handle, the descriptor keeps the memory: an importer outlives the exporter, and may
//! be given read access only. It has to travel over a Unix socket.
//!
//! Upholds invariants 4 (importers that only read cannot write) and 6.

#![cfg(unix)]

use crate::buffer::DeviceSlice;
use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, check};
use core::ffi::{c_int, c_void};
use cust::sys::{
    CUmemAccess_flags, CUmemAllocationHandleType, CUmemAllocationType, CUmemLocation,
    CUmemLocationType,
};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`.
const POSIX_FD: c_int = 1;
/// `CU_MEM_ALLOC_GRANULARITY_MINIMUM`.
const MINIMUM: c_int = 0;
/// `CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED`.
const FD_SUPPORTED: i32 = 103;

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The device faults if it writes.
    ReadOnly,
    /// Anything.
    ReadWrite,
}

/// Physical memory of a device with one mapping in this process.
#[derive(Debug)]
pub struct VmmBuffer {
    device: Device,
    handle: u64,
    address: u64,
    /// Of the mapping: a multiple of the granularity.
    mapped: usize,
    len: usize,
    parts: Parts,
}

/// How far the making has come: what the drop has to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Parts {
    Physical,
    Reserved,
    Mapped,
}

impl VmmBuffer {
    /// True if the device's memory can be sent as a file descriptor.
    pub fn is_supported(device: &Device) -> bool {
        device.attribute(FD_SUPPORTED) != 0
    }

    /// `len` bytes, rounded up to the device's granularity (2 MiB as a rule), readable and writable.
    ///
    /// # Errors
    /// What the driver refuses, such as [`CudaErrorKind::OutOfMemory`](crate::CudaErrorKind).
    pub fn new(device: &Device, len: usize) -> Result<VmmBuffer, CudaError> {
        let _current = device.enter()?;
        let properties = properties_of(device);
        let mapped = rounded(len, &properties)?;
        let mut handle = 0;
        // SAFETY: `handle` is writable and the properties are complete.
        let made = unsafe { calls::cuMemCreate(&mut handle, mapped, &properties, 0) };
        check("cuMemCreate", made)?;
        VmmBuffer::map(device, handle, mapped, len, Permission::ReadWrite)
    }

    /// Maps memory that another process sent; the descriptor may be closed afterwards.
    ///
    /// # Errors
    /// What the driver refuses: a descriptor that is none of its own, or a length that is not the
    /// exporter's.
    pub fn import(
        device: &Device,
        descriptor: BorrowedFd<'_>,
        len: usize,
        permission: Permission,
    ) -> Result<VmmBuffer, CudaError> {
        let _current = device.enter()?;
        let mapped = rounded(len, &properties_of(device))?;
        let mut handle = 0;
        let shareable = descriptor.as_raw_fd() as usize as *mut c_void;
        // SAFETY: `handle` is writable; for this kind of handle the driver takes the number itself.
        let made =
            unsafe { calls::cuMemImportFromShareableHandle(&mut handle, shareable, POSIX_FD) };
        check("cuMemImportFromShareableHandle", made)?;
        VmmBuffer::map(device, handle, mapped, len, permission)
    }

    fn map(
        device: &Device,
        handle: u64,
        mapped: usize,
        len: usize,
        permission: Permission,
    ) -> Result<VmmBuffer, CudaError> {
        let device = device.clone();
        // From here on dropping it takes back what was done.
        let mut buffer =
            VmmBuffer { device, handle, address: 0, mapped, len, parts: Parts::Physical };
        // SAFETY: `address` is writable; any place will do.
        let reserved = unsafe { calls::cuMemAddressReserve(&mut buffer.address, mapped, 0, 0, 0) };
        check("cuMemAddressReserve", reserved)?;
        buffer.parts = Parts::Reserved;
        // SAFETY: the range was just reserved, and the handle is ours.
        let done = unsafe { calls::cuMemMap(buffer.address, mapped, 0, handle, 0) };
        check("cuMemMap", done)?;
        buffer.parts = Parts::Mapped;
        let access = calls::CUmemAccessDesc {
            location: location_of(&buffer.device),
            flags: match permission {
                Permission::ReadOnly => CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READ,
                Permission::ReadWrite => CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
            },
        };
        // SAFETY: the range was just mapped; one complete description.
        let allowed = unsafe { calls::cuMemSetAccess(buffer.address, mapped, &access, 1) };
        check("cuMemSetAccess", allowed)?;
        Ok(buffer)
    }

    /// A descriptor that keeps the memory, for another process to [`import`](VmmBuffer::import).
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn export(&self) -> Result<OwnedFd, CudaError> {
        let _current = self.device.enter()?;
        descriptor_of(self.handle)
    }

    /// The device that the memory lies on, by its number in this process, if the driver tells.
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn location(&self) -> Option<usize> {
        let _current = self.device.enter().ok()?;
        // Longer than any driver's description, of which only one number is read.
        let mut description = [0_u64; 32];
        let properties = description.as_mut_ptr().cast::<calls::CUmemAllocationProp>();
        // SAFETY: more writable, aligned bytes than the driver writes; the handle is ours.
        let told =
            unsafe { calls::cuMemGetAllocationPropertiesFromHandle(properties, self.handle) };
        // SAFETY: inside of the bytes above, which are initialised; any bytes are an int.
        let number: c_int = unsafe { (&raw const (*properties).location.id).read() };
        (told == 0).then(|| usize::try_from(number).ok()).flatten()
    }

    /// All of it.
    pub fn as_slice(&self) -> DeviceSlice<'_> {
        // SAFETY: mapped for as long as `self`.
        unsafe { DeviceSlice::from_raw(&self.device, self.address, self.len) }
    }

    /// The device it lies on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its length in bytes, as asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for VmmBuffer {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        let Ok(_current) = self.device.enter() else { return };
        // SAFETY: each step takes back one that was done, once. Unmapping does not always wait for
        // queued work, so that is finished first.
        unsafe {
            let _ = calls::cuCtxSynchronize();
            if self.parts >= Parts::Mapped {
                let _ = calls::cuMemUnmap(self.address, self.mapped);
            }
            if self.parts >= Parts::Reserved {
                let _ = calls::cuMemAddressFree(self.address, self.mapped);
            }
            let _ = calls::cuMemRelease(self.handle);
        }
    }
}

/// A descriptor of the allocation that is mapped at `address`, whoever made it.
///
/// # Errors
/// What the driver refuses, such as memory that is not virtual or was not made to be sent.
#[cfg(all(feature = "share", target_os = "linux"))]
pub(crate) fn export_at(device: &Device, address: u64) -> Result<OwnedFd, CudaError> {
    let _current = device.enter()?;
    let mut handle = 0;
    // SAFETY: `handle` is writable; the driver says whether anything is mapped at the address.
    let retained =
        unsafe { calls::cuMemRetainAllocationHandle(&mut handle, address as usize as *mut c_void) };
    check("cuMemRetainAllocationHandle", retained)?;
    let descriptor = descriptor_of(handle);
    // SAFETY: retained above, given back once; the mapping and the descriptor keep the memory.
    let _ = unsafe { calls::cuMemRelease(handle) };
    descriptor
}

/// A descriptor of an allocation. A context is current.
fn descriptor_of(handle: u64) -> Result<OwnedFd, CudaError> {
    let mut number: c_int = -1;
    // SAFETY: for this kind of handle the driver writes an int.
    let told = unsafe {
        calls::cuMemExportToShareableHandle((&raw mut number).cast::<c_void>(), handle, POSIX_FD, 0)
    };
    check("cuMemExportToShareableHandle", told)?;
    // SAFETY: the driver made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn location_of(device: &Device) -> CUmemLocation {
    let type_ = CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    CUmemLocation { type_, id: device.raw() }
}

fn properties_of(device: &Device) -> calls::CUmemAllocationProp {
    // SAFETY: plain numbers and a null pointer.
    let mut properties: calls::CUmemAllocationProp = unsafe { core::mem::zeroed() };
    properties.type_ = CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.requestedHandleTypes =
        CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    properties.location = location_of(device);
    properties
}

fn rounded(len: usize, properties: &calls::CUmemAllocationProp) -> Result<usize, CudaError> {
    let mut granularity = 0;
    // SAFETY: `granularity` is writable and the properties are complete.
    let told =
        unsafe { calls::cuMemGetAllocationGranularity(&mut granularity, properties, MINIMUM) };
    check("cuMemGetAllocationGranularity", told)?;
    let too_long = || CudaError::new("cuMemCreate", 2);
    len.max(1).checked_next_multiple_of(granularity.max(1)).ok_or_else(too_long)
}
