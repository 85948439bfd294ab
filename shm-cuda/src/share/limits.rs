//! What one side lets the other ask of it.
//!
//! Upholds invariant 2: each is checked before memory is taken for what a peer announced.

/// Limits of a connection. A frame beyond one of them is refused before anything is allocated for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body of a frame.
    pub body: usize,
    /// Descriptors of a frame; the kernel carries at most 253 in one message.
    pub descriptors: usize,
    /// Levels of nesting of a value.
    pub depth: usize,
    /// Nodes of a value: scalars, sequences, entries, tensors.
    pub nodes: usize,
    /// Bytes of the storages that come with one value, all together.
    pub storage: usize,
    /// Requests of one connection that are not answered yet.
    pub in_flight: usize,
    /// True if bytes that only one language understands are let through.
    pub opaque: bool,
}

/// What the kernel carries in one message (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 253;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 4 << 20,
            descriptors: MOST_DESCRIPTORS,
            depth: 64,
            nodes: 1 << 18,
            storage: 1 << 40,
            in_flight: 4096,
            opaque: false,
        }
    }
}
