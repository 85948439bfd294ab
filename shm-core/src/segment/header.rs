//! The self-describing header: what every segment of every crate begins with.
//!
//! Upholds invariant 2. A header is read once into a private copy, checked field by field against
//! the length of the file, and never read again: geometry that changes under a reader's feet
//! changes nothing.

use super::error::OpenError;
use super::{CONTROL_LEN, PAYLOAD_ALIGN};
use bytemuck::{Pod, Zeroable};
use core::mem::offset_of;
use xxhash_rust::xxh3::xxh3_64;

/// First word of every segment: "shmcore" and a 1, little-endian.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"shmcore1");
/// Changes whenever any shared structure changes.
pub(crate) const ABI: u32 = 2;
/// The line that holds the retired flag.
const HOT_MIN: u64 = 64;
/// Longest immutable part that is believed.
const MAX_FIXED: u64 = 1 << 20;

/// The immutable first bytes of a segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct SegmentHeader {
    pub(crate) magic: u64,
    pub(crate) abi: u32,
    pub(crate) header_len: u32,
    pub(crate) total_len: u64,
    pub(crate) kind: [u8; 8],
    pub(crate) uid: u32,
    pub(crate) creator_pid: u32,
    pub(crate) creator_start: u64,
    pub(crate) boot_id: [u8; 16],
    pub(crate) instance: [u8; 16],
    pub(crate) created_wall_ns: u64,
    pub(crate) pid_namespace: u64,
    pub(crate) name: Extent,
    pub(crate) geometry: Extent,
    pub(crate) counters: Extent,
    pub(crate) metadata: Extent,
    pub(crate) hot_offset: u64,
    pub(crate) hot_len: u64,
    pub(crate) control_offset: u64,
    pub(crate) control_len: u64,
    pub(crate) payload_offset: u64,
    pub(crate) payload_len: u64,
    pub(crate) page_size: u32,
    pub(crate) lifetime: u32,
    pub(crate) fixed_len: u64,
    pub(crate) checksum: u64,
    pub(crate) reserved: [u64; 7],
}

/// A run of bytes in the immutable part.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Extent {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

const _: () = {
    assert!(size_of::<SegmentHeader>() == 256);
    assert!(offset_of!(SegmentHeader, magic) == 0);
    assert!(offset_of!(SegmentHeader, total_len) == 16);
    assert!(offset_of!(SegmentHeader, uid) == 32);
    assert!(offset_of!(SegmentHeader, boot_id) == 48);
    assert!(offset_of!(SegmentHeader, name) == 96);
    assert!(offset_of!(SegmentHeader, hot_offset) == 128);
    assert!(offset_of!(SegmentHeader, checksum) == 192);
};

/// One named number that any tool can show without knowing the kind of segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct CounterEntry {
    pub(crate) name: [u8; 24],
    pub(crate) unit: [u8; 8],
    /// Where its 64-bit word lies in the segment.
    pub(crate) offset: u64,
}

const _: () = assert!(size_of::<CounterEntry>() == 40);

impl SegmentHeader {
    /// Fills in the checksum and the magic of a finished immutable part.
    pub(crate) fn seal(fixed: &mut [u8]) {
        let checksum = checksum_of(fixed);
        fixed[offset_of!(SegmentHeader, checksum)..][..8].copy_from_slice(&checksum.to_ne_bytes());
    }

    /// The first look: how many bytes the immutable part has.
    pub(crate) fn fixed_len_of(
        first: &[u8; 256],
        file_len: u64,
        name: &str,
    ) -> Result<usize, OpenError> {
        let header: SegmentHeader = bytemuck::pod_read_unaligned(first);
        let name = || name.to_owned();
        match header.magic {
            MAGIC => {}
            0 => return Err(OpenError::NotReady { name: name() }),
            found => return Err(OpenError::Foreign { name: name(), found }),
        }
        if header.abi != ABI {
            return Err(OpenError::Abi { name: name(), expected: ABI, found: header.abi });
        }
        if file_len < header.total_len {
            let (expected, found) = (header.total_len, file_len);
            return Err(OpenError::Truncated { name: name(), expected, found });
        }
        if !(256..=MAX_FIXED.min(file_len)).contains(&header.fixed_len) {
            return Err(OpenError::corrupt(
                &name(),
                "fixed_len",
                format!("256..={}", MAX_FIXED.min(file_len)),
                header.fixed_len,
            ));
        }
        Ok(header.fixed_len as usize)
    }

    /// Checks the complete immutable part and returns the private copy of the header.
    pub(crate) fn check(
        fixed: &[u8],
        file_len: u64,
        name: &str,
    ) -> Result<SegmentHeader, OpenError> {
        let header: SegmentHeader = bytemuck::pod_read_unaligned(&fixed[..256]);
        let computed = checksum_of(fixed);
        let corrupt =
            |field, expected: String, found| Err(OpenError::corrupt(name, field, expected, found));
        if header.checksum != computed {
            return corrupt("checksum", format!("{computed:#x}"), header.checksum);
        }
        if header.header_len != 256 {
            return corrupt("header_len", "256".into(), header.header_len.into());
        }
        if !header.page_size.is_power_of_two() || header.page_size < 4096 {
            return corrupt(
                "page_size",
                "a power of two from 4096".into(),
                header.page_size.into(),
            );
        }
        for (field, extent) in [
            ("name", header.name),
            ("geometry", header.geometry),
            ("counters", header.counters),
            ("metadata", header.metadata),
        ] {
            let end = u64::from(extent.offset) + u64::from(extent.len);
            if extent.offset < 256 || end > fixed.len() as u64 {
                return corrupt(field, format!("256..={}", fixed.len()), end);
            }
        }
        for (field, found, least) in [
            ("hot_len", header.hot_len, HOT_MIN),
            ("control_len", header.control_len, CONTROL_LEN as u64),
        ] {
            if found < least {
                return corrupt(field, format!("at least {least}"), found);
            }
        }
        let mut start = header.fixed_len;
        for (field, offset, len, align) in [
            ("hot_offset", header.hot_offset, header.hot_len, 64),
            ("payload_offset", header.payload_offset, header.payload_len, PAYLOAD_ALIGN as u64),
            ("control_offset", header.control_offset, header.control_len, header.page_size.into()),
        ] {
            let end = offset.checked_add(len).filter(|&end| end <= header.total_len);
            let (true, true, Some(end)) = (offset >= start, offset.is_multiple_of(align), end)
            else {
                let expected = format!("a multiple of {align} in {start}..={}", header.total_len);
                return corrupt(field, expected, offset);
            };
            start = end;
        }
        if header.total_len > file_len {
            return corrupt("total_len", format!("at most {file_len}"), header.total_len);
        }
        Ok(header)
    }

    /// The bytes of an extent that [`check`](Self::check) has accepted.
    pub(crate) fn slice(fixed: &[u8], extent: Extent) -> &[u8] {
        &fixed[extent.offset as usize..][..extent.len as usize]
    }
}

/// XXH3-64 of the immutable part with magic and checksum taken as zero.
fn checksum_of(fixed: &[u8]) -> u64 {
    let mut copy = fixed.to_vec();
    copy[offset_of!(SegmentHeader, magic)..][..8].fill(0);
    copy[offset_of!(SegmentHeader, checksum)..][..8].fill(0);
    xxh3_64(&copy)
}

/// Text in a fixed field, padded with zeroes; cut at a character boundary if too long.
pub(crate) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let end = (0..=text.len().min(N)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

/// The text of a padded field, whatever bytes it holds.
pub(crate) fn unpadded(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}
