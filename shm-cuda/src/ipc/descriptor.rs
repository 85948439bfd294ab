//! The 256 bytes that describe device memory to another process.
//!
//! Upholds invariant 2: whatever is read is checked, field by field, before anything is done with it.

#[cfg(target_os = "linux")]
use super::holders::Mark;
use crate::buffer::DeviceSlice;
use crate::device::DeviceUuid;
use bytemuck::{Pod, Zeroable};
use parking_lot::Mutex;
use shm_core::fork_generation;

/// Length of a descriptor in bytes.
pub const DESCRIPTOR_LEN: usize = 256;

const MAGIC: [u8; 8] = *b"SHMCUDA\0";
const VERSION: u32 = 1;

/// Device memory as its process describes it to others: plain bytes, to be sent by any channel.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MemoryDescriptor {
    magic: [u8; 8],
    version: u32,
    pid: u32,
    /// Random number of the process: what it exported itself it cannot open.
    exporter: [u8; 16],
    device: [u8; 16],
    handle: [u8; 64],
    /// Number of the allocation in its process; addresses are used again, this is not.
    buffer_id: u64,
    /// Where the allocation lies in its own process.
    base: u64,
    base_len: u64,
    offset: u64,
    len: u64,
    /// Where importers say that they have it mapped: a file of the exporter's.
    holders_device: u64,
    holders_inode: u64,
    holders_number: u32,
    /// 1 if there is such a file.
    has_holders: u32,
    reserved: [u8; 72],
    checksum: u64,
}

const _: () = assert!(size_of::<MemoryDescriptor>() == DESCRIPTOR_LEN);

/// Bytes that describe no device memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the descriptor of device memory is damaged or of another version: {field} is {found}; expected {expected}"
)]
pub struct DescriptorError {
    /// Which field.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl MemoryDescriptor {
    pub(super) fn new(
        handle: [u8; 64],
        buffer_id: u64,
        slice: DeviceSlice<'_>,
        base: u64,
        base_len: usize,
    ) -> MemoryDescriptor {
        let mut descriptor = MemoryDescriptor {
            magic: MAGIC,
            version: VERSION,
            pid: std::process::id(),
            exporter: this_process(),
            device: slice.device().uuid().0,
            handle,
            buffer_id,
            base,
            base_len: base_len as u64,
            offset: slice.address() - base,
            len: slice.len() as u64,
            holders_device: 0,
            holders_inode: 0,
            holders_number: 0,
            has_holders: 0,
            reserved: [0; 72],
            checksum: 0,
        };
        descriptor.checksum = descriptor.sum();
        descriptor
    }

    /// The bytes to send.
    pub fn to_bytes(&self) -> [u8; DESCRIPTOR_LEN] {
        bytemuck::cast(*self)
    }

    /// Believes nothing: magic, version, lengths and checksum have to fit.
    ///
    /// # Errors
    /// [`DescriptorError`] names the field that does not.
    pub fn from_bytes(bytes: &[u8]) -> Result<MemoryDescriptor, DescriptorError> {
        let wrong = |field, expected: String, found: String| {
            Err(DescriptorError { field, expected, found })
        };
        if bytes.len() != DESCRIPTOR_LEN {
            return wrong("length", DESCRIPTOR_LEN.to_string(), bytes.len().to_string());
        }
        let found: MemoryDescriptor = bytemuck::pod_read_unaligned(bytes);
        if found.magic != MAGIC {
            return wrong("magic", format!("{MAGIC:?}"), format!("{:?}", found.magic));
        }
        if found.version != VERSION {
            return wrong("version", VERSION.to_string(), found.version.to_string());
        }
        if found.checksum != found.sum() {
            return wrong("checksum", found.sum().to_string(), found.checksum.to_string());
        }
        let end = found.offset.checked_add(found.len);
        if found.len == 0 || end.is_none_or(|end| end > found.base_len) {
            let expected = format!("a range inside of {} bytes", found.base_len);
            return wrong("range", expected, format!("{} bytes at {}", found.len, found.offset));
        }
        Ok(found)
    }

    /// The process that exported it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The device it lies on.
    pub fn device(&self) -> DeviceUuid {
        DeviceUuid(self.device)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Never true: there are no empty allocations.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True in the process that exported it, which cannot open it.
    pub fn is_own(&self) -> bool {
        self.exporter == this_process()
    }

    /// Another range of the same allocation, counted from the start of this one.
    ///
    /// # Panics
    /// If it does not lie inside.
    pub fn slice(&self, offset: usize, len: usize) -> MemoryDescriptor {
        let end = offset.checked_add(len).filter(|&end| end <= self.len() && len > 0);
        assert!(end.is_some(), "{len} bytes at {offset} lie outside of {}", self.len());
        let mut part = *self;
        (part.offset, part.len) = (self.offset + offset as u64, len as u64);
        part.checksum = part.sum();
        part
    }

    /// The same memory, with a file in which importers say that they have it.
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn held_in(&self, mark: Mark) -> MemoryDescriptor {
        let mut noted = *self;
        (noted.holders_device, noted.holders_inode) = (mark.device, mark.inode);
        (noted.holders_number, noted.has_holders) = (mark.number, 1);
        noted.checksum = noted.sum();
        noted
    }

    /// The file in which importers say that they have it.
    #[cfg(target_os = "linux")]
    pub(crate) fn holders(&self) -> Option<Mark> {
        let (device, inode) = (self.holders_device, self.holders_inode);
        (self.has_holders == 1).then_some(Mark { number: self.holders_number, device, inode })
    }

    pub(super) fn handle(&self) -> [u8; 64] {
        self.handle
    }

    pub(super) fn exporter(&self) -> [u8; 16] {
        self.exporter
    }

    pub(super) fn buffer_id(&self) -> u64 {
        self.buffer_id
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Where it begins in the process that exported it.
    #[cfg(all(feature = "share", target_os = "linux"))]
    pub(crate) fn address(&self) -> u64 {
        self.base.wrapping_add(self.offset)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// FNV-1a over everything before the sum: against damage, not against an enemy.
    fn sum(&self) -> u64 {
        let bytes = bytemuck::bytes_of(self);
        let body = &bytes[..DESCRIPTOR_LEN - size_of::<u64>()];
        body.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

impl core::fmt::Debug for MemoryDescriptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MemoryDescriptor")
            .field("pid", &self.pid)
            .field("device", &self.device())
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A random number of this process, another one in a forked child.
pub(crate) fn this_process() -> [u8; 16] {
    static DRAWN: Mutex<Option<(u64, [u8; 16])>> = Mutex::new(None);
    let mut drawn = DRAWN.lock();
    let generation = fork_generation();
    match *drawn {
        Some((born, number)) if born == generation => number,
        _ => {
            let number = random_number();
            *drawn = Some((generation, number));
            number
        }
    }
}

fn random_number() -> [u8; 16] {
    let mut number = [0; 16];
    #[cfg(target_os = "linux")]
    let drawn = rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty());
    #[cfg(not(target_os = "linux"))]
    let drawn: Result<usize, ()> = Err(());
    if drawn != Ok(number.len()) {
        use std::hash::{BuildHasher, RandomState};
        let halves = [RandomState::new().hash_one(std::process::id()), shm_core::clock::wall_ns()];
        number.copy_from_slice(bytemuck::bytes_of(&halves));
    }
    number
}
