//! A reader sleeps in the kernel in another process; a publish wakes it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;
use shm_core::{Deadline, Reader, Stream, StreamConfig, Writer};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::limits::FutexHop;
use crate::measure::{Quantiles, Samples, alternate, median, pin};
use crate::report::{Row, US};
use crate::scratch::ScratchStream;

/// The child's part.
pub(super) const STREAM_SLEEPER: Role = Role { name: "stream-sleeper", run: sleep };

const WORDS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two wakes, in turn: so long that the sleeper and its processor are at rest, and not so
/// regular that anything could guess the next.
const PAUSES_US: [u64; 7] = [200, 900, 350, 1000, 500, 275, 700];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    // Many short rounds: a processor that something else keeps awake answers three times as fast,
    // and that may last for some of them.
    let wakes = setting.plan.pick(30, 100);
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
    Ok(vec![
        Row::new("wake/blocked", middle(1), "us")
            .with_samples(&ours, US)
            .with_limit("bare futex hop, p50", middle(0))
            .with_limit_quantiles(Quantiles::of(&bare, US))
            .touching_payload()
            .with_note("goal: at most 1.15 of the limit")
            .with_note(format!("the limit's p99 is {:.1} us", bare.p99() / 1000.0))
            .with_note(
                "64 B; p50 of the time from before the publish to the reader's return, in another \
                 process on another processor, 0.2 to 1 ms of rest between",
            ),
    ])
}

fn bare(far: usize, wakes: u32) -> Result<Vec<u64>> {
    let mut hop = FutexHop::start(far, wakes, 0)?;
    for sent in 0..u64::from(wakes) {
        rest(sent, || hop.received())?;
        hop.wake()?;
    }
    hop.latencies()
}

fn ours(far: usize, wakes: u32) -> Result<Vec<u64>> {
    let config = StreamConfig::of::<u64>(&[WORDS])?;
    let there = ScratchStream::create("wake", &config)?;
    let back = ScratchStream::create("woken", &config)?;
    let job = SleeperJob { there: there.name().to_owned(), back: back.name().to_owned(), wakes };
    let child = Child::start(&STREAM_SLEEPER, far, &job)?;
    let mut writer = there.writer(PATIENCE)?;
    for sent in 0..u64::from(wakes) {
        rest(sent, || Ok(back.count()))?;
        send(&mut writer, sent + 1)?;
    }
    child.report()
}

#[inline]
fn send(writer: &mut Writer, sequence: u64) -> Result<()> {
    let mut words = [sequence; WORDS];
    words[0] = monotonic_ns();
    writer.publish(&words)?;
    Ok(())
}

/// Until all that was sent is received, and some time after that.
fn rest(sent: u64, mut received: impl FnMut() -> Result<u64>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while received()? < sent {
        ensure!(Instant::now() < deadline, "wake {sent} was not received within {PATIENCE:?}");
        std::hint::spin_loop();
    }
    let pause = PAUSES_US[(sent % PAUSES_US.len() as u64) as usize];
    thread::sleep(Duration::from_micros(pause));
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct SleeperJob {
    there: String,
    back: String,
    wakes: u32,
}

fn sleep(job: &str) -> Result<()> {
    let job: SleeperJob = child::job(job)?;
    let mut reader = Reader::open(&job.there)?;
    // The count of this stream tells the parent what arrived; nobody sleeps on it.
    let mut back = Stream::open(&job.back)?.writer(PATIENCE)?;
    let mut words = [0_u64; WORDS];
    let mut latencies = Vec::with_capacity(job.wakes as usize);
    child::ready()?;
    for seen in 0..u64::from(job.wakes) {
        reader.read_after_into(seen, &mut words, Deadline::after(PATIENCE))?;
        let now = monotonic_ns();
        ensure!(words[WORDS - 1] == seen + 1, "{} came after {seen}", words[WORDS - 1]);
        latencies.push(now.saturating_sub(words[0]));
        back.publish(&words)?;
    }
    child::tell(&latencies)
}
