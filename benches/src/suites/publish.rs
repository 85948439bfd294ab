//! What a publish costs its writer while readers sleep in the kernel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use shm_core::{Deadline, Reader, StreamConfig};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::limits::{FutexHop, Mapping};
use crate::measure::{Samples, alternate, median, pin};
use crate::report::{NS, Row};
use crate::scratch::ScratchStream;

/// The child's part.
pub(super) const WAITING_READERS: Role = Role { name: "waiting-readers", run: wait };

const READERS: [usize; 4] = [0, 1, 8, 64];
const PAYLOADS: [(&str, usize); 3] = [("64B", 64), ("100x100", 40_000), ("1MB", 1_000_000)];
/// A frame every so often, or later if not all readers are back by then.
const PACE: Duration = Duration::from_millis(1);
/// From a reader's return to its sleep.
const PARKING: Duration = Duration::from_micros(300);
const PATIENCE: Duration = Duration::from_secs(10);
const READ: usize = 0;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut rows = Vec::new();
    for (words, len) in PAYLOADS {
        rows.extend(payload(setting, words, len)?);
    }
    Ok(rows)
}

fn payload(setting: &Setting<'_>, words: &str, len: usize) -> Result<Vec<Row>> {
    let rounds = setting.plan.pick(7, 15);
    let frames = setting.plan.pick(20, 100);
    let far = setting.cores.far;
    let results = alternate(rounds, READERS.len() + 1, |which| match READERS.get(which) {
        Some(readers) => publish(far, len, *readers, frames),
        None => bare(far, len, frames),
    })?;
    let middle = |which: usize| median(results[which].iter().map(Samples::p50));
    let alone = middle(0);
    let one = middle(1);
    let bare = middle(READERS.len());
    let mut rows = Vec::new();
    for (which, readers) in READERS.into_iter().enumerate() {
        let mut all = Samples::default();
        results[which].iter().try_for_each(|round| all.add(round))?;
        let mut row = Row::new(format!("publish/{words}/readers={readers}"), middle(which), "ns")
            .with_samples(&all, NS)
            .touching_payload();
        if readers > 0 {
            row = row
                .with_limit("the same without readers", alone)
                .with_peer("bare libc memcpy + futex wake of one sleeper that reads it", bare)
                .with_note(format!(
                    "goal: flat within 20 %; {:.2} of one reader",
                    middle(which) / one
                ));
        }
        rows.push(row.with_note(
            "p50 of one publish call at 1 kHz or slower, all readers asleep before each",
        ));
    }
    Ok(rows)
}

/// Publishes while `readers` sleep on processor `far`; how long each call took.
fn publish(far: usize, len: usize, readers: usize, frames: usize) -> Result<Samples> {
    let stream = ScratchStream::create("publish", &StreamConfig::of::<u8>(&[len])?)?;
    let acknowledged = Mapping::create("publish", 4096)?;
    let read = acknowledged.word(READ)?;
    let job = WaitJob {
        stream: stream.name().to_owned(),
        acknowledged: acknowledged.name().to_owned(),
        readers,
    };
    let _child = match readers {
        0 => None,
        _ => Some(Child::start(&WAITING_READERS, far, &job)?),
    };
    let mut writer = stream.writer(PATIENCE)?;
    let mut payload = vec![0_u8; len];
    let mut samples = Samples::default();
    for frame in 0..warm_up(frames) + frames {
        rest((frame * readers) as u64, || Ok(read.load(Ordering::Acquire)))?;
        payload[0] = payload[0].wrapping_add(1);
        let begun = Instant::now();
        writer.publish(&payload)?;
        record(&mut samples, frame >= warm_up(frames), begun);
    }
    Ok(samples)
}

/// The same with one sleeper and nothing but a copy and a call of the kernel.
fn bare(far: usize, len: usize, frames: usize) -> Result<Samples> {
    let wakes = warm_up(frames) + frames;
    let mut hop = FutexHop::start(far, u32::try_from(wakes)?, len)?;
    let mut samples = Samples::default();
    for frame in 0..wakes {
        rest(frame as u64, || hop.received())?;
        let begun = Instant::now();
        hop.wake()?;
        record(&mut samples, frame >= warm_up(frames), begun);
    }
    Ok(samples)
}

fn warm_up(frames: usize) -> usize {
    frames / 5 + 3
}

#[inline]
fn record(samples: &mut Samples, counts: bool, begun: Instant) {
    let took = begun.elapsed();
    if counts {
        samples.record(took.as_nanos() as u64);
    }
}

/// Until the frame is due, all earlier ones are read, and the readers are asleep again.
fn rest(frames: u64, mut read: impl FnMut() -> Result<u64>) -> Result<()> {
    let begun = Instant::now();
    while read()? < frames {
        ensure!(
            begun.elapsed() < PATIENCE,
            "the readers read {} of {frames} frames within {PATIENCE:?}",
            read()?
        );
        std::hint::spin_loop();
    }
    // Spinning keeps this processor as awake as a working writer's: only the readers rest.
    let due = (begun + PACE).max(Instant::now() + PARKING);
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct WaitJob {
    stream: String,
    acknowledged: String,
    readers: usize,
}

/// Reads until the parent ends it.
fn wait(job: &str) -> Result<()> {
    let job: WaitJob = child::job(job)?;
    let acknowledged = Mapping::open(&job.acknowledged)?;
    let read = acknowledged.word(READ)?;
    thread::scope(|scope| -> Result<()> {
        let mut readers = Vec::new();
        for _ in 0..job.readers {
            let reader = Reader::open(&job.stream)?;
            readers.push(scope.spawn(move || keep_reading(reader, read)));
        }
        thread::sleep(Duration::from_millis(20));
        child::ready()?;
        for reader in readers {
            reader.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        Ok(())
    })
}

fn keep_reading(mut reader: Reader, read: &AtomicU64) -> Result<()> {
    let mut frame = vec![0_u8; reader.desc().byte_len()];
    // Sleeps at once: this measures the writer, and 64 spinning readers share a processor.
    reader.set_spin(Duration::ZERO);
    let mut seen = 0;
    loop {
        seen = reader.read_after_into(seen, &mut frame, Deadline::after(PATIENCE))?.count;
        read.fetch_add(1, Ordering::Release);
    }
}
