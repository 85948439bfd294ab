//! How calls are measured that only queue work, and calls that wait for it.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_cuda::StreamRef;

use super::bare::Bare;
use crate::measure::{Plan, Quantiles, Samples, alternate, median};

/// Calls between two waits: few enough that no queue is ever full.
const BATCH: u32 = 32;

/// Something that is measured.
pub(super) type Call<'a> = &'a mut dyn FnMut() -> Result<()>;

/// What came out for one contender, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// How single calls are distributed.
    pub(super) quantiles: Quantiles,
    /// Calls of the driver in one operation, if the driver counts.
    pub(super) driver_calls: Option<f64>,
}

/// When the work that was queued is waited for, outside of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// After every call: each finds an idle queue.
    EachTime,
    /// After a batch: all but the first find a busy one.
    AfterBatch,
}

/// The time that a call takes its thread.
pub(super) fn of_host(
    plan: Plan,
    bare: &Bare,
    waits: Waits,
    settle: &dyn Fn() -> Result<()>,
    contenders: &mut [Call<'_>],
) -> Result<Vec<Figures>> {
    let batch = match waits {
        Waits::EachTime => 1,
        Waits::AfterBatch => BATCH,
    };
    let counted: Vec<Option<f64>> = contenders
        .iter_mut()
        .map(|call| driver_calls(bare, batch, settle, call))
        .collect::<Result<_>>()?;
    // The first round warms up.
    let rounds = alternate(1 + plan.rounds(), contenders.len(), |which| {
        one_round(plan.slice(), batch, settle, contenders[which])
    })?;
    rounds.iter().zip(counted).map(|(rounds, counted)| summary(&rounds[1..], counted)).collect()
}

/// The time from the call until the work is done, `settle` included.
pub(super) fn of_whole(
    plan: Plan,
    settle: &dyn Fn() -> Result<()>,
    contenders: &mut [Call<'_>],
) -> Result<Vec<Figures>> {
    let rounds = alternate(1 + plan.rounds(), contenders.len(), |which| {
        let mut samples = Samples::default();
        let begun = Instant::now();
        while samples.count() < 3 || begun.elapsed() < plan.slice() {
            let before = Instant::now();
            contenders[which]()?;
            settle()?;
            samples.record(before.elapsed().as_nanos() as u64);
        }
        Ok(samples)
    })?;
    rounds.iter().map(|rounds| summary(&rounds[1..], None)).collect()
}

/// Nanoseconds of device time of one operation: the median of what events before and after it tell.
pub(super) fn of_device(
    plan: Plan,
    bare: &Bare,
    queue: StreamRef<'_>,
    contenders: &mut [Call<'_>],
) -> Result<Vec<f64>> {
    let (begin, end) = (bare.timed_mark()?, bare.timed_mark()?);
    let rounds = alternate(1 + plan.rounds(), contenders.len(), |which| {
        let mut times = Vec::new();
        let begun = Instant::now();
        while times.len() < 3 || begun.elapsed() < plan.slice() / 2 {
            begin.record(queue)?;
            contenders[which]()?;
            end.record(queue)?;
            end.synchronize()?;
            times.push(end.since(&begin)?);
        }
        Ok(median(times))
    })?;
    Ok(rounds.iter().map(|rounds| median(rounds[1..].iter().copied())).collect())
}

fn one_round(
    slice: Duration,
    batch: u32,
    settle: &dyn Fn() -> Result<()>,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    while samples.count() < u64::from(batch) || begun.elapsed() < slice {
        let mut before = Instant::now();
        for _ in 0..batch {
            call()?;
            let now = Instant::now();
            samples.record((now - before).as_nanos() as u64);
            before = now;
        }
        settle()?;
    }
    Ok(samples)
}

fn driver_calls(
    bare: &Bare,
    batch: u32,
    settle: &dyn Fn() -> Result<()>,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<Option<f64>> {
    // The first call may set something up for all later ones.
    call()?;
    settle()?;
    let before = bare.calls();
    for _ in 0..batch {
        call()?;
    }
    let after = bare.calls();
    settle()?;
    Ok(before.zip(after).map(|(before, after)| (after - before) as f64 / f64::from(batch)))
}

/// The median of the rounds' medians, and the tail of everything.
pub(super) fn summary(rounds: &[Samples], driver_calls: Option<f64>) -> Result<Figures> {
    let mut all = Samples::default();
    rounds.iter().try_for_each(|round| all.add(round))?;
    let p50 = median(rounds.iter().map(Samples::p50));
    let quantiles = Quantiles::of(&all, 1.0);
    Ok(Figures { p50, p99: all.p99(), max: all.max(), quantiles, driver_calls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_rounds_and_the_tail_that_of_all() {
        let rounds = [Samples::from_iter([10, 10, 900]), Samples::from_iter([20, 20, 20])];
        let figures = summary(&rounds, Some(2.0)).unwrap();
        assert_eq!(figures.p50, 15.0);
        assert!(figures.max >= 900.0 && figures.p99 >= 900.0);
        assert_eq!(figures.driver_calls, Some(2.0));
    }

    #[test]
    fn a_round_settles_after_each_batch_and_measures_every_call() {
        let settled = std::cell::Cell::new(0);
        let mut calls = 0_u64;
        let samples = one_round(
            Duration::ZERO,
            BATCH,
            &|| {
                settled.set(settled.get() + 1);
                Ok(())
            },
            &mut || {
                calls += 1;
                Ok(())
            },
        )
        .unwrap();
        assert_eq!((samples.count(), calls, settled.get()), (32, 32, 1));
    }
}
