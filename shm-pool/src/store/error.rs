//! What can go wrong with a store, per operation.

use super::header::MAX_TENSORS;
use super::key::MAX_KEY;
use crate::error::{OpenError, SlotHolder};
use shm_core::Dtype;
use std::io;
use std::time::Duration;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no such store, or it is something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Every seat for a worker is taken.
    #[error("all {seats} seats for workers of store '{name}' are taken; close a handle first")]
    Full {
        /// The name as given.
        name: String,
        /// How many there are.
        seats: usize,
    },
    /// The store was removed.
    #[error("store '{name}' was removed; open or create the one that has the name now")]
    Retired {
        /// The name as given.
        name: String,
    },
    /// The operating system refused a lock, or the table of members is full.
    #[error("cannot join store '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why nothing was stored, retrieved or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A key that no entry can have.
    #[error("a key of store '{name}' has {found} bytes; give 1 to {MAX_KEY}")]
    Key {
        /// Name of the store.
        name: String,
        /// Its length in bytes.
        found: usize,
    },
    /// A list of keys without any.
    #[error("no key was asked for in store '{name}'; name at least one")]
    NoKeys {
        /// Name of the store.
        name: String,
    },
    /// No tensors, or too many.
    #[error("an entry of store '{name}' has 1 to {MAX_TENSORS} tensors, not {found}; split it")]
    Tensors {
        /// Name of the store.
        name: String,
        /// How many were given.
        found: usize,
    },
    /// An entry that is larger than the store.
    #[error(
        "store '{name}' has {most} bytes, an entry of {found} bytes does not fit; split it or make a \
         larger store"
    )]
    TooLarge {
        /// Name of the store.
        name: String,
        /// Bytes of the store.
        most: usize,
        /// Bytes of the entry with its key and layout.
        found: usize,
    },
    /// The key is in the store.
    #[error("store '{name}' has key '{key}' already; retrieve it, or remove it first")]
    Exists {
        /// Name of the store.
        name: String,
        /// The key, as far as it is text.
        key: String,
    },
    /// Another worker that lives has reserved the key.
    #[error(
        "key '{key}' of store '{name}' is being stored by process {pid}; wait for it with \
             `prepare_retrieve`"
    )]
    InProgress {
        /// Name of the store.
        name: String,
        /// The key, as far as it is text.
        key: String,
        /// Who does, as seen in its own pid namespace.
        pid: u32,
    },
    /// The entry is leased, so it cannot be removed or replaced.
    #[error("key '{key}' of store '{name}' is leased by {}; it goes when they release it",
            workers(.holders))]
    Leased {
        /// Name of the store.
        name: String,
        /// The key, as far as it is text.
        key: String,
        /// Who has it.
        holders: Vec<SlotHolder>,
    },
    /// There is no room, and nothing that could be evicted.
    #[error(
        "store '{name}' has no room for {bytes} bytes now: {free} bytes are free, and whatever else is \
         in it is being stored or leased by {}", workers(.holders)
    )]
    Full {
        /// Name of the store.
        name: String,
        /// Bytes of the entry with its key and layout.
        bytes: usize,
        /// Bytes that are free, though not in one piece or not for this caller.
        free: u64,
        /// Who has entries, at most eight.
        holders: Vec<SlotHolder>,
    },
    /// No room came free before the deadline.
    #[error(
        "store '{name}' had no room for {bytes} bytes within {waited:.1?}: {free} bytes are free, and \
         whatever else is in it is being stored or leased by {}", workers(.holders)
    )]
    Timeout {
        /// Name of the store.
        name: String,
        /// Bytes of the entry with its key and layout.
        bytes: usize,
        /// How long was waited.
        waited: Duration,
        /// Bytes that are free, though not in one piece.
        free: u64,
        /// Who has entries, at most eight.
        holders: Vec<SlotHolder>,
    },
    /// The index has no cell left for the key, and all entries in its buckets are in use.
    #[error(
        "the index of store '{name}' has no room for key '{key}'; release leases, or allow more \
             entries"
    )]
    IndexFull {
        /// Name of the store.
        name: String,
        /// The key, as far as it is text.
        key: String,
    },
    /// Not all keys are there. Nothing is leased.
    #[error(
        "store '{name}' lacks {} of {of} keys{}, the first is '{first}'; store them, or wait for them",
        .missing.len(), after(.waited)
    )]
    Missing {
        /// Name of the store.
        name: String,
        /// Which of the keys, by position.
        missing: Vec<usize>,
        /// How many keys were asked for.
        of: usize,
        /// The first missing key, as far as it is text.
        first: String,
        /// How long was waited for them.
        waited: Duration,
    },
    /// An entry makes no sense: somebody has damaged it.
    #[error(
        "entry {slot} of store '{name}': {field} is {found}, expected {expected}; the store's \
             memory was damaged"
    )]
    Damaged {
        /// Name of the store.
        name: String,
        /// The entry.
        slot: usize,
        /// Which part of it.
        field: &'static str,
        /// What would make sense.
        expected: String,
        /// What was found.
        found: u64,
    },
    /// The store was removed: leases stay valid, nothing more is stored.
    #[error("store '{name}' was removed; open or create the one that has the name now")]
    Retired {
        /// Name of the store.
        name: String,
    },
    /// This process is a fork of the one that opened the store.
    #[error("store '{name}' was opened by the parent of this process; open it here")]
    Forked {
        /// Name of the store.
        name: String,
    },
    /// The operating system refused a lock, or the table of members is full.
    #[error("cannot join store '{name}'")]
    Io {
        /// Name of the store.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a tensor of an entry could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorAccessError {
    /// No such tensor.
    #[error("tensor {index} of {tensors}")]
    Index {
        /// The index as given.
        index: usize,
        /// How many the entry has.
        tensors: usize,
    },
    /// Elements of another type.
    #[error("tensor {index} is {expected}, not {found}; use its own element type, or its bytes")]
    Dtype {
        /// Which tensor.
        index: usize,
        /// What it is.
        expected: Dtype,
        /// What was asked for.
        found: Dtype,
    },
    /// More or fewer elements than there are.
    #[error("tensor {index} has {expected} elements, not {found}; give as many")]
    Length {
        /// Which tensor.
        index: usize,
        /// How many it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// No such element.
    #[error("element {element} of {elements} of tensor {index}")]
    Element {
        /// Which tensor.
        index: usize,
        /// The element as given, or the end of the range.
        element: usize,
        /// How many there are.
        elements: usize,
    },
}

fn workers(holders: &[SlotHolder]) -> String {
    let pids = |holder: &SlotHolder| format!("process {}", holder.pid);
    match holders {
        [] => "nobody any more".to_owned(),
        [one] => pids(one),
        [first, ..] => format!("{} and {} more", pids(first), holders.len() - 1),
    }
}

fn after(waited: &Duration) -> String {
    if waited.is_zero() { String::new() } else { format!(" after {waited:.1?}") }
}
