//! Where the cells and payloads of a stream lie, computed from a geometry that is checked.
//!
//! Upholds invariant 2. Cell headers are 64 bytes; a payload of up to 256 bytes follows its header
//! directly, in the same or the next cache line, and needs no page of its own. Larger payloads lie in
//! the payload part, aligned to 64 bytes. Payloads of an external stream lie elsewhere, and here too only if it
//! is mirrored.

use super::Shared;
use super::config::{ConfigError, MAX_CELLS};
use super::external::External;
use crate::dtype::Dtype;
use crate::flight::Flight;
use crate::segment::{OpenError, PAYLOAD_ALIGN, Segment};
use crate::seqlock::{Cell, Cells, Ring};
use crate::tensor::{MAX_DIMS, TensorDesc};
use bytemuck::{Pod, Zeroable};

pub(crate) const STREAM_KIND: &str = "stream";

/// Payloads up to this size lie next to their header, as long as all fit the header's page.
const INLINE_MAX: usize = 256;
const INLINE_TOTAL: usize = 3072;
const CELL_LEN: usize = size_of::<Cell>();

/// Offsets in the hot part: a line that changes with every writer (and holds the retired flag), a
/// line that changes with every frame and that a publish never loads, then the cells.
pub(crate) struct HotOffsets {
    pub(crate) writer_pid: usize,
    pub(crate) writer_since: usize,
    pub(crate) writers: usize,
    pub(crate) aborted: usize,
    /// When the process at `writer_pid` started; external streams only.
    pub(crate) writer_start: usize,
    pub(crate) latest: usize,
    /// Count of the newest frame announced; external streams only.
    pub(crate) announced: usize,
    cells: usize,
}

pub(crate) const HOT: HotOffsets = HotOffsets {
    writer_pid: 8,
    writer_since: 16,
    writers: 24,
    aborted: 32,
    writer_start: 56,
    latest: 64,
    announced: 72,
    cells: 128,
};

/// The geometry as it stands in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct StreamGeometry {
    cells: u64,
    frame_len: u64,
    dtype: u32,
    dims: u32,
    shape: [u64; MAX_DIMS],
}

/// An external stream's description of where its frames lie follows, see [`External`].
pub(crate) const GEOMETRY_LEN: usize = size_of::<StreamGeometry>();

const _: () = assert!(GEOMETRY_LEN == 24 + 8 * MAX_DIMS);

/// A stream's checked geometry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) desc: TensorDesc,
    pub(crate) cells: usize,
    /// Distance between payloads.
    payload_stride: usize,
    /// Distance between cell headers.
    cell_stride: usize,
    inline: bool,
    /// False if frames lie elsewhere only.
    pub(crate) host_payload: bool,
    pub(crate) external: Option<External>,
}

impl Layout {
    pub(crate) fn new(
        desc: TensorDesc,
        cells: usize,
        external: Option<External>,
    ) -> Result<Layout, ConfigError> {
        if !(1..=MAX_CELLS).contains(&cells) {
            return Err(ConfigError::Cells { found: cells });
        }
        let frame = desc.byte_len();
        let too_large = || ConfigError::TooLarge { cells, frame };
        let padded = frame.checked_next_multiple_of(PAYLOAD_ALIGN).ok_or_else(too_large)?;
        let host_payload = external.as_ref().is_none_or(|external| external.mirrored);
        let inline =
            host_payload && frame <= INLINE_MAX && cells * (CELL_LEN + padded) <= INLINE_TOTAL;
        let payload_stride = if inline { CELL_LEN + padded } else { padded };
        let cell_stride = if inline { payload_stride } else { CELL_LEN };
        let total = payload_stride.checked_mul(cells).ok_or_else(too_large)?;
        if total > isize::MAX as usize - (1 << 30) {
            return Err(too_large());
        }
        Ok(Layout { desc, cells, payload_stride, cell_stride, inline, host_payload, external })
    }

    pub(crate) fn hot_len(&self) -> usize {
        HOT.cells + self.cells * self.cell_stride
    }

    pub(crate) fn payload_len(&self) -> usize {
        match self.inline || !self.host_payload {
            true => 0,
            // The last frame needs no padding.
            false => self.payload_stride * (self.cells - 1) + self.desc.byte_len(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut shape = [0; MAX_DIMS];
        for (field, &dim) in shape.iter_mut().zip(self.desc.shape()) {
            *field = dim as u64;
        }
        let geometry = StreamGeometry {
            cells: self.cells as u64,
            frame_len: self.desc.byte_len() as u64,
            dtype: self.desc.dtype().code().into(),
            dims: self.desc.shape().len() as u32,
            shape,
        };
        let mut bytes = bytemuck::bytes_of(&geometry).to_vec();
        if let Some(external) = &self.external {
            external.append_to(&mut bytes);
        }
        bytes
    }

    /// Decodes and checks the geometry of an open segment against its lengths.
    pub(crate) fn from_segment(segment: &Segment) -> Result<Layout, OpenError> {
        let layout = Layout::decode(segment.name(), segment.geometry())?;
        for (field, expected, found) in [
            ("hot_len", layout.hot_len(), segment.hot_len()),
            ("payload_len", layout.payload_len(), segment.payload_len()),
        ] {
            if found < expected {
                let expected = format!("at least {expected}");
                return Err(OpenError::corrupt(segment.name(), field, expected, found));
            }
        }
        Ok(layout)
    }

    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Layout, OpenError> {
        let corrupt = |field, expected: &str, found: u64| {
            Err(OpenError::corrupt(name, field, expected, found))
        };
        let Some((fixed, extension)) = bytes.split_at_checked(GEOMETRY_LEN) else {
            return corrupt("geometry length", &GEOMETRY_LEN.to_string(), bytes.len() as u64);
        };
        let geometry = bytemuck::pod_read_unaligned::<StreamGeometry>(fixed);
        let external = External::decode(name, extension)?;
        let code = u8::try_from(geometry.dtype).ok().and_then(Dtype::from_code);
        let Some(dtype) = code else {
            return corrupt("dtype", "a known dtype code (1..=15)", geometry.dtype.into());
        };
        let dims = geometry.dims as usize;
        if dims > MAX_DIMS {
            return corrupt("dims", &format!("at most {MAX_DIMS}"), geometry.dims.into());
        }
        let shape: Option<Vec<usize>> =
            geometry.shape[..dims].iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let desc = shape.and_then(|shape| TensorDesc::new(dtype, &shape).ok());
        let Some(desc) = desc else {
            return corrupt("shape", "dimensions from 1 whose product fits", geometry.shape[0]);
        };
        if geometry.frame_len != desc.byte_len() as u64 {
            return corrupt("frame_len", &desc.byte_len().to_string(), geometry.frame_len);
        }
        let cells = usize::try_from(geometry.cells).unwrap_or(usize::MAX);
        match Layout::new(desc, cells, external) {
            Ok(layout) => Ok(layout),
            Err(_) => corrupt("cells", &format!("1..={MAX_CELLS}"), geometry.cells),
        }
    }
}

/// The cells of a mapped stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedCells<'a> {
    shared: &'a Shared,
}

impl Cells for MappedCells<'_> {
    #[inline]
    fn len(&self) -> usize {
        self.shared.layout.cells
    }

    #[inline]
    fn cell(&self, index: usize) -> &Cell {
        self.shared.segment.region().words(self.shared.cell_at(index))
    }
}

impl Shared {
    #[inline]
    pub(crate) fn ring(&self) -> Ring<'_, MappedCells<'_>> {
        Ring { latest: self.segment.hot(HOT.latest), cells: MappedCells { shared: self } }
    }

    /// What was announced of an external stream.
    #[inline]
    pub(crate) fn flight(&self) -> Flight<'_> {
        Flight { announced: self.segment.hot(HOT.announced) }
    }

    /// Offset of a cell's header in the segment.
    #[inline]
    fn cell_at(&self, index: usize) -> usize {
        assert!(index < self.layout.cells, "cell index is taken modulo the number of cells");
        self.segment.hot_offset() + HOT.cells + index * self.layout.cell_stride
    }

    /// Offset of a cell's payload in the segment.
    #[inline]
    pub(crate) fn payload_at(&self, index: usize) -> usize {
        match self.layout.inline {
            true => self.cell_at(index) + CELL_LEN,
            false => self.segment.payload_offset() + index * self.layout.payload_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize, cells: usize) -> Layout {
        Layout::new(TensorDesc::new(Dtype::U8, &[bytes]).unwrap(), cells, None).unwrap()
    }

    #[test]
    fn small_payloads_need_no_page_of_their_own() {
        assert_eq!(layout(64, 3).payload_len(), 0);
        assert_eq!(layout(64, 3).cell_stride, 128);
        assert!(layout(64, 3).hot_len() < 4096 - 512);
        assert_eq!(layout(4096, 3).payload_len(), 3 * 4096);
        assert_eq!(layout(4097, 3).payload_len(), 2 * 4160 + 4097);
    }

    #[test]
    fn every_damaged_field_is_named() {
        let good = layout(100, 3).encode();
        assert_eq!(Layout::decode("x", &good).unwrap(), layout(100, 3));
        for (at, value, field) in [
            (0, 0_u64, "cells is 0"),
            (0, u64::MAX, "cells is 18446744073709551615"),
            (8, 99, "frame_len is 99"),
            (16, 0, "dtype is 0"),
            (16, 200, "dtype is 200"),
            (16, 6 | 17 << 32, "dims is 17"),
            (24, 0, "shape is 0"),
            (24, u64::MAX, "shape is 18446744073709551615"),
        ] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&value.to_ne_bytes());
            let message = Layout::decode("x", &bad).unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
        }
        let message = Layout::decode("x", &good[1..]).unwrap_err().to_string();
        assert!(message.contains("geometry length is 151, expected 152"), "{message}");
    }
}
