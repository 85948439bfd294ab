//! What kinds of queues there are, and which ones a pool has.

use crate::layout::QUEUES;
use crate::ledger::Ledger;
use crate::queue::directory::{Phase, field};
use crate::queue::upkeep::QueueShape;
use crate::sync::Ordering;

/// Who gets a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One consumer: whoever comes first, of those who may redeem it.
    Work,
    /// Every consumer that may redeem it. The slowest one keeps the queue full.
    Broadcast,
}

impl Mode {
    pub(crate) fn code(self) -> u64 {
        match self {
            Mode::Work => 1,
            Mode::Broadcast => 2,
        }
    }
    pub(crate) fn from_code(code: u64) -> Option<Mode> {
        match code {
            1 => Some(Mode::Work),
            2 => Some(Mode::Broadcast),
            _ => None,
        }
    }
}

/// A queue, as it was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub name: String,
    /// Who gets a ticket.
    pub mode: Mode,
    /// The most tickets in it.
    pub maxsize: usize,
    /// Tickets in it: of a broadcast queue, those that somebody has not got.
    pub len: usize,
    /// Tickets that were ever put into it.
    pub put: u64,
    /// Tickets that nobody could redeem any more when their turn came.
    pub stale: u64,
    /// Tickets that consumers of a broadcast queue came too late for, because they were still joining.
    pub missed: u64,
}

impl Ledger {
    /// The queues that there are.
    pub(crate) fn queues(&self) -> Vec<QueueInfo> {
        (0..QUEUES)
            .filter_map(|entry| {
                let word = self.directory().word(entry);
                let shape = self.shape_of(entry, word).filter(|_| word.phase() == Phase::Live)?;
                let info = self.describe_queue(&shape);
                (self.directory().word(entry) == word).then_some(info)
            })
            .collect()
    }

    /// Tickets in a queue.
    pub(crate) fn queue_len(&self, queue: &QueueShape) -> usize {
        let words = self.queue(queue.entry);
        let begin = match queue.mode {
            Mode::Work => words[field::HEAD].load(Ordering::Acquire),
            Mode::Broadcast => self.slowest(queue.entry).unwrap_or(u64::MAX),
        };
        let tail = words[field::TAIL].load(Ordering::Acquire);
        tail.saturating_sub(begin).min(queue.cells.cells()) as usize
    }

    fn describe_queue(&self, queue: &QueueShape) -> QueueInfo {
        let words = self.queue(queue.entry);
        let number = |field: usize| words[field].load(Ordering::Relaxed);
        QueueInfo {
            name: String::from_utf8_lossy(&self.directory().name(queue.entry)).into_owned(),
            mode: queue.mode,
            maxsize: queue.cells.cells() as usize,
            len: self.queue_len(queue),
            put: number(field::TAIL).saturating_sub(number(field::BEGIN)),
            stale: number(field::STALE),
            missed: number(field::MISSED),
        }
    }
}
