//! Store.
mod bell;
mod index;
mod pins;

#[cfg(not(loom))]
use crate::ledger::Ledger;

#[cfg(not(loom))]
impl Ledger {
    /// Whether the index of a store leads to that generation of a slot.
    pub(crate) fn is_indexed(&self, _slot: usize, _generation: u64) -> bool {
        false
    }
}
