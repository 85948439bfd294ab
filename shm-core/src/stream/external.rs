//! Streams whose frames live elsewhere: what the segment says of the place, and what a device needs
//! of the segment.
//!
//! Upholds invariants 2 (the extension of the geometry is checked like the rest) and 3 (whether the
//! creator lives is told by a byte that the kernel keeps locked for it).

use super::Stream;
use super::layout::{GEOMETRY_LEN, Layout, STREAM_KIND};
use crate::os::Access;
use crate::segment::{OpenError, Segment, SegmentInfo};
use crate::tensor::TensorDesc;
use bytemuck::{Pod, Zeroable};

/// The longest descriptor in bytes.
pub(crate) const DESCRIPTOR_MAX: usize = 4096;
/// The byte that the creator of an external stream holds from before the stream has its name.
pub(crate) const HOLDER_OF_CREATOR: u64 = 0;

/// Changes with the meaning of what follows.
const VERSION: u32 = 1;
const EXTERNAL: u32 = 1;
const MIRRORED: u32 = 2;

/// Where the frames of a stream live that are not in its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct External {
    /// What the creator said of the place; opaque to this crate.
    pub descriptor: Box<[u8]>,
    /// Whether every frame is in shared memory too.
    pub mirrored: bool,
}

/// What follows the fixed part of the geometry; the descriptor follows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Extension {
    version: u32,
    flags: u32,
    descriptor_len: u32,
    reserved: u32,
}

const EXTENSION_LEN: usize = size_of::<Extension>();

impl External {
    pub(super) fn append_to(&self, geometry: &mut Vec<u8>) {
        let extension = Extension {
            version: VERSION,
            flags: EXTERNAL | if self.mirrored { MIRRORED } else { 0 },
            descriptor_len: self.descriptor.len() as u32,
            reserved: 0,
        };
        geometry.extend_from_slice(bytemuck::bytes_of(&extension));
        geometry.extend_from_slice(&self.descriptor);
    }

    /// What follows the fixed part of the geometry of stream `name`; nothing for an ordinary stream.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Option<External>, OpenError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let corrupt = |field, expected: String, found: usize| {
            Err(OpenError::corrupt(name, field, expected, found))
        };
        let Some((fixed, descriptor)) = bytes.split_at_checked(EXTENSION_LEN) else {
            let expected = format!("{GEOMETRY_LEN}, or from {}", GEOMETRY_LEN + EXTENSION_LEN);
            return corrupt("geometry length", expected, GEOMETRY_LEN + bytes.len());
        };
        let extension = bytemuck::pod_read_unaligned::<Extension>(fixed);
        if extension.version != VERSION {
            let found = extension.version as usize;
            return corrupt("geometry extension version", VERSION.to_string(), found);
        }
        if extension.flags & EXTERNAL == 0 || extension.flags & !(EXTERNAL | MIRRORED) != 0 {
            let expected = format!("{EXTERNAL} or {}", EXTERNAL | MIRRORED);
            return corrupt("geometry extension flags", expected, extension.flags as usize);
        }
        if extension.reserved != 0 {
            let found = extension.reserved as usize;
            return corrupt("geometry extension reserved", "0".into(), found);
        }
        let len = extension.descriptor_len as usize;
        if len > DESCRIPTOR_MAX || len != descriptor.len() {
            let expected = format!("{}, and at most {DESCRIPTOR_MAX}", descriptor.len());
            return corrupt("descriptor length", expected, len);
        }
        let mirrored = extension.flags & MIRRORED != 0;
        Ok(Some(External { descriptor: descriptor.into(), mirrored }))
    }
}

impl Stream {
    /// What the creator said of the place where the frames live; `None` for an ordinary stream, whose
    /// frames live in the segment.
    pub fn external(&self) -> Option<&[u8]> {
        self.shared.layout.external.as_ref().map(|external| &*external.descriptor)
    }

    /// True if every frame is in shared memory: of ordinary and of mirrored streams.
    pub fn has_host_payload(&self) -> bool {
        self.shared.layout.host_payload
    }

    /// The segment of the stream, for bytes to hold ([`Segment::try_hold`]). The creator of an external
    /// stream holds byte 0 for as long as it has a handle; the others are its users'.
    pub fn segment(&self) -> &Segment {
        &self.shared.segment
    }

    /// Address and length of the pages of this mapping that hold every word a publication stores, and
    /// the host cells of a mirrored stream: for registering them with a device. Valid for as long as
    /// any handle on this mapping. `None` for ordinary streams and for handles without full access.
    pub fn publication_pages(&self) -> Option<(*mut u8, usize)> {
        let segment = &self.shared.segment;
        self.shared.layout.external.as_ref()?;
        if segment.access() != Access::Full {
            return None;
        }
        let page = segment.page_size();
        let begin = segment.hot_offset() & !(page - 1);
        let end = (segment.payload_offset() + self.shared.layout.payload_len())
            .max(segment.hot_offset() + self.shared.layout.hot_len())
            .next_multiple_of(page)
            .min(segment.total_len());
        let run = segment.region().bytes(begin, end - begin);
        run.addr().is_multiple_of(page).then_some((run, end - begin))
    }

    /// Count of the newest frame announced, at least [`count`](Stream::count): what is above that is
    /// in flight.
    pub fn announced(&self) -> u64 {
        let newest = self.count();
        match self.shared.layout.external {
            Some(_) => self.shared.flight().announced().max(newest),
            None => newest,
        }
    }

    /// Whether the creator of an external stream has a handle on it, as the kernel tells. `None` for
    /// ordinary streams, and if the system cannot tell.
    pub fn creator_alive(&self) -> Option<bool> {
        self.shared.layout.external.as_ref()?;
        self.shared.segment.is_held(HOLDER_OF_CREATOR).ok()
    }

    /// Address of a cell's payload in shared memory, aligned to 64; writable with full access only, and
    /// others may change the bytes at any time. `None` if the stream is not an external one with a
    /// mirror, or has no such cell.
    pub fn host_cell(&self, cell: usize) -> Option<*mut u8> {
        let layout = &self.shared.layout;
        let mirrored = layout.external.as_ref().is_some_and(|external| external.mirrored);
        (mirrored && cell < layout.cells).then(|| self.shared.payload(cell))
    }
}

/// What a stream carries, as its header says: for those who look without attaching.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamShape {
    /// Dtype and shape of a frame.
    pub desc: TensorDesc,
    /// How many frames it keeps.
    pub cells: usize,
    /// Where the frames live, if not in the segment.
    pub external: Option<External>,
}

impl SegmentInfo {
    /// What the stream carries; `None` if this is no stream, or its geometry cannot be.
    pub fn stream_shape(&self) -> Option<StreamShape> {
        if self.kind != STREAM_KIND {
            return None;
        }
        let Layout { desc, cells, external, .. } =
            Layout::decode(&self.name, &self.geometry).ok()?;
        Some(StreamShape { desc, cells, external })
    }

    /// Where the frames live, if this is a stream whose frames live elsewhere.
    pub fn external(&self) -> Option<External> {
        if self.kind != STREAM_KIND {
            return None;
        }
        External::decode(&self.name, self.geometry.get(GEOMETRY_LEN..)?).ok().flatten()
    }
}

#[cfg(test)]
mod tests;
