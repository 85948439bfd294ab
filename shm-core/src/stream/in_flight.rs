//! Waiting for a frame that may be announced before it is complete.
//!
//! Upholds invariant 5: short naps while something is in flight, bounded by whether its writer lives;
//! at all other times the sleep of [`Shared::wait`], which costs no CPU.

use super::Shared;
use super::waiting::Waited;
use crate::deadline::Deadline;
use crate::flight::Belief;
use crate::os::Access;
use std::time::{Duration, Instant};

/// Naps while a frame is in flight begin with this and double.
const NAP_MIN: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_millis(1);
/// After so long in flight the kernel is asked whether the writer lives.
const DOUBT: Duration = Duration::from_millis(100);

/// What one waiter remembers about frames in flight.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Since when the frame has been in flight, or when the writer was last found alive.
    since: Option<Instant>,
    nap: Duration,
    belief: Belief,
}

impl Watch {
    /// True if a frame above `count` is announced, by a writer that was not found dead.
    #[inline]
    pub(crate) fn is_in_flight(&self, shared: &Shared, count: u64) -> bool {
        let event = shared.segment.wake_event();
        shared.layout.external.is_some() && self.belief.is_in_flight(shared.flight(), event, count)
    }

    /// How long to nap for a frame above `count` that is in flight; `None` if none is, and sleep is to
    /// last until somebody rings.
    pub(crate) fn next_nap(&mut self, shared: &Shared, count: u64) -> Option<Duration> {
        if !self.is_in_flight(shared, count) {
            self.since = None;
            return None;
        }
        let now = Instant::now();
        let Some(since) = self.since else {
            (self.since, self.nap) = (Some(now), NAP_MIN);
            return Some(self.nap);
        };
        if now.duration_since(since) >= DOUBT {
            shared.look_for_name();
            let is_dead = || shared.is_writer_alive() == Some(false);
            if self.belief.doubt(shared.segment.wake_event(), is_dead) {
                self.since = None;
                return None;
            }
            self.since = Some(now);
        }
        self.nap = (self.nap * 2).min(NAP_MAX);
        Some(self.nap)
    }
}

impl Shared {
    /// Waits until there is a frame above `count`, or `interrupted`, the deadline, or the end of the
    /// segment.
    pub(crate) fn wait_for_frame(
        &self,
        count: u64,
        deadline: Deadline,
        spin: Duration,
        mut interrupted: impl FnMut() -> bool,
    ) -> Waited {
        let (event, recheck) = (self.segment.wake_event(), self.segment.recheck());
        let ring = self.ring();
        let mut ready = || ring.newest() > count || interrupted();
        if self.layout.external.is_none() {
            return self.wait(event, deadline, spin, recheck, ready);
        }
        let (mut watch, mut armed) = (Watch::default(), None);
        loop {
            let Some(nap) = watch.next_nap(self, count) else {
                let awake = || ready() || watch.is_in_flight(self, count);
                match self.wait(event, deadline, spin, recheck, awake) {
                    Waited::Ready if !ready() => continue,
                    ended => return ended,
                }
            };
            if ready() {
                return Waited::Ready;
            }
            if self.is_retired() {
                return Waited::Retired;
            }
            let nap = deadline.slice(nap);
            if nap.is_zero() {
                return Waited::TimedOut;
            }
            let parker = self.segment.backing().parker();
            if self.segment.access() == Access::ReadOnly {
                let epoch = event.epoch();
                if !ready() {
                    parker.park(event.word, epoch, nap);
                }
            } else if event.sleep(parker, &mut armed, nap, &mut ready) {
                return Waited::Ready;
            }
        }
    }
}
