//! Allocations of other processes, each opened once per device and counted.
//!
//! The table is one of the three things that belong to the process and not to a handle: so the driver
//! has it, which refuses or counts a second opening.

use super::{IpcError, MemoryDescriptor, own};
use crate::buffer::DeviceSlice;
use crate::device::{Device, DeviceError};
use crate::driver::calls;
use crate::error::check;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Device memory of another process, mapped for as long as this lives.
#[derive(Clone, Debug)]
pub struct Import {
    mapping: Source,
    // Declared behind the mapping: the exporter may free the memory from then on.
    #[cfg(target_os = "linux")]
    _hold: Option<Arc<super::holders::Hold>>,
    offset: u64,
    len: usize,
    device: Device,
}

#[derive(Clone, Debug)]
enum Source {
    Theirs(Arc<Mapping>),
    /// Exported by this process itself, which has it at this address already.
    Ours(u64),
}

/// One opened handle.
#[derive(Debug)]
struct Mapping {
    key: Key,
    device: Device,
    address: u64,
    len: usize,
}

/// Handle, exporting process and number of the allocation there, and the device it is opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    handle: [u8; 64],
    exporter: [u8; 16],
    buffer_id: u64,
    device: [u8; 16],
    /// A child of the process that opened it has nothing open.
    generation: u64,
}

static OPEN: Mutex<Option<HashMap<Key, Weak<Mapping>>>> = Mutex::new(None);

/// Maps the memory that `descriptor` names, for use by `device`; the second time costs nothing.
///
/// # Errors
/// [`IpcError::NoPeerAccess`] if it lies on a device that `device` cannot reach; [`IpcError::Open`] if
/// the driver cannot map it, as when the exporter has ended; [`IpcError::Descriptor`] if what is mapped
/// is smaller than the descriptor says; [`IpcError::Released`] and [`IpcError::Unwatched`] for memory
/// whose exporter keeps it for its importers.
pub fn import(device: &Device, descriptor: &MemoryDescriptor) -> Result<Import, IpcError> {
    if descriptor.device() != device.uuid() {
        let theirs = match Device::by_uuid(descriptor.device()) {
            Err(error @ DeviceError::NoSuchUuid { .. }) => return Err(error.into()),
            outcome => outcome?,
        };
        if !device.can_access(&theirs) {
            let (found, wanted) = (descriptor.device(), device.uuid());
            return Err(IpcError::NoPeerAccess { found, wanted });
        }
    }
    let (offset, len) = (descriptor.offset(), descriptor.len());
    // Taken first: from here on the exporter keeps the memory.
    #[cfg(target_os = "linux")]
    let _hold = match descriptor.holders().filter(|_| !descriptor.is_own()) {
        Some(mark) => Some(Arc::new(super::holders::Hold::take(descriptor.pid(), mark)?)),
        None => None,
    };
    let mapping = match descriptor.is_own() {
        true => Source::Ours(own_address(descriptor)?),
        false => Source::Theirs(mapping_of(device, descriptor)?),
    };
    Ok(Import {
        mapping,
        #[cfg(target_os = "linux")]
        _hold,
        offset,
        len,
        device: device.clone(),
    })
}

/// How many allocations of other processes this one has mapped.
pub fn imports_open() -> usize {
    let open = OPEN.lock();
    open.iter().flat_map(HashMap::values).filter(|mapping| mapping.strong_count() > 0).count()
}

/// True for an address inside of another process's memory.
pub(crate) fn is_import(address: u64) -> bool {
    let mappings: Vec<Arc<Mapping>> = {
        let open = OPEN.lock();
        open.iter().flat_map(HashMap::values).filter_map(Weak::upgrade).collect()
    };
    // Dropped when the table is free again: dropping the last reference takes its lock.
    mappings
        .iter()
        .any(|mapping| (mapping.address..mapping.address + mapping.len as u64).contains(&address))
}

fn own_address(descriptor: &MemoryDescriptor) -> Result<u64, IpcError> {
    let address = descriptor.base();
    // Memory of another library's in this process, such as PyTorch's, is not in the table; the driver
    // knows whether it is still the allocation that was exported.
    let known = own::is_allocated(address)
        || crate::PointerInfo::of(address)
            .is_ok_and(|info| info.buffer_id == descriptor.buffer_id());
    match known {
        true => Ok(address),
        false => Err(IpcError::Freed { address }),
    }
}

fn mapping_of(device: &Device, descriptor: &MemoryDescriptor) -> Result<Arc<Mapping>, IpcError> {
    let key = Key {
        handle: descriptor.handle(),
        exporter: descriptor.exporter(),
        buffer_id: descriptor.buffer_id(),
        device: device.uuid().0,
        generation: shm_core::fork_generation(),
    };
    let needed = descriptor.offset() as usize + descriptor.len();
    let mut open = OPEN.lock();
    let table = open.get_or_insert_default();
    let found = table.get(&key).and_then(Weak::upgrade);
    let mapping = match found {
        Some(mapping) => mapping,
        None => {
            let mapping = Arc::new(Mapping::open(device, descriptor, key)?);
            table.insert(key, Arc::downgrade(&mapping));
            mapping
        }
    };
    // Before anything may be dropped: dropping a mapping takes the table's lock.
    drop(open);
    match needed <= mapping.len {
        true => Ok(mapping),
        false => Err(IpcError::Descriptor(super::DescriptorError {
            field: "range",
            expected: format!("at most {} bytes, which is what was mapped", mapping.len),
            found: format!("{needed} bytes"),
        })),
    }
}

impl Mapping {
    fn open(device: &Device, descriptor: &MemoryDescriptor, key: Key) -> Result<Mapping, IpcError> {
        const LAZY_ENABLE_PEER_ACCESS: u32 = 1;
        let _current = device.enter()?;
        let handle = calls::CUipcMemHandle { reserved: key.handle.map(|byte| byte as _) };
        let mut address = 0;
        // SAFETY: `address` is writable; any 64 bytes may be tried.
        let opened = check("cuIpcOpenMemHandle", unsafe {
            calls::cuIpcOpenMemHandle_v2(&mut address, handle, LAZY_ENABLE_PEER_ACCESS)
        });
        opened.map_err(|source| IpcError::Open { pid: descriptor.pid(), source })?;
        let len = super::range_of(address).map(|(_, len)| len).inspect_err(|_| {
            // SAFETY: opened above, closed once.
            let _ = unsafe { calls::cuIpcCloseMemHandle(address) };
        })?;
        Ok(Mapping { key, device: device.clone(), address, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.device.is_ours() {
            return;
        }
        let mut open = OPEN.lock();
        if let Some(table) = open.as_mut() {
            // Somebody may have opened it again since the last user let go.
            if table.get(&self.key).is_some_and(|mapping| mapping.strong_count() == 0) {
                table.remove(&self.key);
            }
        }
        // Closed under the lock: an opening that comes next must not meet a half-closed one.
        if let Ok(_current) = self.device.enter() {
            // SAFETY: queued work may use the mapping, so it is finished first; opened by `open`, closed
            // once, which frees nothing of the exporter's.
            unsafe {
                let _ = calls::cuCtxSynchronize();
                let _ = calls::cuIpcCloseMemHandle(self.address);
            }
        }
    }
}

impl Import {
    /// The range that was described.
    pub fn as_slice(&self) -> DeviceSlice<'_> {
        let base = match &self.mapping {
            Source::Theirs(mapping) => mapping.address,
            Source::Ours(address) => *address,
        };
        // SAFETY: inside of what is mapped, by the check at import, for as long as `self`; in the
        // exporting process, of an allocation that its owner keeps while it is shared.
        unsafe { DeviceSlice::from_raw(&self.device, base + self.offset, self.len) }
    }

    /// The device that uses it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: there are no empty descriptors.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if it is this process's own memory, and nothing had to be mapped.
    pub fn is_own(&self) -> bool {
        matches!(self.mapping, Source::Ours(_))
    }
}
