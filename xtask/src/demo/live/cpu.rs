//! How busy this process is.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Measures the share of one processor that this process uses, all threads together.
pub struct CpuMeter {
    used: Duration,
    at: Instant,
}

impl CpuMeter {
    pub fn start() -> Self {
        Self { used: used(), at: Instant::now() }
    }

    /// Percent of one processor since the start or the last call.
    pub fn percent(&mut self) -> f64 {
        let before = std::mem::replace(self, Self::start());
        let wall = self.at.duration_since(before.at).as_secs_f64();
        let busy = self.used.saturating_sub(before.used).as_secs_f64();
        if wall > 0.0 { 100.0 * busy / wall } else { 0.0 }
    }
}

fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let mut meter = CpuMeter::start();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        assert!(meter.percent() > 1.0);
    }
}
