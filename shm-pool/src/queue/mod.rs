//! Queues.
use crate::ledger::Ledger;
use crate::seat::SeatWord;

impl Ledger {
    /// Called when a consumer sits down, before it is present: broadcast queues begin for it at their
    /// end.
    pub(crate) fn start_at_the_end_of_queues(&self, _seat: usize, _word: SeatWord) {}
}
