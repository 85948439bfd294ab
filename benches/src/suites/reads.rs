//! How often a reader gets a whole frame while a writer publishes without a pause.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytemuck::cast_slice_mut;
use serde::{Deserialize, Serialize};
use shm_core::{ReadError, Stream, StreamConfig};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::limits::{CopyKind, Mapping};
use crate::measure::{Samples, alternate, median, pin, repeat};
use crate::report::Row;
use crate::scratch::ScratchStream;

/// The child's part.
pub(super) const BUSY_WRITER: Role = Role { name: "busy-writer", run: write };

const LEN: usize = 4_000_000;
const WORDS: usize = LEN / 8;
/// Words compared in every frame that is read: one in every few kilobytes, and the ends.
const STRIDE: usize = 499;
/// The frames have one of two patterns each, in turn. A cell of three gets the other pattern each
/// time it is used again, so a frame of two ages shows both.
const PATTERNS: [u64; 2] = [0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let plan = setting.plan;
    let mut frame = vec![0_u64; WORDS];
    let mut total = Seen::default();
    let mut single = Samples::default();
    let results = alternate(plan.pick(3, 7), 2, |which| match which {
        0 => bare_rate(plan.slice(), &mut frame),
        _ => {
            let span = plan.pick(Duration::from_millis(400), Duration::from_secs(1));
            let seen = watch(setting.cores.far, span, &mut frame, &mut single)?;
            total = total.plus(seen);
            Ok(seen.reads as f64 / seen.seconds)
        }
    })?;
    Ok(vec![
        Row::new("reads_under_writer/4MB", median(results[1].iter().copied()), "reads/s")
            .with_tail(1e9 / single.p99(), 1e9 / single.max())
            .with_limit("one libc memcpy out of shared memory", median(results[0].iter().copied()))
            .touching_payload()
            .with_note(format!(
                "{} reads, {} torn, {} given up; the writer published {:.0} frames/s meanwhile",
                total.reads,
                total.torn,
                total.failed,
                total.published as f64 / total.seconds
            ))
            .with_note("two pinned processes; p99 and max are the rates of the slowest reads"),
    ])
}

#[derive(Clone, Copy, Default)]
struct Seen {
    reads: u64,
    torn: u64,
    /// Reads that ended in an error, as they may after many retries.
    failed: u64,
    published: u64,
    seconds: f64,
}

impl Seen {
    fn plus(self, other: Seen) -> Seen {
        Seen {
            reads: self.reads + other.reads,
            torn: self.torn + other.torn,
            failed: self.failed + other.failed,
            published: self.published + other.published,
            seconds: self.seconds + other.seconds,
        }
    }
}

fn watch(far: usize, span: Duration, frame: &mut [u64], single: &mut Samples) -> Result<Seen> {
    let stream = ScratchStream::create("reads", &StreamConfig::of::<u64>(&[WORDS])?)?;
    let job = WriteJob { stream: stream.name().to_owned() };
    let child = Child::start(&BUSY_WRITER, far, &job)?;
    let mut reader = stream.reader();
    // The child is ready before its first frame, and begins with all pages and caches cold.
    reader.read_after_into(20, frame, Duration::from_secs(10))?;
    let mut seen = Seen::default();
    let first = reader.count();
    let begun = Instant::now();
    while begun.elapsed() < span {
        let before = Instant::now();
        match reader.read_into(frame) {
            Ok(_) => {
                seen.reads += 1;
                seen.torn += u64::from(!is_whole(frame));
            }
            Err(ReadError::Overrun { .. }) => seen.failed += 1,
            Err(error) => return Err(error.into()),
        }
        single.record(before.elapsed().as_nanos() as u64);
    }
    seen.seconds = begun.elapsed().as_secs_f64();
    seen.published = reader.count() - first;
    drop(child);
    ensure!(seen.published > 0, "the writer did not publish while it was read");
    Ok(seen)
}

fn is_whole(frame: &[u64]) -> bool {
    let first = frame[0];
    PATTERNS.contains(&first)
        && frame.last() == Some(&first)
        && frame.iter().step_by(STRIDE).all(|word| *word == first)
}

/// How often the copy alone can be made, of memory that nobody writes.
fn bare_rate(slice: Duration, frame: &mut [u64]) -> Result<f64> {
    let mapping = Mapping::create("reads", LEN)?;
    let target = cast_slice_mut(frame);
    let mut once = || mapping.copy_out(CopyKind::Libc, 0, target);
    repeat(slice / 4, 1, &mut once)?;
    Ok(1e9 / repeat(slice, 1, once)?)
}

#[derive(Debug, Serialize, Deserialize)]
struct WriteJob {
    stream: String,
}

/// Publishes until the parent ends it.
fn write(job: &str) -> Result<()> {
    let job: WriteJob = child::job(job)?;
    let mut writer = Stream::open(&job.stream)?.writer(Duration::from_secs(10))?;
    let frames = PATTERNS.map(|pattern| vec![pattern; WORDS]);
    child::ready()?;
    loop {
        for frame in &frames {
            writer.publish(frame)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_two_ages_is_torn() {
        let mut frame = vec![PATTERNS[0]; WORDS];
        assert!(is_whole(&frame));
        frame[WORDS / 2..].fill(PATTERNS[1]);
        assert!(!is_whole(&frame));
        frame.fill(PATTERNS[1]);
        assert!(is_whole(&frame));
        frame.fill(0);
        assert!(!is_whole(&frame));
    }
}
