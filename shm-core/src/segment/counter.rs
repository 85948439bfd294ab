//! Named numbers in the header that one tool can show for any segment.
//!
//! Upholds invariant 2: an entry that points outside the segment is left out, not followed.

use super::CONTROL_LEN;
use super::header::{CounterEntry, padded, unpadded};
use bytemuck::Zeroable;

/// A counter as a kind of segment declares it.
#[derive(Clone, Copy, Debug)]
pub struct CounterSpec {
    /// What is counted, at most 24 bytes.
    pub name: &'static str,
    /// In which unit, at most 8 bytes.
    pub unit: &'static str,
    /// Where its 64-bit word lies.
    pub place: Place,
}

/// A place in one of the parts of a segment that change, in bytes from the start of the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the part that writers alone change.
    Hot(usize),
    /// In the kind's own part of the control area, see [`Segment::control`](super::Segment::control).
    Control(usize),
}

/// A counter of an existing segment, and where its word lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) offset: u64,
}

/// A counter and what it stood at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterValue {
    /// What is counted, such as `frames`.
    pub name: String,
    /// In which unit, such as `frame` or `ns`.
    pub unit: String,
    /// The number when the segment was looked at.
    pub value: u64,
}

/// The table of a new segment.
pub(super) fn encode(specs: &[CounterSpec], hot: usize, control: usize) -> Vec<u8> {
    let entry = |spec: &CounterSpec| CounterEntry {
        name: padded(spec.name),
        unit: padded(spec.unit),
        offset: match spec.place {
            Place::Hot(offset) => (hot + offset) as u64,
            Place::Control(offset) => (control + CONTROL_LEN + offset) as u64,
        },
    };
    let entries: Vec<CounterEntry> = specs.iter().map(entry).collect();
    bytemuck::cast_slice(&entries).to_vec()
}

/// The entries of a table that lie inside a segment of `total_len` bytes.
pub(super) fn decode(table: &[u8], total_len: u64) -> Vec<Counter> {
    let inside = |entry: &CounterEntry| {
        entry.offset.is_multiple_of(8)
            && entry.offset.checked_add(8).is_some_and(|end| end <= total_len)
    };
    table
        .chunks_exact(size_of::<CounterEntry>())
        .map(|bytes| {
            let mut entry = CounterEntry::zeroed();
            bytemuck::bytes_of_mut(&mut entry).copy_from_slice(bytes);
            entry
        })
        .filter(inside)
        .map(|entry| Counter {
            name: unpadded(&entry.name),
            unit: unpadded(&entry.unit),
            offset: entry.offset,
        })
        .collect()
}
