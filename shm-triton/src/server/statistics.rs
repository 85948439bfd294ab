//! What a model has done since the server started.

use crate::wire::{self, ModelStatistics};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counts one model's requests.
#[derive(Debug, Default)]
pub(super) struct Statistics(Mutex<Report>);

/// A model's counts at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub total: ModelStatistics,
    /// By batch size.
    pub batches: BTreeMap<u64, Batch>,
}

/// The executions of one batch size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    pub input: wire::Duration,
    pub infer: wire::Duration,
    pub output: wire::Duration,
}

/// How long the parts of one execution took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub input: Duration,
    pub infer: Duration,
    pub output: Duration,
}

impl Statistics {
    pub fn succeeded(&self, batch: usize, total: Duration, queue: Duration, times: Times) {
        let mut report = self.0.lock();
        let counts = &mut report.total;
        counts.last_inference_ms = now_ms();
        counts.inference_count += batch as u64;
        counts.execution_count += 1;
        add(&mut counts.success, total);
        add(&mut counts.queue, queue);
        add(&mut counts.compute_input, times.input);
        add(&mut counts.compute_infer, times.infer);
        add(&mut counts.compute_output, times.output);
        let of_batch = report.batches.entry(batch as u64).or_default();
        add(&mut of_batch.input, times.input);
        add(&mut of_batch.infer, times.infer);
        add(&mut of_batch.output, times.output);
    }

    pub fn failed(&self, total: Duration) {
        let mut report = self.0.lock();
        report.total.last_inference_ms = now_ms();
        add(&mut report.total.fail, total);
    }

    pub fn report(&self) -> Report {
        self.0.lock().clone()
    }
}

fn add(sum: &mut wire::Duration, duration: Duration) {
    sum.count += 1;
    sum.ns += duration.as_nanos() as u64;
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successes_count_samples_and_failures_do_not() {
        let statistics = Statistics::default();
        let ms = Duration::from_millis;
        let times = Times { input: ms(1), infer: ms(2), output: ms(3) };
        statistics.succeeded(4, ms(10), ms(5), times);
        statistics.succeeded(1, ms(10), ms(5), times);
        statistics.failed(ms(7));
        let Report { total, batches } = statistics.report();
        assert_eq!((total.inference_count, total.execution_count), (5, 2));
        assert_eq!(total.success, wire::Duration { count: 2, ns: 20_000_000 });
        assert_eq!(total.fail, wire::Duration { count: 1, ns: 7_000_000 });
        assert_eq!(total.compute_output, wire::Duration { count: 2, ns: 6_000_000 });
        assert_eq!(batches.keys().copied().collect::<Vec<_>>(), [1, 4]);
        assert_eq!(batches[&4].infer, wire::Duration { count: 1, ns: 2_000_000 });
    }
}
