//! What a process costs while it waits.

use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Processor time of a process, and how long that was in all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Spent {
    cpu_seconds: f64,
    wall_seconds: f64,
}

impl Spent {
    /// What the other threads of this process spend while this one sleeps.
    pub fn asleep(measured: Duration) -> Spent {
        let (cpu, begun) = (process_seconds(), Instant::now());
        thread::sleep(measured);
        Spent { cpu_seconds: process_seconds() - cpu, wall_seconds: begun.elapsed().as_secs_f64() }
    }

    /// The share of one processor, in percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.cpu_seconds / self.wall_seconds
    }
}

/// Processor time of all threads, user and system.
fn process_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_counted_and_sleep_is_not() {
        let measured = Duration::from_millis(50);
        let spent = thread::scope(|scope| {
            let busy = scope.spawn(|| {
                let cpu = process_seconds();
                // As long as it takes on a busy machine.
                while process_seconds() - cpu < 0.1 {
                    std::hint::spin_loop();
                }
            });
            let mut spent = Spent::asleep(measured);
            while !busy.is_finished() && spent.percent() == 0.0 {
                spent = Spent::asleep(measured);
            }
            spent
        });
        assert!(spent.wall_seconds >= 0.05, "{spent:?}");
        assert!(spent.percent() > 0.0, "{spent:?}");
        let half = Spent { cpu_seconds: 0.25, wall_seconds: 0.5 };
        assert_eq!(half.percent(), 50.0);
    }
}
