//! Models of one slot: every interleaving and every reordering that the memory model allows.

use super::*;
use crate::sync::{check, violates};
use loom::sync::Arc;
use loom::thread;

mod recycling;
mod sharing;
mod taking;

/// What a producer writes into generation `generation`.
fn payload_of(generation: u64) -> u64 {
    generation * 10 + 7
}

/// A slot with a payload of one word, and a note of each seat that it is done with its reads.
struct Model {
    state: AtomicU64,
    lanes: Vec<AtomicU64>,
    payload: AtomicU64,
    done: Vec<AtomicU64>,
}

impl Model {
    fn new(lanes: usize) -> Arc<Model> {
        Arc::new(Model {
            state: AtomicU64::new(0),
            lanes: (0..lanes).map(|_| AtomicU64::new(0)).collect(),
            payload: AtomicU64::new(0),
            done: (0..lanes * SEATS_PER_LANE).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// One that is published, in its first generation.
    fn published(lanes: usize, readers: Readers<'_>) -> Arc<Model> {
        let model = Model::new(lanes);
        check(model.produce(readers) == Some(1), "a fresh slot can be claimed and published");
        model
    }

    fn words(&self) -> SlotWords<'_> {
        SlotWords { state: &self.state, lanes: &self.lanes }
    }

    /// Claims the slot, fills it and publishes it.
    fn produce(&self, readers: Readers<'_>) -> Option<u64> {
        let Claim::Taken(generation) = self.words().claim(0) else { return None };
        self.payload.store(payload_of(generation), Ordering::Relaxed);
        check(self.words().publish(0, generation, readers), "what is claimed can be published");
        Some(generation)
    }

    /// Redeems, and reads if it was granted.
    fn begin(&self, seat: usize, generation: u64) -> Redeem {
        let redeemed = self.words().redeem(seat, generation);
        if redeemed == Redeem::Granted {
            let read = self.payload.load(Ordering::Relaxed);
            check(read == payload_of(generation), "what is read is what was published");
        }
        if redeemed == Redeem::Withdrawn {
            let _ = self.words().release(seat, generation, false);
        }
        redeemed
    }

    /// Is done with what it read.
    fn end(&self, seat: usize, generation: u64) -> Release {
        self.done[seat].store(generation, Ordering::Relaxed);
        self.words().release(seat, generation, false)
    }

    /// Redeems, reads and releases; true if it was the one who freed the slot.
    fn consume(&self, seat: usize, generation: u64) -> bool {
        check(self.begin(seat, generation) == Redeem::Granted, "who is addressed is granted");
        self.end(seat, generation) == Release::Last
    }

    /// Claims the slot if it is free; whoever read the generation before must be done with it.
    fn claim_after(&self, seats: &[usize]) -> bool {
        let Claim::Taken(generation) = self.words().claim(1) else { return false };
        for &seat in seats {
            let done = self.done[seat].load(Ordering::Relaxed);
            check(done + 1 == generation, "a claim comes after everybody's reads");
        }
        self.payload.store(payload_of(generation), Ordering::Relaxed);
        true
    }

    fn is_free(&self) -> bool {
        self.words().load().is(SlotState::Free)
    }
}

/// Runs `act` in a thread of its own.
fn aside<T: 'static>(
    model: &Arc<Model>,
    act: impl FnOnce(&Model) -> T + 'static,
) -> thread::JoinHandle<T> {
    let model = model.clone();
    thread::spawn(move || act(&model))
}

/// What revoking does after the slot is out of circulation; true if it is free by it.
fn settle_revoked(model: &Model) -> bool {
    model.words().clear_unread(1);
    model.words().free_if_done(1, 0, false)
}
