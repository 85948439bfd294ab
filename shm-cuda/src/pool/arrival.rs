//! Whether a publication was there when a consumer's stream went on.
//!
//! Upholds invariant 7: one who was let go on by somebody else than the producer is told so.

use super::companion::{Companion, Progress};
use super::consumer::Seat;
use super::error::ArrivalError;
use core::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

const WAITING: u8 = 0;
const THERE: u8 = 1;
const GONE: u8 = 2;
const LATE: u8 = 3;

/// Tells whether what a [lease](super::DeviceLease) stands for was there when the stream that waited for it went
/// on; outlives the lease.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub(super) verdict: Arc<Verdict>,
    pub(super) seat: Arc<Seat>,
}

impl Arrival {
    /// For after the stream was waited for: whether what was copied is what was published.
    ///
    /// # Errors
    /// [`ArrivalError::ProducerGone`], [`ArrivalError::Late`]: it is not;
    /// [`ArrivalError::Pending`]: the stream is still waiting for it.
    pub fn check(&self) -> Result<(), ArrivalError> {
        let slot = self.verdict.slot;
        match self.verdict.conclude(&self.seat.pool.inner.reach.companion) {
            THERE => Ok(()),
            GONE => Err(ArrivalError::ProducerGone { slot }),
            LATE => Err(ArrivalError::Late { slot }),
            _ => Err(ArrivalError::Pending { slot }),
        }
    }
}

/// How the wait for one publication ended, decided once.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) slot: usize,
    pub(super) generation: u64,
    decided: AtomicU8,
}

impl Verdict {
    pub(super) fn there(slot: usize, generation: u64) -> Verdict {
        Verdict { slot, generation, decided: AtomicU8::new(THERE) }
    }

    pub(super) fn waiting(slot: usize, generation: u64) -> Verdict {
        Verdict { slot, generation, decided: AtomicU8::new(WAITING) }
    }

    /// Decides for good, unless somebody has; returns what was decided.
    fn decide(&self, verdict: u8) -> u8 {
        let decided =
            self.decided.compare_exchange(WAITING, verdict, Ordering::AcqRel, Ordering::Acquire);
        decided.map_or_else(|before| before, |_| verdict)
    }

    /// The stream is let go on although the producer is gone. False if the bytes are there.
    pub(super) fn give_up(&self) -> bool {
        self.decide(GONE) == GONE
    }

    /// The stream is let go on although it may still come. False if the bytes are there.
    pub(super) fn run_out(&self) -> bool {
        self.decide(LATE) == LATE
    }

    /// What is decided by now. Once the bytes are there they stay until the lease is released, so whoever
    /// goes on from here on finds them.
    pub(super) fn conclude(&self, companion: &Companion) -> u8 {
        match self.decided.load(Ordering::Acquire) {
            WAITING if companion.progress(self.slot, self.generation) == Progress::Ready => {
                self.decide(THERE)
            }
            decided => decided,
        }
    }
}
