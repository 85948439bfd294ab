//! What a device stream's segment says of its frames: whose memory, on which device, how far apart.
//!
//! Upholds invariant 2: every field is checked, against the stream's geometry and against the memory.

use super::config::Mirror;
use super::error::DeviceOpenError;
use crate::device::DeviceUuid;
use crate::ipc::{DESCRIPTOR_LEN, MemoryDescriptor};
use bytemuck::{Pod, Zeroable};

/// Cells lie at multiples of this, so that every copy is aligned as the device likes it.
const ALIGN: usize = 512;

const MAGIC: [u8; 8] = *b"SHMCUFR\0";
const VERSION: u32 = 1;
const MIRRORED: u32 = 1;

/// Where the frames of a device stream live, as its segment says ([`shm_core::Stream::external`],
/// [`SegmentInfo::external`](shm_core::SegmentInfo)). To be had without a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    memory: MemoryDescriptor,
    mirror: Mirror,
    cells: usize,
    frame_len: usize,
    stride: usize,
}

/// A field that is not what a creator writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the description of device frames is damaged or of another version: {field} is {found}; expected {expected}"
)]
pub struct PlacementError {
    /// Which field.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// As it stands in the segment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    magic: [u8; 8],
    version: u32,
    flags: u32,
    cells: u64,
    frame_len: u64,
    stride: u64,
    reserved: [u64; 3],
    memory: [u8; DESCRIPTOR_LEN],
}

const _: () = assert!(size_of::<Record>() == 64 + DESCRIPTOR_LEN);

/// Distance between cells for frames of `frame_len` bytes, and bytes of all cells; `None` if that is
/// more than can be addressed.
pub(super) fn extent(frame_len: usize, cells: usize) -> Option<(usize, usize)> {
    let stride = frame_len.checked_next_multiple_of(ALIGN)?;
    let total = stride.checked_mul(cells).filter(|&total| total <= isize::MAX as usize)?;
    Some((stride, total))
}

impl Placement {
    pub(super) fn new(
        memory: MemoryDescriptor,
        mirror: Mirror,
        cells: usize,
        frame_len: usize,
        stride: usize,
    ) -> Placement {
        Placement { memory, mirror, cells, frame_len, stride }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let record = Record {
            magic: MAGIC,
            version: VERSION,
            flags: if self.mirror == Mirror::Host { MIRRORED } else { 0 },
            cells: self.cells as u64,
            frame_len: self.frame_len as u64,
            stride: self.stride as u64,
            reserved: [0; 3],
            memory: self.memory.to_bytes(),
        };
        bytemuck::bytes_of(&record).to_vec()
    }

    /// Believes nothing: every field has to fit every other.
    ///
    /// # Errors
    /// [`PlacementError`] names the field that does not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Placement, PlacementError> {
        let wrong =
            |field, expected: String, found: String| Err(PlacementError { field, expected, found });
        let Ok(record) = bytemuck::try_pod_read_unaligned::<Record>(bytes) else {
            return wrong("length", size_of::<Record>().to_string(), bytes.len().to_string());
        };
        if record.magic != MAGIC {
            return wrong("magic", format!("{MAGIC:?}"), format!("{:?}", record.magic));
        }
        if record.version != VERSION {
            return wrong("version", VERSION.to_string(), record.version.to_string());
        }
        if record.flags & !MIRRORED != 0 {
            return wrong("flags", format!("0 or {MIRRORED}"), record.flags.to_string());
        }
        if record.reserved != [0; 3] {
            return wrong("reserved", "0".to_owned(), format!("{:?}", record.reserved));
        }
        let memory = MemoryDescriptor::from_bytes(&record.memory).map_err(|error| {
            PlacementError { field: error.field, expected: error.expected, found: error.found }
        })?;
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let (cells, frame_len) = (number(record.cells), number(record.frame_len));
        let Some((stride, total)) = extent(frame_len, cells).filter(|&(_, total)| total > 0) else {
            let expected = "cells and frames of at least one byte that can be addressed".to_owned();
            return wrong("cells", expected, format!("{cells} cells of {frame_len} bytes"));
        };
        if record.stride != stride as u64 {
            return wrong("stride", stride.to_string(), record.stride.to_string());
        }
        if memory.len() != total {
            return wrong("memory length", total.to_string(), memory.len().to_string());
        }
        let mirror = if record.flags & MIRRORED != 0 { Mirror::Host } else { Mirror::None };
        Ok(Placement { memory, mirror, cells, frame_len, stride })
    }

    /// What the segment of `stream` says, checked against its geometry.
    pub(super) fn of(stream: &shm_core::Stream) -> Result<Placement, DeviceOpenError> {
        let name = || stream.name().to_owned();
        let Some(bytes) = stream.external() else {
            return Err(DeviceOpenError::NotOnDevice { name: name() });
        };
        let wrong = |PlacementError { field, expected, found }| DeviceOpenError::Placement {
            name: name(),
            field,
            expected,
            found,
        };
        let placement = Placement::from_bytes(bytes).map_err(wrong)?;
        let mirrored = usize::from(placement.mirror == Mirror::Host);
        for (field, expected, found) in [
            ("cells", stream.cells(), placement.cells),
            ("frame_len", stream.desc().byte_len(), placement.frame_len),
            ("mirror", usize::from(stream.has_host_payload()), mirrored),
        ] {
            if expected != found {
                let (expected, found) = (expected.to_string(), found.to_string());
                return Err(wrong(PlacementError { field, expected, found }));
            }
        }
        Ok(placement)
    }

    /// The device that has the frames.
    pub fn device(&self) -> DeviceUuid {
        self.memory.device()
    }

    /// The process whose memory they are, as it is numbered in its own pid namespace.
    pub fn pid(&self) -> u32 {
        self.memory.pid()
    }

    /// Whether they are also kept in shared memory.
    pub fn mirror(&self) -> Mirror {
        self.mirror
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Bytes from one cell to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes of device memory that all cells take.
    pub fn device_len(&self) -> usize {
        self.memory.len()
    }

    pub(super) fn memory(&self) -> &MemoryDescriptor {
        &self.memory
    }

    pub(super) fn frame_len(&self) -> usize {
        self.frame_len
    }
}
