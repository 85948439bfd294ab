//! Words that the device itself stores or waits for, in the order of a stream.
//!
//! This is how "the frame is there" becomes true exactly when the copy before it has ended, without a
//! host thread that waits for it (`cuStreamBatchMemOp`; CUDA driver API, stream memory operations).
//!
//! Upholds invariant 8: a device without them says so, and what is done instead is counted.

use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::driver::symbol;
use crate::error::{CudaError, check};
use core::ffi::CStr;

/// The function, and the attribute that says whether the device can: those of today first, and those
/// of drivers before 11.7, which an administrator has to switch on.
const VERSIONS: [(&CStr, i32); 2] = [(c"cuStreamBatchMemOp_v2", 122), (c"cuStreamBatchMemOp", 93)];
#[cfg(feature = "pool")]
const WAIT_VALUE_64: u32 = 4;
const WRITE_VALUE_64: u32 = 5;
/// `CU_STREAM_WAIT_VALUE_GEQ`: the difference, as a signed number, is not negative.
#[cfg(feature = "pool")]
const AT_LEAST: u32 = 0;
const DEFAULT: u32 = 0;

/// The most operations in one call.
pub(crate) const MOST: usize = 16;

/// One operation as the driver takes it: `CUstreamBatchMemOpParams`, 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Operation {
    operation: u32,
    _pad: u32,
    address: u64,
    value: u64,
    flags: u32,
    _pad2: u32,
    alias: u64,
    _reserved: u64,
}

const _: () = assert!(size_of::<Operation>() == size_of::<cust::sys::CUstreamBatchMemOpParams>());

type Batch = unsafe extern "C" fn(
    crate::driver::calls::CUstream,
    core::ffi::c_uint,
    *mut Operation,
    core::ffi::c_uint,
) -> i32;

/// A device's ability to store and wait for words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemOps {
    batch: Batch,
}

impl MemOps {
    /// `None` if this device and driver cannot.
    pub(crate) fn of(device: &Device) -> Option<MemOps> {
        let address = VERSIONS.iter().find_map(|&(name, attribute)| {
            symbol(name).filter(|_| device.attribute(attribute) != 0)
        })?;
        // SAFETY: the driver's function of that name has this signature in both versions.
        let batch = unsafe { core::mem::transmute::<usize, Batch>(address.get()) };
        Some(MemOps { batch })
    }

    /// Queues stores of `(device address, value)`, in that order, each after everything before it.
    pub(crate) fn store(
        self,
        device: &Device,
        stream: StreamRef<'_>,
        words: &[(u64, u64)],
    ) -> Result<(), CudaError> {
        self.queue(device, stream, words, WRITE_VALUE_64, DEFAULT)
    }

    /// Queues a wait until the word at `address` is at least `value`.
    #[cfg(feature = "pool")]
    pub(crate) fn wait(
        self,
        device: &Device,
        stream: StreamRef<'_>,
        address: u64,
        value: u64,
    ) -> Result<(), CudaError> {
        self.queue(device, stream, &[(address, value)], WAIT_VALUE_64, AT_LEAST)
    }

    fn queue(
        self,
        device: &Device,
        stream: StreamRef<'_>,
        words: &[(u64, u64)],
        operation: u32,
        flags: u32,
    ) -> Result<(), CudaError> {
        assert!(words.len() <= MOST, "{} operations; at most {MOST}", words.len());
        let mut operations = [Operation::default(); MOST];
        for (slot, &(address, value)) in operations.iter_mut().zip(words) {
            *slot = Operation { operation, address, value, flags, ..Operation::default() };
        }
        let _current = device.enter()?;
        // SAFETY: as many operations as it is told; their addresses belong to registered pages, which
        // whoever made them keeps until the queued work is done.
        let queued =
            unsafe { (self.batch)(stream.raw(), words.len() as u32, operations.as_mut_ptr(), 0) };
        check("cuStreamBatchMemOp", queued)
    }
}
