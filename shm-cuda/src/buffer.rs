//! Memory of a device: allocations made here, and ranges of anybody's.
//!
//! Upholds invariant 6: an allocation keeps its device's context, and a range its allocation.

use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::driver::calls;
use crate::error::{CudaError, check};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ops::Range;
use std::sync::Arc;

/// An allocation on a device, freed when its last clone is dropped: a plain one, which every process
/// can be given (`cuMemAlloc`).
///
/// ```no_run
/// use shm_cuda::{CudaStream, Device, DeviceBuffer};
/// let device = Device::open(0)?;
/// let stream = CudaStream::new(&device)?;
/// let buffer = DeviceBuffer::new(&device, 4096)?;
/// buffer.as_slice().upload(&[7; 4096], stream.as_ref())?;
/// assert_eq!(buffer.as_slice().to_vec(stream.as_ref())?, [7; 4096]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeviceBuffer {
    allocation: Arc<Allocation>,
}

#[derive(Debug)]
struct Allocation {
    device: Device,
    address: u64,
    len: usize,
}

impl DeviceBuffer {
    /// `len` bytes, aligned to 256, with whatever was there before.
    ///
    /// # Errors
    /// [`CudaErrorKind::OutOfMemory`](crate::CudaErrorKind) where there is no room;
    /// [`CudaErrorKind::InvalidValue`](crate::CudaErrorKind) for 0 bytes.
    pub fn new(device: &Device, len: usize) -> Result<DeviceBuffer, CudaError> {
        let _current = device.enter()?;
        let mut address = 0;
        // SAFETY: `address` is writable; a context is current.
        check("cuMemAlloc", unsafe { calls::cuMemAlloc_v2(&mut address, len) })?;
        let allocation = Allocation { device: device.clone(), address, len };
        crate::ipc::remember_own(address);
        Ok(DeviceBuffer { allocation: Arc::new(allocation) })
    }

    /// All of it.
    pub fn as_slice(&self) -> DeviceSlice<'_> {
        let Allocation { device, address, len } = &*self.allocation;
        DeviceSlice { device, address: *address, len: *len, _owner: PhantomData }
    }

    /// The device it lies on.
    pub fn device(&self) -> &Device {
        &self.allocation.device
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.allocation.address
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.allocation.len
    }

    /// Never true: the driver gives no empty allocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        crate::ipc::forget_own(self.address);
        if let Ok(_current) = self.device.enter() {
            // SAFETY: allocated by `new`, freed once; the driver finishes queued work on it first.
            let _ = unsafe { calls::cuMemFree_v2(self.address) };
        }
    }
}

/// A range of a device's memory.
///
/// It is an address and not a reference: what lies there may be changed by anybody who has it, and is
/// reached only through the driver's copies, in the order of their streams.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSlice<'a> {
    device: &'a Device,
    address: u64,
    len: usize,
    _owner: PhantomData<&'a ()>,
}

impl<'a> DeviceSlice<'a> {
    /// Memory that another library allocated, such as a tensor of PyTorch's.
    ///
    /// # Safety
    /// `len` bytes at `address` are memory of `device`, or accessible from it, and stay so while the
    /// result, or work queued with it, is in use.
    pub unsafe fn from_raw(device: &'a Device, address: u64, len: usize) -> DeviceSlice<'a> {
        DeviceSlice { device, address, len, _owner: PhantomData }
    }

    /// The device whose work reaches it.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> DeviceSlice<'a> {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "bytes {range:?} lie outside of {}",
            self.len
        );
        let address = self.address + range.start as u64;
        DeviceSlice { address, len: range.len(), ..*self }
    }

    /// Queues a copy of `source` to here, on a queue of this memory's device.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy_from(
        &self,
        source: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        self.copy_by(self.device, source, stream)
    }

    /// Queues a copy of this to `target`, on a queue of this memory's device.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy_to(&self, target: DeviceSlice<'_>, stream: StreamRef<'_>) -> Result<(), CudaError> {
        target.copy_by(self.device, *self, stream)
    }

    fn copy_by(
        &self,
        device: &Device,
        source: DeviceSlice<'_>,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        assert_eq!(source.len, self.len, "source and destination differ in length");
        let _current = device.enter()?;
        // SAFETY: both ranges exist, by construction or by the contract of `from_raw`.
        let queued = unsafe {
            match self.device == source.device {
                true => calls::cuMemcpyDtoDAsync_v2(
                    self.address,
                    source.address,
                    self.len,
                    stream.raw(),
                ),
                false => calls::cuMemcpyAsync(self.address, source.address, self.len, stream.raw()),
            }
        };
        check("cuMemcpyDtoDAsync", queued)
    }

    /// Queues that every byte becomes `value`.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn fill(&self, value: u8, stream: StreamRef<'_>) -> Result<(), CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: the range exists, as above.
        let queued = unsafe { calls::cuMemsetD8Async(self.address, value, self.len, stream.raw()) };
        check("cuMemsetD8Async", queued)
    }

    /// Copies `data` to here, in the order of `stream`, and waits until it has arrived.
    ///
    /// # Errors
    /// What the driver refuses or reports.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn upload(&self, data: &[u8], stream: StreamRef<'_>) -> Result<(), CudaError> {
        assert_eq!(data.len(), self.len, "source and destination differ in length");
        // SAFETY: `data` is borrowed until the copy is done, which is waited for.
        unsafe { self.upload_from(data.as_ptr(), stream)? };
        stream.synchronize(self.device)
    }

    /// Copies this to `out`, in the order of `stream`, and waits until it has arrived.
    ///
    /// # Errors
    /// What the driver refuses or reports.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn download(&self, out: &mut [u8], stream: StreamRef<'_>) -> Result<(), CudaError> {
        assert_eq!(out.len(), self.len, "source and destination differ in length");
        // SAFETY: `out` is borrowed until the copy is done, which is waited for.
        unsafe { self.download_to(out.as_mut_ptr(), stream)? };
        stream.synchronize(self.device)
    }

    /// As [`DeviceSlice::download`], into a vector.
    ///
    /// # Errors
    /// As for [`DeviceSlice::download`].
    pub fn to_vec(&self, stream: StreamRef<'_>) -> Result<Vec<u8>, CudaError> {
        let mut bytes = vec![0; self.len];
        self.download(&mut bytes, stream)?;
        Ok(bytes)
    }

    /// Queues a copy of as many bytes at `source` to here.
    ///
    /// # Safety
    /// They are readable, and stay so, unchanged by this process, until the copy is done.
    ///
    /// # Errors
    /// What the driver refuses.
    pub unsafe fn upload_from(
        &self,
        source: *const u8,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: by the caller's promise, and the range exists as above.
        let queued = unsafe {
            calls::cuMemcpyHtoDAsync_v2(
                self.address,
                source.cast::<c_void>(),
                self.len,
                stream.raw(),
            )
        };
        check("cuMemcpyHtoDAsync", queued)
    }

    /// Queues a copy of this to as many bytes at `target`.
    ///
    /// # Safety
    /// They are writable, and stay so, unused by this process, until the copy is done.
    ///
    /// # Errors
    /// What the driver refuses.
    pub unsafe fn download_to(
        &self,
        target: *mut u8,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        let _current = self.device.enter()?;
        // SAFETY: by the caller's promise, and the range exists as above.
        let queued = unsafe {
            calls::cuMemcpyDtoHAsync_v2(
                target.cast::<c_void>(),
                self.address,
                self.len,
                stream.raw(),
            )
        };
        check("cuMemcpyDtoHAsync", queued)
    }
}
