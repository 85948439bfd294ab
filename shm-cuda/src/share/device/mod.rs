//! Device memory that travels: as a descriptor of its own, or by a handle of the driver's.
//!
//! ```text
//!   DeviceStorage ──▶ Memory ─┬─ Virtual    allocated or imported: VMM, a file descriptor
//!    part of it,              ├─ Retained   somebody else's virtual memory in this process
//!    guards                   ├─ Plain      allocated or somebody else's: a legacy handle
//!                             └─ Opened     another process's, by legacy handle
//! ```
//!
//! Upholds invariants 2 (what was received is checked before and after it is mapped), 3 (memory that
//! other processes may have mapped is freed when the kernel says that they do not), 6 (a storage keeps
//! its mapping) and 8 (which way it is, is told, and never changed silently).

mod passage;
mod plain;
mod virtual_memory;

pub use passage::{Passage, Route};

use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::device::{Device, DeviceUuid};
use crate::error::{CudaError, CudaErrorKind};
use crate::ipc::{self, Import, IpcError, MemoryDescriptor};
use crate::pointer::PointerInfo;
use crate::vmm::{Permission, VmmBuffer};
use parking_lot::Mutex;
use plain::Plain;
use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use virtual_memory::{Retained, Virtual};

/// Device memory, own or another process's.
///
/// ```no_run
/// use shm_cuda::{Device, share::DeviceStorage};
/// let device = Device::open(0)?;
/// let storage = DeviceStorage::allocate(&device, 4096)?;
/// println!("{} bytes, sent by {}", storage.len(), storage.route());
/// let (passage, descriptor) = storage.passage()?;
/// // In the process that both were sent to:
/// # let descriptor = descriptor.map(|it| it.try_clone_to_owned()).transpose()?;
/// let import = DeviceStorage::import(&passage, descriptor)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DeviceStorage {
    memory: Arc<Memory>,
    /// Where it begins in `memory`, and how much of it there is.
    offset: usize,
    len: usize,
    // Declared last: dropped when the mapping is closed.
    guards: Mutex<Vec<Box<dyn Any + Send + Sync>>>,
}

/// What keeps the bytes.
#[derive(Debug)]
enum Memory {
    Virtual(Virtual),
    Retained(Retained),
    Plain(Plain),
    Opened(Opened),
}

/// Another process's memory by legacy handle, and what describes it to a third one.
#[derive(Debug)]
struct Opened {
    import: Import,
    descriptor: MemoryDescriptor,
}

impl DeviceStorage {
    /// New memory on `device`, such that it can be sent: by descriptor where the device can, else by
    /// legacy handle. Nothing is said of its bytes. 0 bytes count as 1.
    ///
    /// # Errors
    /// What the driver refuses, such as [`CudaErrorKind::OutOfMemory`].
    pub fn allocate(device: &Device, len: usize) -> Result<DeviceStorage, CudaError> {
        let route = match VmmBuffer::is_supported(device) {
            true => Route::Vmm,
            false => Route::Legacy,
        };
        DeviceStorage::allocate_for(device, len, route)
    }

    /// As [`DeviceStorage::allocate`], for a way of the caller's choice: virtual memory takes whole
    /// units of the device, 2 MiB as a rule, plain memory what is asked for.
    ///
    /// # Errors
    /// As for [`DeviceStorage::allocate`]; [`CudaErrorKind::NotSupported`] for a way that the device
    /// does not have.
    pub fn allocate_for(
        device: &Device,
        len: usize,
        route: Route,
    ) -> Result<DeviceStorage, CudaError> {
        let len = len.max(1);
        let memory = match route {
            Route::Vmm if !VmmBuffer::is_supported(device) => {
                return Err(CudaError::new("cuMemCreate", crate::driver::NOT_SUPPORTED));
            }
            Route::Vmm => Memory::Virtual(Virtual::own(VmmBuffer::new(device, len)?)),
            Route::Legacy => Memory::Plain(Plain::own(DeviceBuffer::new(device, len)?)),
        };
        Ok(DeviceStorage::of(memory, len))
    }

    /// Memory of somebody else in this process, which `owner` keeps; sent by what a probe of it says.
    /// `owner` is dropped when the storage is, and, where it is sent by legacy handle, no other process
    /// has it mapped any more.
    ///
    /// # Errors
    /// [`IpcError::NotShareable`] says what the memory is, if no other process can be given it.
    ///
    /// # Safety
    /// The slice is valid for as long as `owner` lives.
    pub unsafe fn foreign(
        slice: DeviceSlice<'_>,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<DeviceStorage, IpcError> {
        let (address, len) = (slice.address(), slice.len());
        if len == 0 {
            // It has no address that means anything, and nothing to keep.
            return Ok(DeviceStorage::allocate(slice.device(), len)?);
        }
        let refuse = |what| Err(IpcError::NotShareable { address, what });
        let info = match PointerInfo::of(address) {
            Ok(info) => info,
            Err(error) if error.kind() == CudaErrorKind::InvalidValue => {
                return refuse("not known to the driver, as ordinary host memory is not");
            }
            Err(error) => return Err(error.into()),
        };
        if !info.on_device {
            return refuse("host memory");
        }
        if info.managed {
            return refuse("managed memory, which moves by itself");
        }
        if ipc::is_import(address) {
            return refuse("another process's memory, which only that process can give");
        }
        let device = match info.ordinal == slice.device().ordinal() {
            true => slice.device().clone(),
            false => Device::open(info.ordinal)?,
        };
        let memory = match () {
            () if info.legacy_ipc => {
                if !is_inside((address, len), (info.base, info.len)) {
                    return refuse("longer than its allocation");
                }
                Memory::Plain(Plain::foreign(device, address, len, owner))
            }
            () if info.pooled => {
                return refuse(
                    "memory of a stream-ordered pool (cuMemAllocAsync, cudaMallocAsync)",
                );
            }
            () if info.handle_types & 1 == 0 => {
                return refuse(
                    "of a kind that has no handles, such as virtual memory made without",
                );
            }
            () => {
                let (base, mapped) = info.mapping_at(address);
                if !is_inside((address, len), (base, mapped)) {
                    return refuse("virtual memory put together from several allocations");
                }
                Memory::Retained(Retained::new(device, (address, len), (base, mapped), owner)?)
            }
        };
        Ok(DeviceStorage::of(memory, len))
    }

    /// Maps what a peer sent: virtual memory for reading only, legacy handles as the driver does,
    /// for anything. A passage of this very process gives the memory itself.
    ///
    /// A process that imports now and then keeps a [`Device`] of its own meanwhile: the first that is
    /// opened and the last that is dropped make and end the device's context, which takes long.
    ///
    /// # Errors
    /// [`IpcError::Received`] and [`IpcError::Unmappable`] for what does not fit together or is not
    /// what it is said to be; [`IpcError::Released`] and [`IpcError::Freed`] for memory that is gone;
    /// [`IpcError::Device`] where there is no such device or no driver. Nothing stays behind.
    pub fn import(
        passage: &Passage,
        descriptor: Option<OwnedFd>,
    ) -> Result<DeviceStorage, IpcError> {
        DeviceStorage::import_with(passage, descriptor, Permission::ReadOnly)
    }

    /// As [`DeviceStorage::import`], for reading and writing: its owner and everybody else who has it
    /// see what is written.
    ///
    /// # Errors
    /// As for [`DeviceStorage::import`].
    pub fn import_writable(
        passage: &Passage,
        descriptor: Option<OwnedFd>,
    ) -> Result<DeviceStorage, IpcError> {
        DeviceStorage::import_with(passage, descriptor, Permission::ReadWrite)
    }

    fn import_with(
        passage: &Passage,
        descriptor: Option<OwnedFd>,
        permission: Permission,
    ) -> Result<DeviceStorage, IpcError> {
        passage.check(descriptor.is_some())?;
        match (passage, descriptor) {
            (Passage::Legacy(legacy), _) if legacy.is_own() => plain::find(legacy),
            (Passage::Legacy(legacy), _) => {
                let device = Device::by_uuid(legacy.device())?;
                let import = ipc::import(&device, legacy)?;
                let memory = Memory::Opened(Opened { import, descriptor: **legacy });
                Ok(DeviceStorage::of(memory, legacy.len()))
            }
            (_, None) => unreachable!("checked above"),
            (_, Some(descriptor)) => {
                let device = Device::by_uuid(passage.device())?;
                let memory = Virtual::import(&device, passage, descriptor, permission)?;
                Ok(DeviceStorage::of(Memory::Virtual(memory), passage.len()))
            }
        }
    }

    fn of(memory: Memory, len: usize) -> DeviceStorage {
        DeviceStorage::part_of(Arc::new(memory), 0, len)
    }

    /// The range lies inside of the memory.
    fn part_of(memory: Arc<Memory>, offset: usize, len: usize) -> DeviceStorage {
        DeviceStorage { memory, offset, len, guards: Mutex::default() }
    }

    /// What to send of it, and the descriptor that goes along; made once. Memory that was imported can
    /// be sent on.
    ///
    /// A descriptor gives whoever has it the whole allocation, and to write; so does a legacy handle.
    ///
    /// # Errors
    /// What the driver or the system refuses.
    pub fn passage(&self) -> Result<(Passage, Option<BorrowedFd<'_>>), IpcError> {
        match &*self.memory {
            Memory::Virtual(memory) => Ok((memory.passage(), Some(memory.descriptor()?))),
            Memory::Retained(memory) => Ok((memory.passage(), Some(memory.descriptor()))),
            Memory::Plain(memory) => {
                let whole = memory.export(&self.memory)?;
                Ok((Passage::Legacy(Box::new(whole.slice(self.offset, self.len))), None))
            }
            Memory::Opened(opened) => Ok((Passage::Legacy(Box::new(opened.descriptor)), None)),
        }
    }

    /// Keeps `guard` until this storage is dropped and its mapping closed.
    pub fn guard(&self, guard: Box<dyn Any + Send + Sync>) {
        self.guards.lock().push(guard);
    }

    /// How it travels.
    pub fn route(&self) -> Route {
        match &*self.memory {
            Memory::Virtual(_) | Memory::Retained(_) => Route::Vmm,
            Memory::Plain(_) | Memory::Opened(_) => Route::Legacy,
        }
    }

    /// All of it.
    pub fn as_slice(&self) -> DeviceSlice<'_> {
        let whole = match &*self.memory {
            Memory::Virtual(memory) => memory.as_slice(),
            Memory::Retained(memory) => memory.as_slice(),
            Memory::Plain(memory) => memory.as_slice(),
            Memory::Opened(opened) => opened.import.as_slice(),
        };
        whole.slice(self.offset..self.offset + self.len)
    }

    /// The device it lies on.
    pub fn device(&self) -> &Device {
        match &*self.memory {
            Memory::Virtual(memory) => memory.device(),
            Memory::Retained(memory) => memory.device(),
            Memory::Plain(memory) => memory.device(),
            Memory::Opened(opened) => opened.import.device(),
        }
    }

    /// What this process may do with it.
    pub fn permission(&self) -> Permission {
        match &*self.memory {
            Memory::Virtual(memory) => memory.permission(),
            _ => Permission::ReadWrite,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: there are no empty allocations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if what another process mapped of it stays as it is when this storage is dropped, and when
    /// the process that owns it is gone. Not so for somebody else's memory, which its owner uses
    /// again, nor for imports with a guard, which stands for their owner's promise.
    pub fn survives_owner(&self) -> bool {
        matches!(&*self.memory, Memory::Virtual(_)) && self.guards.lock().is_empty()
    }

    /// Waits until everything queued on its device by this process is done.
    ///
    /// # Errors
    /// What the driver reports, such as a failure of earlier work.
    pub fn settle(&self) -> Result<(), CudaError> {
        self.device().synchronize()
    }
}

/// True if all of the first range lies in the second.
fn is_inside((address, len): (u64, usize), (base, whole): (u64, usize)) -> bool {
    let ends = (address.checked_add(len as u64), base.checked_add(whole as u64));
    matches!(ends, (Some(end), Some(limit)) if address >= base && end <= limit)
}

/// As [`PointerInfo::of`] and [`Device::by_uuid`] would say it, for a device of another name.
fn elsewhere(wanted: DeviceUuid, found: usize) -> IpcError {
    IpcError::Received {
        field: "device",
        expected: format!("memory of {wanted}"),
        found: format!("memory of this process's device {found}"),
    }
}
