//! Plain memory, which other processes open by a legacy handle: allocated here, or somebody else's.
//!
//! The driver says nothing of importers, and freeing under them is undefined. So memory that was
//! exported is put aside when its storage goes ([`ipc::collect`]), until the locks of its importers are
//! gone.
//!
//! Upholds invariants 3 and 6.

use super::{DeviceStorage, Memory};
use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::device::Device;
use crate::ipc::{self, Holders, IpcError, MemoryDescriptor};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// A range of plain memory and what keeps it.
#[derive(Debug)]
pub(super) struct Plain {
    device: Device,
    address: u64,
    len: usize,
    /// Taken when it is put aside.
    owner: Option<Arc<dyn Any + Send + Sync>>,
    exported: Mutex<Option<Exported>>,
}

#[derive(Debug)]
struct Exported {
    descriptor: MemoryDescriptor,
    holders: Holders,
    generation: u64,
}

/// What this process exported, so that it gets its own memory back: the driver refuses to open a handle
/// in the process that made it. By the file that names the holders, which no other export has.
static EXPORTED: Mutex<Option<HashMap<Key, Weak<Memory>>>> = Mutex::new(None);

type Key = (u64, ipc::Mark);

impl Plain {
    pub(super) fn own(buffer: DeviceBuffer) -> Plain {
        let (device, address, len) = (buffer.device().clone(), buffer.address(), buffer.len());
        Plain::foreign(device, address, len, Arc::new(buffer))
    }

    /// The owner keeps that range of plain memory of the device.
    pub(super) fn foreign(
        device: Device,
        address: u64,
        len: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Plain {
        Plain { device, address, len, owner: Some(owner), exported: Mutex::new(None) }
    }

    /// What describes all of it to other processes; `memory` is where this lies.
    pub(super) fn export(&self, memory: &Arc<Memory>) -> Result<MemoryDescriptor, IpcError> {
        let generation = shm_core::fork_generation();
        let mut exported = self.exported.lock();
        match &*exported {
            Some(made) if made.generation == generation => return Ok(made.descriptor),
            _ => {}
        }
        let holders = Holders::new()?;
        let descriptor = ipc::export(self.as_slice())?.held_in(holders.mark());
        let key = (generation, holders.mark());
        EXPORTED.lock().get_or_insert_default().insert(key, Arc::downgrade(memory));
        *exported = Some(Exported { descriptor, holders, generation });
        Ok(descriptor)
    }

    pub(super) fn as_slice(&self) -> DeviceSlice<'_> {
        // SAFETY: the range is an allocation's, or one that the caller of `DeviceStorage::foreign`
        // promised to be valid; the owner that keeps it is there until `self` is dropped.
        unsafe { DeviceSlice::from_raw(&self.device, self.address, self.len) }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let Some(exported) = self.exported.get_mut().take() else { return };
        if let Some(table) = EXPORTED.lock().as_mut() {
            table.remove(&(exported.generation, exported.holders.mark()));
        }
        if let Some(owner) = self.owner.take() {
            ipc::bury_owner(Box::new(owner), self.len, move || exported.holders.remain());
        }
    }
}

/// The memory that this very process described, if it still has it.
pub(super) fn find(descriptor: &MemoryDescriptor) -> Result<DeviceStorage, IpcError> {
    let gone = || IpcError::Freed { address: descriptor.address() };
    let key = (shm_core::fork_generation(), descriptor.holders().ok_or_else(gone)?);
    let memory = EXPORTED.lock().as_ref().and_then(|table| table.get(&key)?.upgrade());
    let memory = memory.ok_or_else(gone)?;
    let Memory::Plain(plain) = &*memory else { return Err(gone()) };
    // The sum of a descriptor is no proof, so the range is checked against what is there.
    let (address, len) = (descriptor.address(), descriptor.len());
    match super::is_inside((address, len), (plain.address, plain.len)) {
        true => {
            let offset = (address - plain.address) as usize;
            Ok(DeviceStorage::part_of(memory, offset, len))
        }
        false => Err(IpcError::Received {
            field: "range",
            expected: format!("inside of the {} bytes that were exported", plain.len),
            found: format!("{len} bytes at {address:#x}"),
        }),
    }
}
