//! What is sent of device memory, and how it is said.
//!
//! Upholds invariants 2 (every number is checked) and 8 (the way has a name).

use crate::device::DeviceUuid;
use crate::ipc::{IpcError, MemoryDescriptor};
use std::fmt;

/// How device memory reaches another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// A file descriptor: outlives the process that made it.
    Vmm,
    /// A legacy handle: valid while the process that made it lives and keeps the memory.
    Legacy,
}

/// What is sent of device memory, beside the descriptor that travels with `Vmm` and `Part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// An allocation of its own.
    Vmm {
        /// On which device.
        device: DeviceUuid,
        /// Bytes, as asked for at the allocation.
        len: usize,
    },
    /// Part of an allocation, such as a tensor in a segment of PyTorch's.
    Part {
        /// On which device.
        device: DeviceUuid,
        /// Bytes of the whole allocation, which is what the descriptor stands for.
        allocation: usize,
        /// Where the part begins in it.
        offset: usize,
        /// Bytes of the part.
        len: usize,
    },
    /// Everything is in it.
    Legacy(Box<MemoryDescriptor>),
}

impl Passage {
    /// The device that the memory lies on.
    pub fn device(&self) -> DeviceUuid {
        match self {
            Passage::Vmm { device, .. } | Passage::Part { device, .. } => *device,
            Passage::Legacy(descriptor) => descriptor.device(),
        }
    }

    /// Length of the memory in bytes.
    pub fn len(&self) -> usize {
        match self {
            Passage::Vmm { len, .. } | Passage::Part { len, .. } => *len,
            Passage::Legacy(descriptor) => descriptor.len(),
        }
    }

    /// True if it describes no bytes, which no storage does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the memory travels. A descriptor goes along with [`Route::Vmm`], and only with that.
    pub fn route(&self) -> Route {
        match self {
            Passage::Vmm { .. } | Passage::Part { .. } => Route::Vmm,
            Passage::Legacy(_) => Route::Legacy,
        }
    }

    /// Whether it makes sense, together with a descriptor or without.
    pub(super) fn check(&self, has_descriptor: bool) -> Result<(), IpcError> {
        let wrong = |field, expected: String, found: String| {
            Err(IpcError::Received { field, expected, found })
        };
        let wanted = self.route() == Route::Vmm;
        if wanted != has_descriptor {
            let count = |is_there| u8::from(is_there).to_string();
            return wrong("descriptors", count(wanted), count(has_descriptor));
        }
        if self.is_empty() {
            return wrong("length", "at least 1 byte".to_owned(), "0".to_owned());
        }
        let Passage::Part { allocation, offset, len, .. } = self else { return Ok(()) };
        match offset.checked_add(*len) {
            Some(end) if end <= *allocation => Ok(()),
            _ => wrong(
                "range",
                format!("inside of an allocation of {allocation} bytes"),
                format!("{len} bytes at {offset}"),
            ),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Route::Vmm => "vmm",
            Route::Legacy => "legacy",
        })
    }
}
