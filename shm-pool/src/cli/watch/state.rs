//! What a segment is at, in a word.
//!
//! Upholds invariant 3: dead is who the kernel says has let go of a lock without giving it back. Age is
//! shown as silence, and never as death.

use super::super::subject::{Subject, SubjectKind};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// A stream whose newest frame is older is silent.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(2);

/// What a segment is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Frames come, or slots are lent.
    Live,
    /// A writer is there, and publishes nothing.
    Silent,
    /// The writer was killed, or ended without giving its lock back.
    WriterDied,
    /// Nobody writes.
    NoWriter,
    /// Nothing was ever published.
    Empty,
    /// Every slot is in use.
    Full,
    /// Nothing is lent.
    Idle,
    /// The owner of a pool has gone, and others are attached.
    OwnerGone,
    /// Nobody is attached.
    Orphaned,
}

impl State {
    /// What a stream is at whose newest frame is so old, as far as anybody knows. `before` is an
    /// earlier look at the same stream.
    pub(crate) fn of_stream(
        now: &Subject,
        before: Option<&Subject>,
        age: Option<Duration>,
    ) -> State {
        let is_fresh = age.is_some_and(|age| age < SILENT_AFTER);
        if before.is_some_and(|before| has_died(before, now)) {
            State::WriterDied
        } else if is_fresh {
            State::Live
        } else if now.counter("frames") == 0 {
            State::Empty
        } else if has_writer(now) {
            State::Silent
        } else {
            State::NoWriter
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Live => "live",
            State::Silent => "silent",
            State::WriterDied => "writer died",
            State::NoWriter => "no writer",
            State::Empty => "no frame",
            State::Full => "full",
            State::Idle => "idle",
            State::OwnerGone => "owner gone",
            State::Orphaned => "orphaned",
        })
    }
}

/// True if a writer is named that does not hold the lock: it has not signed out.
pub(crate) fn seems_dead(subject: &Subject) -> bool {
    let is_stream = matches!(subject.kind, SubjectKind::Stream | SubjectKind::ExternalStream);
    is_stream && !subject.writer_locked && subject.counter("writer_pid") != 0
}

/// One look may fall between the lock and the name of a writer that is just beginning. Two looks that
/// show the same signing-in, unlocked, cannot: who lets go takes its name away first.
fn has_died(before: &Subject, now: &Subject) -> bool {
    let is_the_same = |counter| before.counter(counter) == now.counter(counter);
    let same_writer = is_the_same("writers") && is_the_same("writer_pid");
    before.instance == now.instance && same_writer && seems_dead(before) && seems_dead(now)
}

/// True if a handle that writes, or has written, is attached.
pub(crate) fn has_writer(subject: &Subject) -> bool {
    subject.writer_locked || subject.holders.iter().any(|holder| holder.role == "writer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rates::tests::stream;

    const OLD: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_writer_that_holds_its_lock_is_live_or_silent_and_never_dead() {
        let subject = stream("a", 5);
        let of = |age| State::of_stream(&subject, Some(&subject), age);
        assert_eq!(of(Some(Duration::from_millis(3))), State::Live);
        assert_eq!(of(OLD), State::Silent);
        assert_eq!(State::of_stream(&stream("a", 0), None, None), State::Empty);
    }

    #[test]
    fn a_writer_is_dead_when_two_looks_agree_that_it_did_not_sign_out() {
        let mut dead = stream("a", 5);
        dead.writer_locked = false;
        let fresh = Some(Duration::ZERO);
        assert_eq!(State::of_stream(&dead, None, fresh), State::Live);
        assert_eq!(State::of_stream(&dead, Some(&dead), fresh), State::WriterDied);
        let mut next = dead.clone();
        next.counters.insert("writers".to_owned(), 2);
        assert_eq!(State::of_stream(&next, Some(&dead), fresh), State::Live);
        let mut another = dead.clone();
        another.instance = "another".to_owned();
        assert_eq!(State::of_stream(&another, Some(&dead), fresh), State::Live);
    }

    #[test]
    fn a_stream_without_a_writer_says_so() {
        let mut left = stream("a", 5);
        left.writer_locked = false;
        left.counters.insert("writer_pid".to_owned(), 0);
        assert_eq!(State::of_stream(&left, Some(&left), OLD), State::Silent);
        left.holders.clear();
        assert_eq!(State::of_stream(&left, Some(&left), OLD), State::NoWriter);
    }
}
