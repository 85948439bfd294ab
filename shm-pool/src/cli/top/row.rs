//! One segment as a row of the table.
//!
//! Upholds invariant 3: dead and orphaned are what the kernel's locks say, as [`State`] knows them.

use super::super::rates::{Change, Look};
use super::super::subject::{Subject, SubjectKind, dimensions};
use super::super::watch::state::{State, has_writer};
use super::figures::{short_age, short_bytes};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Rates that are remembered.
const HISTORY: usize = 300;

/// A segment; in JSON an entry of `segments`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: SubjectKind,
    pub(crate) state: State,
    pub(crate) carries: String,
    /// Frames or lends a second; `null` at the first look.
    pub(crate) rate_per_s: Option<f64>,
    /// Payload in millions of bytes a second; `null` for what is no stream.
    pub(crate) mb_per_s: Option<f64>,
    /// Seconds since the last frame or lend that was noticed; `null` if none was.
    pub(crate) last_use_s: Option<f64>,
    /// Slots that are lent; `null` for streams.
    pub(crate) in_use: Option<u64>,
    pub(crate) slots: Option<u64>,
    /// Handles that are attached.
    pub(crate) holders: usize,
    pub(crate) memory_bytes: u64,
    /// Rates in thousandths, newest last.
    #[serde(skip)]
    pub(crate) history: Vec<u64>,
    /// For how long it has been looked at.
    #[serde(skip)]
    pub(crate) known_for: Duration,
    #[serde(skip)]
    pub(crate) subject: Subject,
}

/// What is remembered of a segment between looks.
pub(crate) struct Track {
    subject: Subject,
    look: Look,
    first: Instant,
    last_use: Option<Instant>,
    history: VecDeque<u64>,
}

impl Track {
    /// A segment that was never looked at before, and its row.
    pub(crate) fn begin(subject: Subject, at: Instant) -> (Track, Row) {
        let look = Look::at(&subject, at);
        let track = Track { look, first: at, last_use: None, history: VecDeque::new(), subject };
        let row = track.row(None, None, at);
        (track, row)
    }

    /// The next look at it. Another segment of the same name begins anew.
    pub(crate) fn go_on(&mut self, subject: Subject, at: Instant) -> Row {
        if subject.instance != self.subject.instance {
            let (track, row) = Track::begin(subject, at);
            *self = track;
            return row;
        }
        let look = Look::at(&subject, at);
        let change = look.since(&self.look);
        if let Some(change) = &change {
            if change.uses() > 0 {
                self.last_use = Some(at);
            }
            self.history.truncate(HISTORY - 1);
            self.history.push_front((change.uses_per_s() * 1e3) as u64);
        }
        self.look = look;
        let before = std::mem::replace(&mut self.subject, subject);
        self.row(Some(&before), change, at)
    }

    fn row(&self, before: Option<&Subject>, change: Option<Change>, at: Instant) -> Row {
        let subject = &self.subject;
        let known_for = at.duration_since(self.first);
        let last_use = self.last_use.map(|last| at.duration_since(last));
        let slots = subject.memory.as_ref().map(|memory| memory.slots as u64);
        let in_use = slots.map(|slots| lent(subject).min(slots));
        Row {
            name: subject.name.clone(),
            kind: subject.kind,
            state: state(subject, before, last_use, known_for, in_use.zip(slots)),
            carries: subject.carries(),
            rate_per_s: change.as_ref().map(Change::uses_per_s),
            mb_per_s: change.as_ref().and_then(Change::mb_per_s),
            last_use_s: last_use.map(|age| age.as_secs_f64()),
            in_use,
            slots,
            holders: subject.holders.len(),
            memory_bytes: subject.allocated_bytes,
            history: self.history.iter().rev().copied().collect(),
            known_for,
            subject: subject.clone(),
        }
    }
}

impl Row {
    /// `stream`, `device`, `pool`, `chunks`, `store`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.kind {
            SubjectKind::Stream => "stream",
            SubjectKind::ExternalStream => "device",
            SubjectKind::Pool => "pool",
            SubjectKind::ChunkPool => "chunks",
            SubjectKind::Store => "store",
            SubjectKind::Other => "other",
        }
    }

    /// What it carries, without what a narrow screen has no room for.
    pub(crate) fn carries_briefly(&self) -> String {
        match (&self.subject.frame, &self.subject.memory, self.kind) {
            (Some(frame), _, _) => format!("{} {}", frame.dtype, dimensions(&frame.shape)),
            (_, Some(memory), SubjectKind::Pool) => {
                format!("{} x {}", memory.slots, short_bytes(memory.unit_bytes as u64))
            }
            (_, Some(memory), _) => short_bytes(memory.capacity_bytes as u64),
            _ => String::new(),
        }
    }

    /// Since when it has not been used: `3s`, or `>3s` if it has not been used while it was looked at.
    pub(crate) fn last_use(&self) -> String {
        match self.last_use_s {
            Some(seconds) => short_age(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
            None => format!(">{}", short_age(self.known_for)),
        }
    }

    /// `3/8`; nothing for streams.
    pub(crate) fn in_use(&self) -> String {
        match (self.in_use, self.slots) {
            (Some(in_use), Some(slots)) if slots < 10_000 => format!("{in_use}/{slots}"),
            (Some(in_use), Some(_)) => in_use.to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// Slots that are not free. The counter `in_use` is only as new as the last one who counted them all.
fn lent(subject: &Subject) -> u64 {
    subject.counter("lent").saturating_sub(subject.counter("freed"))
}

fn state(
    subject: &Subject,
    before: Option<&Subject>,
    last_use: Option<Duration>,
    known_for: Duration,
    in_use: Option<(u64, u64)>,
) -> State {
    let Some((in_use, slots)) = in_use else {
        // Before a frame was due, a writer is believed to be at work.
        let age = last_use.or_else(|| has_writer(subject).then_some(known_for));
        return match State::of_stream(subject, before, age) {
            State::NoWriter | State::Silent | State::Empty if !subject.attached => State::Orphaned,
            state => state,
        };
    };
    let has_owner = subject.holders.iter().any(|holder| holder.pid == subject.creator_pid);
    match last_use {
        _ if !subject.attached => State::Orphaned,
        _ if !has_owner => State::OwnerGone,
        _ if in_use == slots => State::Full,
        Some(age) if age < super::super::watch::state::SILENT_AFTER => State::Live,
        _ => State::Idle,
    }
}
