//! What a viewer counts.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::cpu::CpuMeter;
use super::frame::Stamp;
use super::message::{ViewerTick, ViewerTotals};

/// Counts of the whole run and of the time since the last tick.
pub struct Tally {
    whole: Span,
    tick: Span,
    torn: u64,
    backwards: u64,
    missed: u64,
    overrun: u64,
    newest: Option<u64>,
    last_frame: Option<Instant>,
    by_publisher: BTreeMap<u32, u64>,
}

/// Counts that begin anew with each tick.
struct Span {
    verified: u64,
    latency: Histogram<u64>,
    longest_gap_ns: u64,
    cpu: CpuMeter,
    begun: Instant,
}

impl Tally {
    pub fn start() -> Result<Self> {
        Ok(Self {
            whole: Span::start()?,
            tick: Span::start()?,
            torn: 0,
            backwards: 0,
            missed: 0,
            overrun: 0,
            newest: None,
            last_frame: None,
            by_publisher: BTreeMap::new(),
        })
    }

    /// A new frame was read; `stamp` is None when its checksum did not match.
    pub fn read(&mut self, stamp: Option<Stamp>, latency_ns: u64, missed: u64) {
        let now = Instant::now();
        let gap = self
            .last_frame
            .replace(now)
            .map_or(0, |last| now.duration_since(last).as_nanos() as u64);
        self.missed += missed;
        let Some(stamp) = stamp else {
            self.torn += 1;
            return;
        };
        if self.newest.is_some_and(|newest| stamp.number <= newest) {
            self.backwards += 1;
        }
        self.newest = Some(stamp.number);
        *self.by_publisher.entry(stamp.publisher).or_default() += 1;
        for span in [&mut self.whole, &mut self.tick] {
            span.verified += 1;
            span.latency.saturating_record(latency_ns);
            span.longest_gap_ns = span.longest_gap_ns.max(gap);
        }
    }

    /// A frame that is no new one turned out torn.
    pub fn torn(&mut self) {
        self.torn += 1;
    }

    /// A read was given up because the writer overtook it too often.
    pub fn overrun(&mut self) {
        self.overrun += 1;
    }

    /// The time since the last tick; the next one begins now.
    pub fn tick(&mut self) -> Result<ViewerTick> {
        let mut span = std::mem::replace(&mut self.tick, Span::start()?);
        Ok(ViewerTick {
            verified: self.whole.verified,
            torn: self.torn,
            missed: self.missed,
            frames_per_second: span.verified as f64 / span.begun.elapsed().as_secs_f64(),
            p50_ns: span.latency.value_at_quantile(0.5),
            p99_ns: span.latency.value_at_quantile(0.99),
            max_ns: span.latency.max(),
            longest_gap_ns: span.longest_gap_ns,
            cpu_percent: span.cpu.percent(),
            thumbnail: Vec::new(),
        })
    }

    /// The whole run.
    pub fn totals(&mut self) -> ViewerTotals {
        ViewerTotals {
            seconds: self.whole.begun.elapsed().as_secs_f64(),
            verified: self.whole.verified,
            torn: self.torn,
            backwards: self.backwards,
            missed: self.missed,
            overrun: self.overrun,
            p50_ns: self.whole.latency.value_at_quantile(0.5),
            p99_ns: self.whole.latency.value_at_quantile(0.99),
            max_ns: self.whole.latency.max(),
            longest_gap_ns: self.whole.longest_gap_ns,
            cpu_percent: self.whole.cpu.percent(),
            by_publisher: self.by_publisher.iter().map(|(&pid, &count)| (pid, count)).collect(),
        }
    }
}

impl Span {
    fn start() -> Result<Self> {
        Ok(Self {
            verified: 0,
            // 1 ns to 60 s at three digits.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            longest_gap_ns: 0,
            cpu: CpuMeter::start(),
            begun: Instant::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(number: u64, publisher: u32) -> Option<Stamp> {
        Some(Stamp { number, publisher })
    }

    #[test]
    fn torn_backward_and_missed_frames_are_told_apart() {
        let mut tally = Tally::start().unwrap();
        tally.read(stamp(1, 10), 100, 0);
        tally.read(stamp(5, 10), 200, 3);
        tally.read(None, 0, 1);
        tally.read(stamp(5, 11), 300, 0);
        tally.read(stamp(9, 11), 400, 0);
        tally.overrun();
        let totals = tally.totals();
        assert_eq!(totals.verified, 4);
        assert_eq!((totals.torn, totals.backwards), (1, 1));
        assert_eq!((totals.missed, totals.overrun), (4, 1));
        assert_eq!(totals.by_publisher, [(10, 2), (11, 2)]);
        assert!(totals.max_ns >= 400, "{totals:?}");
    }

    #[test]
    fn a_tick_begins_its_rates_anew_and_keeps_its_counts() {
        let mut tally = Tally::start().unwrap();
        tally.read(stamp(1, 10), 5_000, 7);
        assert!(tally.tick().unwrap().frames_per_second > 0.0);
        let quiet = tally.tick().unwrap();
        assert_eq!(quiet.frames_per_second, 0.0);
        assert_eq!((quiet.verified, quiet.missed, quiet.max_ns), (1, 7, 0));
    }
}
