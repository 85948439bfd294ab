//! How a server stops.
//!
//! Upholds invariant 5: a stop has a deadline, and a client that does not read its answers, or an endpoint
//! that does not return, does not extend it.

use super::super::service::{ConnectionId, Stop};
use super::command::Report;
use super::event_loop::{EventLoop, now};
use rustix::event::epoll;
use rustix::net::{Shutdown, shutdown};
use std::time::{Duration, Instant};

/// What workers get to end at the very least: those who wait for a job need no more.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// A stop that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    how: Stop,
    pub(super) until: Instant,
}

impl EventLoop {
    /// Begins a stop, or makes one that is under way shorter.
    pub(super) fn begin_to_stop(&mut self, how: Stop, until: Instant) {
        match &mut self.ending {
            None => {
                self.ending = Some(Ending { how, until });
                self.close_reception();
                // This also tells every client.
                self.service.stop(how, now(), &mut self.effects);
            }
            Some(ending) => {
                ending.until = ending.until.min(until);
                if ending.how == Stop::Drain && how == Stop::Abort {
                    ending.how = how;
                    self.service.stop(how, now(), &mut self.effects);
                }
            }
        }
    }

    /// Nobody is let in any more. Those who waited to be are refused, and look for the next server.
    fn close_reception(&mut self) {
        if let Some(reception) = self.reception.take() {
            let _ = epoll::delete(&self.epoll, reception.listener());
            // Also for a forked child that has it.
            let _ = shutdown(reception.listener(), Shutdown::Both);
        }
        self.claim.withdraw();
    }

    /// True if there is nothing left to do, or no time.
    pub(super) fn has_ended(&mut self) -> bool {
        let Some(ending) = self.ending else { return false };
        let is_done = self.service.is_idle()
            && self.local.is_empty()
            && self.workers.progress().is_empty()
            && (ending.how == Stop::Abort
                || self.connections.values().all(|one| !one.has_queued()));
        if is_done {
            return true;
        }
        if Instant::now() < ending.until {
            return false;
        }
        if ending.how == Stop::Drain {
            // Whoever still waits is told.
            self.service.stop(Stop::Abort, now(), &mut self.effects);
            self.apply();
            self.flush();
        }
        true
    }

    /// Ends the workers; true if they all did.
    pub(super) fn end(mut self) -> (bool, Report) {
        let until = self.ending.map_or_else(Instant::now, |ending| ending.until);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.close(id);
        }
        let report = self.report();
        let has_ended = self.workers.end(until.max(Instant::now() + LAST_MOMENT));
        (has_ended, report)
    }
}
