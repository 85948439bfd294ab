//! Device memory of one process in the hands of another: legacy handles.
//!
//! ```text
//!   exporting process                                importing process
//!   ┌───────────────────────── base ┐                ┌───────────────────────── its own address ┐
//!   │ allocation  ......[offset,len)│  256 bytes     │ the same memory    ......[offset,len)    │
//!   └───────────────────────────────┘ ─────────────▶ └──────────────────────────────────────────┘
//!     export(slice) -> MemoryDescriptor                import(device, &descriptor) -> Import
//! ```
//!
//! A handle names a whole allocation (CUDA C programming guide, interprocess communication), so offset
//! and length travel with it. Opening one costs milliseconds, so each process opens each allocation
//! once per device and counts who uses it. The process that exported a handle cannot open it; it gets its own
//! memory back. Closing an import never frees anything.
//!
//! Nothing tells importers that the exporter is gone or has freed the memory: that is for whoever sends
//! the descriptor to know, as streams and pools do. Memory of the share service carries the name of a
//! file in which each importer holds a lock (`holders`), so that the kernel tells the exporter when
//! the last of them is done or gone.
//!
//! Upholds invariants 2 (a descriptor is checked, and the range it names against what was really
//! mapped), 6 (an import keeps its mapping) and 8.

mod descriptor;
#[cfg(target_os = "linux")]
mod holders;
mod limbo;
mod mapping;
mod own;

#[cfg(all(feature = "share", target_os = "linux"))]
pub(crate) use descriptor::this_process;
pub use descriptor::{DESCRIPTOR_LEN, DescriptorError, MemoryDescriptor};
pub use limbo::{Collected, collect};
pub use mapping::{Import, import, imports_open};

#[cfg(all(feature = "share", target_os = "linux"))]
pub(crate) use holders::{Holders, Mark};
pub(crate) use limbo::bury;
#[cfg(any(feature = "pool", all(feature = "share", target_os = "linux")))]
pub(crate) use limbo::bury_owner;
#[cfg(all(feature = "share", target_os = "linux"))]
pub(crate) use mapping::is_import;
pub(crate) use own::{forget as forget_own, remember as remember_own};

use crate::buffer::DeviceSlice;
use crate::device::DeviceError;
use crate::driver::calls;
use crate::error::{CudaError, CudaErrorKind, check};
use crate::pointer::PointerInfo;

/// Why memory cannot be sent to another process, or used by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IpcError {
    /// Memory that has no legacy handle.
    #[error(
        "memory at {address:#x} cannot be exported: only plain allocations (cuMemAlloc, cudaMalloc) \
         can; it is {what}, so copy it into a DeviceBuffer first"
    )]
    NotExportable {
        /// Where it lies.
        address: u64,
        /// What kind of memory it is.
        what: &'static str,
    },
    /// A descriptor that says nothing sensible.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The memory lies on a device that this one cannot reach.
    #[error(
        "memory of device {found} cannot be used by {wanted}: the two have no peer access; open the \
         memory on its own device and copy"
    )]
    NoPeerAccess {
        /// Identity of the device that the memory lies on.
        found: crate::DeviceUuid,
        /// Identity of the device that was to use it.
        wanted: crate::DeviceUuid,
    },
    /// The memory is this process's own, and was freed.
    #[error("the memory at {address:#x} was this process's own and is freed")]
    Freed {
        /// Where it was.
        address: u64,
    },
    /// The driver cannot map it.
    #[error(
        "process {pid}'s device memory cannot be mapped; that process may have ended, freed it, or \
         live in another pid namespace"
    )]
    Open {
        /// Who exported it.
        pid: u32,
        /// What the driver said.
        source: CudaError,
    },
    /// The exporter does not keep the memory any more.
    #[error(
        "process {pid} has ended, or has let go of the device memory since it sent the descriptor; \
         ask it for the memory again"
    )]
    Released {
        /// Who exported it.
        pid: u32,
    },
    /// The exporter could not be told that the memory is in use here, and might free it meanwhile.
    #[error(
        "process {pid} cannot be told that its device memory is in use here ({why}); run both \
         processes as the same user and in the same pid namespace"
    )]
    Unwatched {
        /// Who exported it.
        pid: u32,
        /// What the system said.
        why: String,
    },
    /// Memory that no other process can be given, by any way.
    #[error(
        "memory at {address:#x} cannot be given to another process: it is {what}; copy it into \
         memory that can (DeviceStorage::allocate) and give that"
    )]
    NotShareable {
        /// Where it lies.
        address: u64,
        /// What kind of memory it is.
        what: &'static str,
    },
    /// What came with received memory does not fit together.
    #[error(
        "{field} of received device memory: expected {expected}, found {found}; have it sent again"
    )]
    Received {
        /// Which part.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A received descriptor is not the device memory that it is said to be.
    #[error(
        "a received descriptor cannot be mapped as {len} bytes of device {device}: it is no device \
         memory of this driver, is shorter, or there is no room; have it sent again"
    )]
    Unmappable {
        /// Identity of the device that it is said to lie on.
        device: crate::DeviceUuid,
        /// How long its allocation is said to be.
        len: usize,
        /// What the driver said.
        source: CudaError,
    },
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The driver refused.
    #[error("the driver refused to share device memory")]
    Cuda(#[from] CudaError),
    /// The system refused.
    #[error("the system refused {call} for device memory ({why}); it may be out of descriptors")]
    System {
        /// Which call.
        call: &'static str,
        /// What it said.
        why: String,
    },
}

/// Describes `slice`, for another process to [`import`]. The allocation has to outlive its imports.
///
/// # Errors
/// [`IpcError::NotExportable`] for managed, stream-ordered and virtual memory, and for imports.
pub fn export(slice: DeviceSlice<'_>) -> Result<MemoryDescriptor, IpcError> {
    let device = slice.device();
    let _current = device.enter().map_err(IpcError::Cuda)?;
    let info = PointerInfo::of(slice.address()).map_err(|_| IpcError::NotExportable {
        address: slice.address(),
        what: "not known to the driver",
    })?;
    let refuse = |what| Err(IpcError::NotExportable { address: slice.address(), what });
    if !info.on_device {
        return refuse("host memory");
    }
    if info.managed {
        return refuse("managed memory");
    }
    if mapping::is_import(slice.address()) {
        return refuse("another process's memory, which only that process can export");
    }
    let (base, base_len) = range_of(slice.address())?;
    let mut handle = calls::CUipcMemHandle { reserved: [0; 64] };
    // SAFETY: `handle` is writable; a context is current.
    let told = check("cuIpcGetMemHandle", unsafe { calls::cuIpcGetMemHandle(&mut handle, base) });
    match told {
        Err(error) if error.kind() == CudaErrorKind::InvalidValue => {
            return refuse("virtual or stream-ordered memory");
        }
        outcome => outcome?,
    }
    let offset = slice.address() - base;
    if offset.checked_add(slice.len() as u64).is_none_or(|end| end > base_len as u64) {
        return refuse("longer than its allocation");
    }
    let handle = handle.reserved.map(|byte| byte as u8);
    Ok(MemoryDescriptor::new(handle, info.buffer_id, slice, base, base_len))
}

/// First byte and length of the allocation that holds `address`.
fn range_of(address: u64) -> Result<(u64, usize), CudaError> {
    let (mut base, mut len) = (0, 0);
    // SAFETY: both are writable; a context is current.
    let told = unsafe { calls::cuMemGetAddressRange_v2(&mut base, &mut len, address) };
    check("cuMemGetAddressRange", told)?;
    Ok((base, len))
}
