//! How long a process that sleeps in the kernel takes to go on, beside a bare futex hop.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::limits::FutexHop;
use crate::measure::{Quantiles, Samples, alternate, median, pin};
use crate::report::{Row, US};
use crate::suites::Setting;

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two wakes, in turn: so long that the sleeper and its processor are at rest, and not so
/// regular that anything could guess the next.
const PAUSES_US: [u64; 7] = [200, 900, 350, 1000, 500, 275, 700];

/// A row of what `ours` takes, which is given the sleeper's processor and how many wakes to measure, and
/// gives the nanoseconds of each.
pub fn row(
    setting: &Setting<'_>,
    name: &str,
    goal: &str,
    ours: fn(usize, u32) -> Result<Vec<u64>>,
) -> Result<Row> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    let wakes = setting.plan.pick(30, 100);
    // Many short rounds: a processor that something else keeps awake answers three times as fast,
    // and that may last for some of them.
    let results = alternate(3 * setting.plan.rounds(), 2, |which| {
        let latencies = match which {
            0 => bare(far, wakes)?,
            _ => ours(far, wakes)?,
        };
        ensure!(latencies.len() == wakes as usize, "{} of {wakes} came", latencies.len());
        Ok(Samples::from_iter(latencies))
    })?;
    let middle = |which: usize| median(results[which].iter().map(Samples::p50)) / 1000.0;
    let all = |which: usize| -> Result<Samples> {
        let mut all = Samples::default();
        results[which].iter().try_for_each(|round| all.add(round))?;
        Ok(all)
    };
    let (bare, ours) = (all(0)?, all(1)?);
    Ok(Row::new(name, middle(1), "us")
        .with_samples(&ours, US)
        .with_limit("bare futex hop, p50", middle(0))
        .with_limit_quantiles(Quantiles::of(&bare, US))
        .with_note(goal)
        .with_note(format!("the limit's p99 is {:.1} us", bare.p99() / 1000.0)))
}

fn bare(far: usize, wakes: u32) -> Result<Vec<u64>> {
    let mut hop = FutexHop::start(far, wakes, 0)?;
    for sent in 0..u64::from(wakes) {
        await_and_rest(sent, || hop.received())?;
        hop.wake()?;
    }
    hop.latencies()
}

/// Until all that was sent is received, and [`rest`] after that.
pub fn await_and_rest(sent: u64, mut received: impl FnMut() -> Result<u64>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while received()? < sent {
        ensure!(Instant::now() < deadline, "wake {sent} was not received within {PATIENCE:?}");
        std::hint::spin_loop();
    }
    rest(sent);
    Ok(())
}

/// Some time in which the other side falls asleep.
pub fn rest(turn: u64) {
    let pause = PAUSES_US[(turn % PAUSES_US.len() as u64) as usize];
    thread::sleep(Duration::from_micros(pause));
}
