//! What the driver knows about an address.

use crate::driver::calls;
use crate::error::{CudaError, check};
use core::ffi::{c_int, c_void};

/// `CUpointer_attribute` numbers.
mod attribute {
    pub(super) const MEMORY_TYPE: i32 = 2;
    pub(super) const BUFFER_ID: i32 = 7;
    pub(super) const IS_MANAGED: i32 = 8;
    pub(super) const DEVICE_ORDINAL: i32 = 9;
    pub(super) const LEGACY_IPC: i32 = 10;
    pub(super) const RANGE_START: i32 = 11;
    pub(super) const RANGE_SIZE: i32 = 12;
    pub(super) const HANDLE_TYPES: i32 = 14;
    pub(super) const MEMORY_POOL: i32 = 17;
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(super) const MAPPING_SIZE: i32 = 18;
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(super) const MAPPING_START: i32 = 19;
}

/// What the driver knows about an address of device or pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointerInfo {
    /// True for device memory, false for host memory that the driver knows.
    pub on_device: bool,
    /// True for managed memory, which moves by itself.
    pub managed: bool,
    /// Number of the device in this process.
    pub ordinal: usize,
    /// First byte of the whole allocation.
    pub base: u64,
    /// Length of the whole allocation in bytes.
    pub len: usize,
    /// Number of the allocation, never used again in the process.
    pub buffer_id: u64,
    /// True if it can be sent as a 64-byte handle, see [`export`](crate::ipc::export).
    pub legacy_ipc: bool,
    /// Kinds of handles that its allocation can be sent as; 1 is a file descriptor.
    pub handle_types: u64,
    /// True for memory of a stream-ordered pool (`cudaMallocAsync`).
    pub pooled: bool,
}

impl PointerInfo {
    /// Asks the driver about `address`. Any context may be current, or none.
    ///
    /// # Errors
    /// [`CudaErrorKind::InvalidValue`](crate::CudaErrorKind) if the driver does not know it, as with
    /// ordinary host memory.
    pub fn of(address: u64) -> Result<PointerInfo, CudaError> {
        let memory_type: u32 = ask(attribute::MEMORY_TYPE, address)?;
        let ordinal: c_int = ask(attribute::DEVICE_ORDINAL, address)?;
        Ok(PointerInfo {
            on_device: memory_type == 2,
            managed: ask::<u32>(attribute::IS_MANAGED, address).unwrap_or(0) != 0,
            ordinal: usize::try_from(ordinal).unwrap_or(0),
            base: ask(attribute::RANGE_START, address)?,
            len: ask(attribute::RANGE_SIZE, address)?,
            buffer_id: ask(attribute::BUFFER_ID, address)?,
            legacy_ipc: ask::<u32>(attribute::LEGACY_IPC, address).unwrap_or(0) != 0,
            handle_types: ask(attribute::HANDLE_TYPES, address).unwrap_or(0),
            pooled: ask::<u64>(attribute::MEMORY_POOL, address).unwrap_or(0) != 0,
        })
    }

    /// First byte and length of the one mapping of virtual memory that `address` lies in; of the
    /// allocation where the driver does not tell them apart.
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn mapping_at(&self, address: u64) -> (u64, usize) {
        let told = ask(attribute::MAPPING_START, address)
            .and_then(|start| Ok((start, ask(attribute::MAPPING_SIZE, address)?)));
        told.unwrap_or((self.base, self.len))
    }
}

/// One answer. The wider the answer, the more of it the driver writes; the rest stays zero.
fn ask<T: bytemuck::Pod>(attribute: i32, address: u64) -> Result<T, CudaError> {
    let mut answer = [0_u64; 2];
    let data = answer.as_mut_ptr().cast::<c_void>();
    // SAFETY: 16 writable, aligned bytes, and no answer asked for here has more than 8.
    check("cuPointerGetAttribute", unsafe {
        calls::cuPointerGetAttribute(data, attribute, address)
    })?;
    Ok(bytemuck::pod_read_unaligned(&bytemuck::bytes_of(&answer)[..size_of::<T>()]))
}
