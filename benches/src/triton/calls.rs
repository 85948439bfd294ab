//! Calls one after the other, by one thread or several, and what came out of all rounds.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::measure::{Quantiles, Samples, median};

/// Calls of one round.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub took: Samples,
    /// From before the first to after the last.
    pub elapsed: Duration,
}

/// The rounds of one contender.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Nanoseconds: the median of the rounds' medians.
    pub p50: f64,
    /// Nanoseconds, of all calls.
    pub p99: f64,
    pub max: f64,
    /// Of all calls.
    pub quantiles: Quantiles,
    /// Calls per second: the median of the rounds.
    pub rate: f64,
}

/// Calls for as long as `slice` and once at least, after one call that brings back the caches.
pub(super) fn repeat(slice: Duration, call: &mut dyn FnMut() -> Result<()>) -> Result<Calls> {
    call()?;
    let mut took = Samples::default();
    let begun = Instant::now();
    let mut before = begun;
    loop {
        call()?;
        let now = Instant::now();
        took.record((now - before).as_nanos() as u64);
        before = now;
        if now - begun >= slice {
            return Ok(Calls { took, elapsed: now - begun });
        }
    }
}

/// The same by as many threads as there are calls, which begin together.
pub(super) fn repeat_at_once<F>(slice: Duration, calls: &mut [F]) -> Result<Calls>
where
    F: FnMut() -> Result<()> + Send,
{
    let together = Barrier::new(calls.len());
    let rounds: Vec<Result<Calls>> = thread::scope(|scope| {
        let threads: Vec<_> = calls
            .iter_mut()
            .map(|call| {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    repeat(slice, call)
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|ended| ended.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
    });
    let mut all = Calls { took: Samples::default(), elapsed: Duration::ZERO };
    for calls in rounds {
        let calls = calls?;
        all.took.add(&calls.took)?;
        all.elapsed = all.elapsed.max(calls.elapsed);
    }
    Ok(all)
}

impl Summary {
    /// Nothing if there was no round.
    pub fn of(rounds: &[Calls]) -> Result<Option<Summary>> {
        if rounds.is_empty() {
            return Ok(None);
        }
        let mut all = Samples::default();
        for round in rounds {
            all.add(&round.took)?;
        }
        let rate = |calls: &Calls| calls.took.count() as f64 / calls.elapsed.as_secs_f64();
        Ok(Some(Summary {
            p50: median(rounds.iter().map(|round| round.took.p50())),
            p99: all.p99(),
            max: all.max(),
            quantiles: Quantiles::of(&all, 1.0),
            rate: median(rounds.iter().map(rate)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_call_is_not_counted_and_one_is_at_least() {
        let mut calls = 0_u64;
        let round = repeat(Duration::ZERO, &mut || {
            calls += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((calls, round.took.count()), (2, 1));
    }

    #[test]
    fn a_thread_that_fails_fails_the_round() {
        let calls: [fn() -> Result<()>; 2] = [|| Ok(()), || Err(anyhow!("no server"))];
        let error = repeat_at_once(Duration::ZERO, &mut calls.clone()).unwrap_err();
        assert!(error.to_string().contains("no server"));
        let round = repeat_at_once(Duration::ZERO, &mut [calls[0], calls[0]]).unwrap();
        assert_eq!(round.took.count(), 2);
    }

    #[test]
    fn rounds_are_told_by_their_medians_and_the_tail_of_all() {
        let round = |each: u64| Calls {
            took: std::iter::repeat_n(each, 100).collect(),
            elapsed: Duration::from_nanos(100 * each),
        };
        let summary = Summary::of(&[round(1000), round(500), round(2000)]).unwrap().unwrap();
        assert_eq!((summary.p50, summary.max), (1000.0, 2000.0));
        assert!((summary.rate - 1e6).abs() < 1.0);
        assert_eq!(Summary::of(&[]).unwrap(), None);
    }
}
