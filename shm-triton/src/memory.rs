//! The memory of a slot, for those who look at it without borrowing the slot.
//!
//! Upholds invariant 6: what was handed out stays mapped, whatever becomes of the slot.

use shm_core::segment::Segment;
use std::sync::Arc;

/// Keeps the memory of a slot mapped: for bindings to other languages, whose views of it are bound to
/// no lifetime. See [`InferSlot::memory`](crate::InferSlot::memory).
///
/// It lends nothing: once the slot is given back, or gone, somebody else may write there.
#[derive(Clone, Debug)]
pub struct SlotMemory {
    segment: Arc<Segment>,
}

impl SlotMemory {
    pub(crate) fn of(segment: &Arc<Segment>) -> SlotMemory {
        SlotMemory { segment: segment.clone() }
    }

    /// True if both are of one mapping: the slot was not exchanged for a larger one in between.
    pub fn is_same(&self, other: &SlotMemory) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment)
    }
}
