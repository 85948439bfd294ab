//! The two clocks of a frame, in nanoseconds.
//!
//! Monotonic time is common to all processes of one boot and is what ages and latencies are
//! computed from; wall time is for people and for joining with other machines. Upholds invariant 3
//! only in the negative: no clock ever decides whether a peer lives.

/// Nanoseconds of the monotonic clock (`CLOCK_MONOTONIC` on Unix), the same for every process.
#[inline]
pub fn monotonic_ns() -> u64 {
    os::monotonic_ns()
}

/// As [`monotonic_ns`], as of the system's last timer tick: up to some milliseconds late, and several
/// times cheaper to read where the platform offers it (`CLOCK_MONOTONIC_COARSE`).
#[inline]
pub fn coarse_ns() -> u64 {
    os::coarse_ns()
}

/// Nanoseconds since 1970-01-01 UTC.
#[inline]
pub fn wall_ns() -> u64 {
    os::wall_ns()
}

/// How long a [`WallClock`] trusts the difference between the two clocks. Slewing moves both
/// alike, so only a step of the wall clock is noticed this late.
const OFFSET_LIFE_NS: u64 = 100_000_000;

/// Wall time derived from monotonic time, at the cost of one clock reading instead of two.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    offset: u64,
    read_at: u64,
}

impl WallClock {
    /// Monotonic and wall time of one instant.
    #[inline]
    pub(crate) fn now(&mut self) -> (u64, u64) {
        let mono = monotonic_ns();
        if mono.wrapping_sub(self.read_at) >= OFFSET_LIFE_NS || self.read_at == 0 {
            self.read_at = mono;
            self.offset = wall_ns().wrapping_sub(mono);
        }
        (mono, mono.wrapping_add(self.offset))
    }
}

#[cfg(unix)]
mod os {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    #[inline]
    fn ns(time: Timespec) -> u64 {
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }

    #[inline]
    pub(super) fn monotonic_ns() -> u64 {
        ns(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    pub(super) fn coarse_ns() -> u64 {
        #[cfg(target_os = "linux")]
        return ns(clock_gettime(ClockId::MonotonicCoarse));
        #[cfg(not(target_os = "linux"))]
        return monotonic_ns();
    }

    #[inline]
    pub(super) fn wall_ns() -> u64 {
        ns(clock_gettime(ClockId::Realtime))
    }
}

#[cfg(not(unix))]
mod os {
    use std::time::{SystemTime, UNIX_EPOCH};

    /// The system's uptime is not reachable through `std`; wall time is common to all processes,
    /// which is the property that matters here.
    pub(super) fn monotonic_ns() -> u64 {
        wall_ns()
    }

    pub(super) fn coarse_ns() -> u64 {
        wall_ns()
    }

    pub(super) fn wall_ns() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_wall_time_stays_within_a_millisecond_of_the_clock() {
        let mut clock = WallClock::default();
        for _ in 0..1000 {
            let before = wall_ns();
            let (_, wall) = clock.now();
            let after = wall_ns();
            assert!(wall + 1_000_000 >= before && wall <= after + 1_000_000);
        }
    }
}
