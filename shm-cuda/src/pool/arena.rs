//! A device allocation as the storage of a pool.
//!
//! Upholds invariants 2 (the descriptor is checked, and what it names is at least as long as the pool)
//! and 6.

use super::companion;
use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::device::Device;
use crate::ipc::{self, Import, IpcError, MemoryDescriptor};
use shm_pool::Storage;
use std::error::Error;
use std::sync::OnceLock;

/// One device allocation that a pool lends: the owner's own, or imported by a process that opened the
/// pool. It is mapped by [`DevicePool::open`](super::DevicePool::open), for the device named there, and
/// for no other.
#[derive(Debug)]
pub struct DeviceArena {
    descriptor: MemoryDescriptor,
    bytes: usize,
    memory: OnceLock<Memory>,
}

#[derive(Debug)]
enum Memory {
    Own(DeviceBuffer),
    Theirs(Import),
}

impl DeviceArena {
    /// The owner's.
    pub(super) fn own(buffer: DeviceBuffer) -> Result<DeviceArena, IpcError> {
        let descriptor = ipc::export(buffer.as_slice())?;
        let bytes = buffer.len();
        Ok(DeviceArena { descriptor, bytes, memory: OnceLock::from(Memory::Own(buffer)) })
    }

    /// Makes it reachable for `device`.
    pub(super) fn map(&self, device: &Device) -> Result<(), IpcError> {
        if self.memory.get().is_none() {
            let import = ipc::import(device, &self.descriptor)?;
            let _ = self.memory.set(Memory::Theirs(import));
        }
        Ok(())
    }

    /// The allocation, in the process that made it.
    pub(super) fn buffer(&self) -> Option<&DeviceBuffer> {
        match self.memory.get() {
            Some(Memory::Own(buffer)) => Some(buffer),
            _ => None,
        }
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it does not lie inside, which the pool's checked layout excludes, or was not mapped.
    pub(super) fn slice(&self, offset: usize, len: usize) -> DeviceSlice<'_> {
        let whole = match self.memory.get().expect("mapped when the pool was opened") {
            Memory::Own(buffer) => buffer.as_slice(),
            Memory::Theirs(import) => import.as_slice(),
        };
        whole.slice(offset..offset + len)
    }

    /// What other processes import.
    pub fn descriptor(&self) -> &MemoryDescriptor {
        &self.descriptor
    }
}

impl Storage for DeviceArena {
    const ALIGNMENT: usize = 512;
    const WORKS_ON: bool = true;

    fn len(&self) -> usize {
        self.bytes
    }

    fn companion_len(&self, slots: usize, seats: usize) -> usize {
        companion::len(slots, seats)
    }

    fn descriptor(&self) -> Vec<u8> {
        self.descriptor.to_bytes().to_vec()
    }

    fn attach(descriptor: &[u8], len: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let descriptor = MemoryDescriptor::from_bytes(descriptor)?;
        if descriptor.len() < len {
            return Err(Box::new(ipc::DescriptorError {
                field: "len",
                expected: format!("at least {len} bytes, which the pool lends"),
                found: format!("{} bytes", descriptor.len()),
            }));
        }
        Ok(DeviceArena { descriptor, bytes: len, memory: OnceLock::new() })
    }
}
