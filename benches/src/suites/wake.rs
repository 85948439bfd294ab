//! A reader sleeps in the kernel in another process; a publish wakes it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;
use shm_core::{Deadline, Reader, Stream, StreamConfig, Writer};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::report::Row;
use crate::scratch::ScratchStream;
use crate::sleepers;

/// The child's part.
pub(super) const STREAM_SLEEPER: Role = Role { name: "stream-sleeper", run: sleep };

const WORDS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let goal = "goal: at most 1.15 of the limit";
    Ok(vec![sleepers::row(setting, "wake/blocked", goal, ours)?.touching_payload().with_note(
        "64 B; p50 of the time from before the publish to the reader's return, in another \
         process on another processor, 0.2 to 1 ms of rest between",
    )])
}

fn ours(far: usize, wakes: u32) -> Result<Vec<u64>> {
    let config = StreamConfig::of::<u64>(&[WORDS])?;
    let there = ScratchStream::create("wake", &config)?;
    let back = ScratchStream::create("woken", &config)?;
    let job = SleeperJob { there: there.name().to_owned(), back: back.name().to_owned(), wakes };
    let child = Child::start(&STREAM_SLEEPER, far, &job)?;
    let mut writer = there.writer(PATIENCE)?;
    for sent in 0..u64::from(wakes) {
        sleepers::await_and_rest(sent, || Ok(back.count()))?;
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
