//! What a whole watch has seen, over all segments that had the name.

use super::super::exit::Failure;
use super::arrivals::{Arrived, Latency, latencies};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Instant;

/// Sums of all intervals.
pub(crate) struct Totals {
    begun: Instant,
    frames: u64,
    seen: u64,
    missed: u64,
    lends: u64,
    latency: Histogram<u64>,
    is_stream: bool,
}

/// The last line; in JSON the keys of the line `summary`.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) time_ns: u64,
    pub(crate) name: String,
    pub(crate) seconds: f64,
    /// Frames of streams that were published, seen by this watcher, and missed.
    pub(crate) frames: u64,
    pub(crate) seen: u64,
    pub(crate) missed: u64,
    /// `null` if no frame was seen.
    pub(crate) latency: Option<Latency>,
    /// Slots of pools that were lent.
    pub(crate) lends: u64,
    /// True if the name was gone at the end.
    pub(crate) gone: bool,
    #[serde(skip)]
    is_stream: bool,
}

impl Totals {
    pub(crate) fn new() -> Result<Totals, Failure> {
        let (latency, is_stream) = (latencies()?, false);
        let begun = Instant::now();
        Ok(Totals { begun, frames: 0, seen: 0, missed: 0, lends: 0, latency, is_stream })
    }

    pub(crate) fn add_frames(&mut self, frames: u64, arrived: &Arrived) {
        self.is_stream = true;
        self.frames += frames;
        self.seen += arrived.seen;
        self.missed += arrived.missed;
        // Of the same bounds, so there is room for every value.
        let _ = self.latency.add(&arrived.latency);
    }

    pub(crate) fn add_lends(&mut self, lends: u64) {
        self.lends += lends;
    }

    pub(crate) fn summary(&self, name: &str, gone: bool) -> Summary {
        Summary {
            time_ns: shm_core::clock::wall_ns(),
            name: name.to_owned(),
            seconds: self.begun.elapsed().as_secs_f64(),
            frames: self.frames,
            seen: self.seen,
            missed: self.missed,
            latency: Latency::of(&self.latency),
            lends: self.lends,
            gone,
            is_stream: self.is_stream,
        }
    }
}

impl Summary {
    pub(crate) fn text(&self) -> String {
        let Summary { name, seconds, frames, seen, missed, lends, .. } = self;
        let mut text = format!("{name}, {seconds:.1} s: ");
        text += &match (self.is_stream, lends) {
            (true, _) => format!("{frames} frames, {seen} seen, {missed} missed"),
            (false, lends) => format!("{lends} lends"),
        };
        if let Some(Latency { p50_us, p99_us, max_us }) = self.latency {
            text +=
                &format!(", latency p50 {p50_us:.1} us, p99 {p99_us:.1} us, max {max_us:.1} us");
        }
        if self.gone {
            text += ", gone at the end";
        }
        text
    }
}
