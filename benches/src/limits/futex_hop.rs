//! The kernel wakes a process that sleeps on a word, alone or after a payload: the least that a
//! blocked reader can cost.
//!
//! ```text
//!   0     the word slept on (half)       128   when it was sent, in nanoseconds
//!   256   how many the sleeper received  4096  three cells of payload, if there is one
//! ```

use std::sync::atomic::Ordering;

use anyhow::{Result, bail, ensure};
use rustix::thread::futex;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;

use super::{CopyKind, Mapping};
use crate::child::{self, Child, Role};

/// The child's part.
pub const FUTEX_SLEEPER: Role = Role { name: "futex-sleeper", run: sleep };

const BELL: usize = 0;
const SENT: usize = 128;
const RECEIVED: usize = 256;
const CELLS: usize = 4096;
const CELL_COUNT: usize = 3;
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

#[derive(Debug, Serialize, Deserialize)]
struct SleeperJob {
    mapping: String,
    wakes: u32,
    len: usize,
}

/// The side that wakes, with its child.
#[derive(Debug)]
pub struct FutexHop {
    mapping: Mapping,
    payload: Vec<u8>,
    sent: u32,
    child: Child,
}

impl FutexHop {
    /// Starts the sleeper on processor `far`, for so many wakes, each with `len` bytes that are
    /// copied in before it and out after it.
    pub fn start(far: usize, wakes: u32, len: usize) -> Result<FutexHop> {
        let mapping = Mapping::create("futex", CELLS + CELL_COUNT * len)?;
        let job = SleeperJob { mapping: mapping.name().to_owned(), wakes, len };
        let child = Child::start(&FUTEX_SLEEPER, far, &job)?;
        Ok(FutexHop { mapping, payload: vec![1; len], sent: 0, child })
    }

    /// How many wakes the sleeper has received.
    pub fn received(&self) -> Result<u64> {
        Ok(self.mapping.word(RECEIVED)?.load(Ordering::Acquire))
    }

    /// Wakes the sleeper, which must have received all wakes before.
    pub fn wake(&mut self) -> Result<()> {
        let bell = self.mapping.half_word(BELL)?;
        let cell = cell(self.sent, self.payload.len());
        self.mapping.copy_in(CopyKind::Libc, cell, &self.payload)?;
        self.sent += 1;
        self.mapping.word(SENT)?.store(monotonic_ns(), Ordering::Relaxed);
        bell.fetch_add(1, Ordering::Release);
        futex::wake(bell, futex::Flags::empty(), 1)?;
        Ok(())
    }

    /// The nanoseconds that every wake took, from before the wake to the sleeper's return.
    pub fn latencies(self) -> Result<Vec<u64>> {
        self.child.report()
    }
}

fn cell(sequence: u32, len: usize) -> usize {
    CELLS + sequence as usize % CELL_COUNT * len
}

fn sleep(job: &str) -> Result<()> {
    let job: SleeperJob = child::job(job)?;
    let mapping = Mapping::open(&job.mapping)?;
    let bell = mapping.half_word(BELL)?;
    let mut latencies = Vec::with_capacity(job.wakes as usize);
    let mut payload = vec![0_u8; job.len];
    child::ready()?;
    for seen in 0..job.wakes {
        while bell.load(Ordering::Acquire) == seen {
            match futex::wait(bell, futex::Flags::empty(), seen, Some(&PATIENCE)) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => bail!("wake {seen} of {} did not come: {error}", job.wakes),
            }
        }
        mapping.copy_out(CopyKind::Libc, cell(seen, job.len), &mut payload)?;
        let now = monotonic_ns();
        ensure!(bell.load(Ordering::Relaxed) == seen + 1, "wake {seen} was missed");
        latencies.push(now.saturating_sub(mapping.word(SENT)?.load(Ordering::Relaxed)));
        mapping.word(RECEIVED)?.store(u64::from(seen) + 1, Ordering::Release);
    }
    child::tell(&latencies)
}
