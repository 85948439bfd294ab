//! Named numbers in the header that one tool can show for any segment.
//!
//! Upholds invariant 2: an entry that points outside the segment is left out, not followed.

use super::header::{CounterEntry, padded, unpadded};
use bytemuck::Zeroable;

/// A counter as a kind of segment declares it; `offset` counts from the start of the hot part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterSpec {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) hot_offset: u64,
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
pub(super) fn encode(specs: &[CounterSpec], hot_offset: u64) -> Vec<u8> {
    let entry = |spec: &CounterSpec| CounterEntry {
        name: padded(spec.name),
        unit: padded(spec.unit),
        offset: hot_offset + spec.hot_offset,
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
