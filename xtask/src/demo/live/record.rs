//! What the conductor knows about its children.

use std::process::ExitStatus;

use super::message::{Probe, PublisherSays, PublisherTick, ViewerSays, ViewerTick, ViewerTotals};

/// Everything the children said so far.
#[derive(Default)]
pub struct Record {
    pub publishers: Vec<PublisherRecord>,
    pub viewers: Vec<ViewerRecord>,
}

#[derive(Default)]
pub struct PublisherRecord {
    pub pid: u32,
    pub spawned_mono_ns: u64,
    pub first: Option<First>,
    pub tick: PublisherTick,
    pub dying: Option<Dying>,
    /// Number of frames it published, once it stopped in good order.
    pub done: Option<u64>,
    pub ended: Option<ExitStatus>,
    pub ended_mono_ns: u64,
}

/// The first frame of a publisher.
#[derive(Clone, Copy)]
pub struct First {
    pub number: u64,
    pub at_mono_ns: u64,
}

/// The last words of a publisher that kills itself.
#[derive(Clone, Copy)]
pub struct Dying {
    pub half_written: u64,
    pub bytes_written: u64,
    pub published: u64,
}

#[derive(Default)]
pub struct ViewerRecord {
    pub pid: u32,
    /// Takes its time on purpose.
    pub slow: bool,
    pub ready: bool,
    pub tick: ViewerTick,
    pub probe: Option<Probe>,
    pub done: Option<ViewerTotals>,
    pub ended: Option<ExitStatus>,
}

impl PublisherRecord {
    pub fn hears(&mut self, said: PublisherSays) {
        match said {
            PublisherSays::First { number, at_mono_ns } => {
                self.first = Some(First { number, at_mono_ns });
            }
            PublisherSays::Tick(tick) => self.tick = tick,
            PublisherSays::Dying { half_written, bytes_written, published } => {
                self.dying = Some(Dying { half_written, bytes_written, published });
            }
            PublisherSays::Done { published, newest } => {
                self.done = Some(published);
                self.tick.published = published;
                self.tick.newest = newest;
            }
        }
    }

    /// Frames published, as far as known.
    pub fn published(&self) -> u64 {
        self.done.or(self.dying.map(|dying| dying.published)).unwrap_or(self.tick.published)
    }

    /// Seconds from the first frame to the end.
    pub fn seconds(&self) -> f64 {
        self.first
            .map_or(0.0, |first| self.ended_mono_ns.saturating_sub(first.at_mono_ns) as f64 / 1e9)
    }
}

impl ViewerRecord {
    pub fn hears(&mut self, said: ViewerSays) {
        match said {
            ViewerSays::Ready => self.ready = true,
            ViewerSays::Tick(tick) => self.tick = tick,
            ViewerSays::Probe(probe) => self.probe = Some(probe),
            ViewerSays::Done(totals) => self.done = Some(totals),
        }
    }

    /// Verified frames of one publisher.
    pub fn verified_from(&self, pid: u32) -> u64 {
        self.done.as_ref().map_or(0, |totals| {
            totals
                .by_publisher
                .iter()
                .filter(|(publisher, _)| *publisher == pid)
                .map(|(_, count)| count)
                .sum()
        })
    }
}
