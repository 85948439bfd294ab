//! Physical device memory: a sealed memory file that other processes can map.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::fs::{
    FlockOperation, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, flock, fstat,
    ftruncate, memfd_create,
};

use crate::pages::{PAGE, Pages};
use crate::status::{Result, Status};

/// What a process other than the owner may do with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Nothing: memory of a pool, managed memory.
    Private = 0,
    /// Opened by a legacy handle.
    Legacy = 1,
    /// Passed as a descriptor.
    Descriptor = 2,
}

/// One physical allocation as this process maps it.
pub struct Block {
    file: OwnedFd,
    pages: Pages,
    bytes: usize,
    device: u32,
    random: u64,
    used: Option<Arc<AtomicU64>>,
}

/// The first page of the file; the data begin on the second.
#[repr(C)]
struct Header {
    magic: AtomicU64,
    random: AtomicU64,
    bytes: AtomicU64,
    device: AtomicU32,
    sharing: AtomicU32,
    freed: AtomicU32,
}

const MAGIC: u64 = u64::from_le_bytes(*b"simblock");
const FRESH: u8 = 0xCD;
const FREED: u8 = 0xDB;

impl Block {
    /// New memory, counted in `used`, which may not grow beyond `limit`.
    pub fn create(
        bytes: usize,
        device: u32,
        sharing: Sharing,
        used: &Arc<AtomicU64>,
        limit: u64,
    ) -> Result<Self> {
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            now.checked_add(bytes as u64).filter(|after| *after <= limit)
        })
        .map_err(|_| Status::OUT_OF_MEMORY)?;
        let made = Self::fresh(bytes, device, sharing);
        match made {
            Ok(mut block) => {
                block.used = Some(Arc::clone(used));
                Ok(block)
            }
            Err(status) => {
                used.fetch_sub(bytes as u64, Ordering::Relaxed);
                Err(status)
            }
        }
    }

    fn fresh(bytes: usize, device: u32, sharing: Sharing) -> Result<Self> {
        let file = memfd_create("cuda-sim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let len = bytes.next_multiple_of(PAGE) + PAGE;
        ftruncate(&file, len as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let pages = Pages::shared(file.as_fd(), len)?;
        let random = random()?;
        let block = Self { file, pages, bytes, device, random, used: None };
        block.fill(FRESH);
        let header = block.header();
        header.random.store(random, Ordering::Relaxed);
        header.bytes.store(bytes as u64, Ordering::Relaxed);
        header.device.store(device, Ordering::Relaxed);
        header.sharing.store(sharing as u32, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(block)
    }

    /// Maps what another process, or this one, made. Every number in the file is checked.
    pub fn open(file: OwnedFd, sharing: Sharing) -> Result<Self> {
        let seals = fcntl_get_seals(&file).map_err(|_| Status::INVALID_VALUE)?;
        let len = fstat(&file).map_err(|_| Status::INVALID_VALUE)?.st_size as usize;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) || len <= PAGE {
            return Err(Status::INVALID_VALUE);
        }
        let pages = Pages::shared(file.as_fd(), len).map_err(|_| Status::INVALID_VALUE)?;
        let mut block = Self { file, pages, bytes: 0, device: 0, random: 0, used: None };
        let header = block.header();
        let magic = header.magic.load(Ordering::Acquire);
        let bytes = header.bytes.load(Ordering::Relaxed) as usize;
        let found = header.sharing.load(Ordering::Relaxed);
        let (random, device) =
            (header.random.load(Ordering::Relaxed), header.device.load(Ordering::Relaxed));
        if magic != MAGIC || found != sharing as u32 || bytes == 0 || bytes > len - PAGE {
            return Err(Status::INVALID_VALUE);
        }
        (block.bytes, block.random, block.device) = (bytes, random, device);
        Ok(block)
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where the worker finds the data.
    pub fn data(&self) -> usize {
        self.pages.base() + PAGE
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The physical number of the device.
    pub fn device(&self) -> u32 {
        self.device
    }

    pub fn random(&self) -> u64 {
        self.random
    }

    /// Says to every process that maps it that the owner freed it, and spoils the data if one
    /// does. Returns whether one does.
    pub fn retire(&self) -> bool {
        self.header().freed.store(1, Ordering::Release);
        let held = self.is_held_elsewhere();
        if held {
            self.fill(FREED);
        }
        held
    }

    pub fn is_retired(&self) -> bool {
        self.header().freed.load(Ordering::Acquire) != 0
    }

    /// Marks it as in use by this process, until its file is closed or this process is gone.
    pub fn hold(&self) -> Result {
        flock(&self.file, FlockOperation::NonBlockingLockShared).map_err(|_| Status::INVALID_VALUE)
    }

    fn is_held_elsewhere(&self) -> bool {
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    fn fill(&self, value: u8) {
        let data = ptr::with_exposed_provenance_mut::<u8>(self.data());
        // SAFETY: the file has `bytes` bytes of data after its first page, and its size is sealed.
        unsafe { ptr::write_bytes(data, value, self.bytes) }
    }

    fn header(&self) -> &Header {
        const { assert!(offset_of!(Header, freed) < PAGE) };
        let header = ptr::with_exposed_provenance::<Header>(self.pages.base());
        // SAFETY: the mapping begins on a page and is longer than a page for as long as `self` is
        // there; all fields are atomics, so what other processes store is no data race.
        unsafe { &*header }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(used) = &self.used {
            used.fetch_sub(self.bytes as u64, Ordering::Relaxed);
        }
    }
}

/// A number that no other allocation has.
pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}
