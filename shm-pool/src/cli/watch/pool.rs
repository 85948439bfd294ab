//! A pool or a store, interval by interval.
//!
//! Upholds invariants 2 (every word is checked against a private layout) and 3. Each line attaches for the
//! moment of a look, so that a watcher is in nobody's way: neither of those who clean up, nor of an owner
//! that makes its pool anew.

use super::super::exit::Failure;
use super::super::rates::Look;
use super::super::subject::{Subject, SubjectKind, bytes};
use super::state::State;
use crate::layout::{Kind, Layout, POOL_KIND};
use crate::ledger::Ledger;
use crate::member::OWNER_BYTE;
use crate::{PoolStats, QueueInfo};
use serde::Serialize;
use shm_core::Deadline;
use shm_core::segment::{Access, Segment};
use std::time::Instant;

/// A pool or a store that is watched.
pub(crate) struct PoolWatch {
    instance: String,
    before: Look,
}

/// What a pool or a store did in one interval; in JSON the keys of a line `pool`.
#[derive(Debug, Serialize)]
pub(crate) struct PoolLine {
    /// When, nanoseconds since 1970 UTC.
    pub(crate) time_ns: u64,
    pub(crate) name: String,
    pub(crate) kind: SubjectKind,
    pub(crate) state: State,
    /// Length of the interval.
    pub(crate) seconds: f64,
    pub(crate) lends: u64,
    pub(crate) lends_per_s: f64,
    /// Slots that are not free, and how many there are.
    pub(crate) in_use: usize,
    pub(crate) slots: usize,
    pub(crate) in_use_bytes: u64,
    pub(crate) capacity_bytes: u64,
    /// Producers that had to wait, and those that got nothing, in the interval.
    pub(crate) waits: u64,
    pub(crate) waits_per_s: f64,
    pub(crate) refused: u64,
    pub(crate) refused_per_s: f64,
    /// Tickets that were redeemed too late, and slots taken back from the dead, in the interval.
    pub(crate) stale: u64,
    pub(crate) reclaimed: u64,
    /// Slots that have been in somebody's hands for longer than the pool's overdue age.
    pub(crate) overdue: usize,
    pub(crate) consumers: usize,
    /// Handles that are attached.
    pub(crate) holders: usize,
    /// Tickets in all queues of the pool, and each queue.
    pub(crate) queued: usize,
    pub(crate) queues: Vec<QueueRow>,
    /// What a store was asked for, in the interval; `null` for a pool.
    pub(crate) store: Option<StoreRow>,
}

/// A queue of a pool.
#[derive(Debug, Serialize)]
pub(crate) struct QueueRow {
    pub(crate) name: String,
    pub(crate) len: usize,
    pub(crate) maxsize: usize,
}

/// Keys of a store that were there when asked for, those that were not, and entries that made room.
#[derive(Debug, Serialize)]
pub(crate) struct StoreRow {
    pub(crate) entries: usize,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) evicted: u64,
}

/// What only the bookkeeping of a pool tells.
struct Inside {
    stats: PoolStats,
    in_use_bytes: u64,
    queues: Vec<QueueInfo>,
    has_owner: bool,
}

impl PoolWatch {
    pub(crate) fn begin(subject: &Subject) -> PoolWatch {
        let before = Look::at(subject, Instant::now());
        PoolWatch { instance: subject.instance.clone(), before }
    }

    pub(crate) fn instance(&self) -> String {
        self.instance.clone()
    }

    pub(crate) fn line(&mut self, subject: &Subject) -> Result<PoolLine, Failure> {
        let inside = Inside::of(&subject.name)?;
        let look = Look::at(subject, Instant::now());
        let change = look.since(&self.before);
        self.before = look;
        let gained = |counter| change.as_ref().map_or(0, |change| change.gained(counter));
        let rate = |counter| {
            change.as_ref().map_or(0.0, |change| change.per_second(change.gained(counter)))
        };
        let Inside { stats, in_use_bytes, queues, has_owner } = inside;
        let lends = change.as_ref().map_or(0, |change| change.uses());
        Ok(PoolLine {
            time_ns: shm_core::clock::wall_ns(),
            name: subject.name.clone(),
            kind: subject.kind,
            state: match (has_owner, stats.in_use()) {
                (false, _) => State::OwnerGone,
                (true, used) if used == stats.slots => State::Full,
                (true, _) if lends > 0 => State::Live,
                _ => State::Idle,
            },
            seconds: change.as_ref().map_or(0.0, |change| change.seconds()),
            lends,
            lends_per_s: change.as_ref().map_or(0.0, |change| change.uses_per_s()),
            in_use: stats.in_use(),
            slots: stats.slots,
            in_use_bytes,
            capacity_bytes: stats.capacity,
            waits: gained("waits"),
            waits_per_s: rate("waits"),
            refused: gained("refused"),
            refused_per_s: rate("refused"),
            stale: gained("stale"),
            reclaimed: gained("reclaimed"),
            overdue: stats.overdue,
            consumers: stats.consumers,
            holders: subject.holders.len(),
            queued: queues.iter().map(|queue| queue.len).sum(),
            queues: queues.into_iter().map(QueueRow::from).collect(),
            store: (subject.kind == SubjectKind::Store).then(|| StoreRow {
                entries: stats.stored,
                hits: gained("hits"),
                misses: gained("misses"),
                evicted: gained("evicted"),
            }),
        })
    }
}

impl Inside {
    fn of(name: &str) -> Result<Inside, Failure> {
        let segment = Segment::open_within(name, POOL_KIND, Access::Attached, Deadline::NOW)?;
        let layout = Layout::of(&segment, false)?;
        let has_owner = segment
            .is_held(OWNER_BYTE)
            .map_err(|error| Failure::system(&format!("ask for the owner of '{name}'"), &error))?;
        // Never joins: it counts, and takes no place among the members.
        let ledger = Ledger::new(segment, layout, false);
        let (stats, queues) = (ledger.stats(), ledger.queues());
        let in_use_bytes = match ledger.layout.kind {
            Kind::Slots => (stats.in_use() * ledger.layout.slot_size) as u64,
            Kind::Chunks => stats.capacity.saturating_sub(stats.free_bytes),
        };
        Ok(Inside { stats, in_use_bytes, queues, has_owner })
    }
}

impl From<QueueInfo> for QueueRow {
    fn from(queue: QueueInfo) -> QueueRow {
        QueueRow { name: queue.name, len: queue.len, maxsize: queue.maxsize }
    }
}

impl PoolLine {
    pub(crate) fn header(store: bool) -> String {
        let line = format!(
            "{:<11} {:>9} {:>11} {:>10} {:>8} {:>9} {:>6} {:>9} {:>7} {:>6} {:>7}",
            "state",
            "lends/s",
            "in use",
            "bytes",
            "waits/s",
            "refused/s",
            "stale",
            "reclaimed",
            "overdue",
            "queued",
            "holders"
        );
        match store {
            true => format!("{line} {:>7} {:>7} {:>7}", "hits", "misses", "evicted"),
            false => line,
        }
    }

    pub(crate) fn text(&self) -> String {
        let line = format!(
            "{:<11} {:>9.1} {:>11} {:>10} {:>8.1} {:>9.1} {:>6} {:>9} {:>7} {:>6} {:>7}",
            self.state,
            self.lends_per_s,
            format!("{}/{}", self.in_use, self.slots),
            bytes(self.in_use_bytes),
            self.waits_per_s,
            self.refused_per_s,
            self.stale,
            self.reclaimed,
            self.overdue,
            self.queued,
            self.holders,
        );
        match &self.store {
            Some(store) => {
                format!("{line} {:>7} {:>7} {:>7}", store.hits, store.misses, store.evicted)
            }
            None => line,
        }
    }
}
