//! What encoding and decoding of values have in common by the specification.

use std::collections::HashSet;

/// Tags of the protocol.
pub(super) mod tag {
    pub const TUPLE: u64 = 40_000;
    pub const TENSOR: u64 = 40_001;
    pub const BUNDLE: u64 = 40_002;
    pub const OPAQUE: u64 = 40_003;
}

/// First item of an entry of the table of storages.
pub(super) mod storage_kind {
    pub const HOST: u8 = 0;
    pub const VMM: u8 = 1;
    pub const LEGACY: u8 = 2;
    pub const PART: u8 = 3;
}

/// Levels of nesting that no limit can raise: deeper values could exhaust the stack of whoever drops
/// them.
pub(super) const DEEPEST: usize = 256;

/// Names that have occurred in a map.
#[derive(Default)]
pub(super) struct Names<'n> {
    few: Vec<&'n str>,
    many: HashSet<&'n str>,
}

/// Up to here comparing with each is faster than hashing.
const FEW: usize = 8;

impl<'n> Names<'n> {
    /// False if it has occurred before.
    pub(super) fn insert(&mut self, name: &'n str) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(name);
        }
        if self.few.contains(&name) {
            return false;
        }
        self.few.push(name);
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}
