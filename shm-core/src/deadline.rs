//! Until when a call may block. Upholds invariant 5: every blocking call takes one.

use std::time::{Duration, Instant};

/// The instant at which a blocking call gives up.
///
/// ```
/// use shm_core::Deadline;
/// use std::time::Duration;
///
/// let soon: Deadline = Duration::from_millis(5).into();
/// assert!(soon.remaining().is_some_and(|left| left <= Duration::from_millis(5)));
/// assert!(Deadline::NOW.has_passed());
/// assert!(!Deadline::NEVER.has_passed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    /// Do not block at all.
    pub const NOW: Deadline = Deadline(Kind::Now);
    /// Block for as long as it takes. The call still notices a retired segment and a dead peer.
    pub const NEVER: Deadline = Deadline(Kind::Never);

    /// `duration` from now; one too long for the clock to represent is [`Deadline::NEVER`].
    pub fn after(duration: Duration) -> Deadline {
        Deadline(match Instant::now().checked_add(duration) {
            Some(instant) => Kind::At(instant),
            None => Kind::Never,
        })
    }

    /// At `instant`.
    pub fn at(instant: Instant) -> Deadline {
        Deadline(Kind::At(instant))
    }

    /// True once there is no time left.
    pub fn has_passed(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// Time left, zero when it has passed, `None` when there is no limit.
    pub fn remaining(&self) -> Option<Duration> {
        match self.0 {
            Kind::Now => Some(Duration::ZERO),
            Kind::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Kind::Never => None,
        }
    }

    /// Time left, but at most `cap`.
    pub(crate) fn slice(&self, cap: Duration) -> Duration {
        self.remaining().map_or(cap, |left| left.min(cap))
    }

    /// Time left at `now`, but at most `cap`: for who has just read the clock.
    pub(crate) fn slice_at(&self, now: Instant, cap: Duration) -> Duration {
        match self.0 {
            Kind::Now => Duration::ZERO,
            Kind::At(instant) => instant.saturating_duration_since(now).min(cap),
            Kind::Never => cap,
        }
    }
}

impl From<Duration> for Deadline {
    fn from(duration: Duration) -> Deadline {
        Deadline::after(duration)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Deadline {
        Deadline::at(instant)
    }
}
