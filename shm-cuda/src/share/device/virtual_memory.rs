//! Virtual memory: mapped here by this crate, or by somebody else in this process.
//!
//! Upholds invariants 2 (received memory lies on the device that it is said to) and 4 (importers may
//! be given no right to write).

use super::{Passage, elsewhere};
use crate::buffer::DeviceSlice;
use crate::device::Device;
use crate::error::CudaErrorKind;
use crate::ipc::IpcError;
use crate::vmm::{self, Permission, VmmBuffer};
use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// An allocation with a mapping of its own in this process, and the part of it that counts.
#[derive(Debug)]
pub(super) struct Virtual {
    buffer: VmmBuffer,
    offset: usize,
    len: usize,
    permission: Permission,
    descriptor: OnceLock<OwnedFd>,
}

/// Somebody else's memory in this process, and a descriptor of its allocation.
#[derive(Debug)]
pub(super) struct Retained {
    device: Device,
    address: u64,
    len: usize,
    offset: usize,
    allocation: usize,
    descriptor: OwnedFd,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Virtual {
    pub(super) fn own(buffer: VmmBuffer) -> Virtual {
        let len = buffer.len();
        Virtual::new(buffer, 0, len, Permission::ReadWrite)
    }

    /// Of a passage that was checked.
    pub(super) fn import(
        device: &Device,
        passage: &Passage,
        descriptor: OwnedFd,
        permission: Permission,
    ) -> Result<Virtual, IpcError> {
        let (allocation, offset) = match *passage {
            Passage::Part { allocation, offset, .. } => (allocation, offset),
            _ => (passage.len(), 0),
        };
        let buffer =
            VmmBuffer::import(device, descriptor.as_fd(), allocation, permission).map_err(
                |source| IpcError::Unmappable { device: device.uuid(), len: allocation, source },
            )?;
        match buffer.location() {
            Some(found) if found != device.ordinal() => Err(elsewhere(device.uuid(), found)),
            _ => Ok(Virtual::new(buffer, offset, passage.len(), permission)),
        }
    }

    fn new(buffer: VmmBuffer, offset: usize, len: usize, permission: Permission) -> Virtual {
        Virtual { buffer, offset, len, permission, descriptor: OnceLock::new() }
    }

    pub(super) fn passage(&self) -> Passage {
        passage_of(self.buffer.device(), self.buffer.len(), self.offset, self.len)
    }

    pub(super) fn descriptor(&self) -> Result<BorrowedFd<'_>, IpcError> {
        if let Some(made) = self.descriptor.get() {
            return Ok(made.as_fd());
        }
        // Of two that are made at the same moment one is closed again.
        let made = self.buffer.export()?;
        Ok(self.descriptor.get_or_init(|| made).as_fd())
    }

    pub(super) fn as_slice(&self) -> DeviceSlice<'_> {
        self.buffer.as_slice().slice(self.offset..self.offset + self.len)
    }

    pub(super) fn device(&self) -> &Device {
        self.buffer.device()
    }

    pub(super) fn permission(&self) -> Permission {
        self.permission
    }
}

impl Retained {
    /// The range lies inside of the mapping, which is of one whole allocation: mappings that begin
    /// inside of one do not exist (`cuMemMap`).
    pub(super) fn new(
        device: Device,
        (address, len): (u64, usize),
        (base, allocation): (u64, usize),
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Retained, IpcError> {
        let descriptor = match vmm::export_at(&device, address) {
            Ok(descriptor) => descriptor,
            Err(error)
                if matches!(
                    error.kind(),
                    CudaErrorKind::InvalidValue | CudaErrorKind::NotSupported
                ) =>
            {
                let what = "virtual memory that was not made to be sent as a file descriptor";
                return Err(IpcError::NotShareable { address, what });
            }
            Err(error) => return Err(error.into()),
        };
        let offset = (address - base) as usize;
        Ok(Retained { device, address, len, offset, allocation, descriptor, _owner: owner })
    }

    pub(super) fn passage(&self) -> Passage {
        passage_of(&self.device, self.allocation, self.offset, self.len)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(super) fn as_slice(&self) -> DeviceSlice<'_> {
        // SAFETY: the caller of `DeviceStorage::foreign` promised that the range, which the driver
        // says lies on this device, is valid for as long as the owner, which is kept.
        unsafe { DeviceSlice::from_raw(&self.device, self.address, self.len) }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }
}

fn passage_of(device: &Device, allocation: usize, offset: usize, len: usize) -> Passage {
    let device = device.uuid();
    match (offset, len) == (0, allocation) {
        true => Passage::Vmm { device, len },
        false => Passage::Part { device, allocation, offset, len },
    }
}
