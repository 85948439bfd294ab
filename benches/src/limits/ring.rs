//! Payloads that go from one process to another with nothing around the two copies: cells in a
//! ring, a count of those written and a count of those read.
//!
//! ```text
//!   0      payloads written      128   payloads read      4096   the cells
//! ```

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::thread::futex;
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};

use super::{CopyKind, Mapping, spin_until};
use crate::child::{self, Child, Role};

/// The child's part.
pub const COPY_RING_READER: Role = Role { name: "copy-ring-reader", run: read };

const WRITTEN: usize = 0;
const READ: usize = 128;
const CELLS: usize = 4096;
/// Looks before a side that may sleep goes to sleep.
const LOOKS: u32 = 1000;
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What goes round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RingShape {
    /// Bytes of a payload.
    pub len: usize,
    /// How many may be written and not yet read.
    pub cells: u32,
    /// How the writer copies.
    pub inward: CopyKind,
    /// How the reader copies.
    pub outward: CopyKind,
    /// Whether who has to wait sleeps in the kernel, after a few looks. Who spins answers sooner, but
    /// may slow down the other processor.
    pub sleeps: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadJob {
    mapping: String,
    shape: RingShape,
    payloads: u32,
}

/// The side that writes, with its child.
#[derive(Debug)]
pub struct CopyRing {
    mapping: Mapping,
    shape: RingShape,
    payloads: u32,
    child: Child,
}

impl CopyRing {
    /// Starts the reader on processor `far`, for so many payloads.
    pub fn start(far: usize, shape: RingShape, payloads: u32) -> Result<CopyRing> {
        let mapping = Mapping::create("ring", CELLS + shape.cells as usize * shape.len)?;
        let job = ReadJob { mapping: mapping.name().to_owned(), shape, payloads };
        let child = Child::start(&COPY_RING_READER, far, &job)?;
        Ok(CopyRing { mapping, shape, payloads, child })
    }

    /// Sends all payloads, out of `source`; how long those after the first `warm_up` took, until
    /// the last was read.
    pub fn run(self, warm_up: u32, source: &mut [u8]) -> Result<Duration> {
        ensure!(source.len() == self.shape.len && warm_up < self.payloads, "no such ring");
        let (written, read) = (Count::of(&self.mapping, WRITTEN)?, Count::of(&self.mapping, READ)?);
        let mut begun = Instant::now();
        for payload in 0..self.payloads {
            if payload == warm_up {
                read.wait_for(warm_up, &self.shape)?;
                begun = Instant::now();
            }
            read.wait_for((payload + 1).saturating_sub(self.shape.cells), &self.shape)?;
            stamp(source, u64::from(payload) + 1);
            self.mapping.copy_in(self.shape.inward, cell(&self.shape, payload), source)?;
            written.set(payload + 1, &self.shape)?;
        }
        read.wait_for(self.payloads, &self.shape)?;
        let took = begun.elapsed();
        self.child.end()?;
        Ok(took)
    }
}

fn read(job: &str) -> Result<()> {
    let job: ReadJob = child::job(job)?;
    let mapping = Mapping::open(&job.mapping)?;
    let (written, read) = (Count::of(&mapping, WRITTEN)?, Count::of(&mapping, READ)?);
    let mut target = vec![0_u8; job.shape.len];
    child::ready()?;
    for payload in 0..job.payloads {
        written.wait_for(payload + 1, &job.shape)?;
        mapping.copy_out(job.shape.outward, cell(&job.shape, payload), &mut target)?;
        check_stamp(&target, u64::from(payload) + 1)?;
        read.set(payload + 1, &job.shape)?;
    }
    Ok(())
}

fn cell(shape: &RingShape, payload: u32) -> usize {
    CELLS + (payload % shape.cells) as usize * shape.len
}

/// One of the two counts.
#[derive(Clone, Copy)]
struct Count<'a>(&'a AtomicU32);

impl<'a> Count<'a> {
    fn of(mapping: &'a Mapping, offset: usize) -> Result<Count<'a>> {
        mapping.half_word(offset).map(Count)
    }

    fn set(self, count: u32, shape: &RingShape) -> Result<()> {
        self.0.store(count, Ordering::Release);
        if shape.sleeps {
            futex::wake(self.0, futex::Flags::empty(), 1)?;
        }
        Ok(())
    }

    fn reached(self, least: u32) -> Option<()> {
        (self.0.load(Ordering::Acquire) >= least).then_some(())
    }

    fn wait_for(self, least: u32, shape: &RingShape) -> Result<()> {
        if !shape.sleeps {
            return spin_until("the other side of the ring", || self.reached(least));
        }
        for _ in 0..LOOKS {
            if self.reached(least).is_some() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        loop {
            let now = self.0.load(Ordering::Acquire);
            if now >= least {
                return Ok(());
            }
            match futex::wait(self.0, futex::Flags::empty(), now, Some(&PATIENCE)) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => bail!("the other side of the ring did not get to {least}: {error}"),
            }
        }
    }
}

/// Puts a number that is new each time into both ends of a payload.
pub fn stamp(payload: &mut [u8], number: u64) {
    let bytes = number.to_le_bytes();
    let len = payload.len();
    payload[..8].copy_from_slice(&bytes);
    payload[len - 8..].copy_from_slice(&bytes);
}

/// Finds that number in both ends.
pub fn check_stamp(payload: &[u8], number: u64) -> Result<()> {
    let bytes = number.to_le_bytes();
    let whole = payload[..8] == bytes && payload[payload.len() - 8..] == bytes;
    ensure!(whole, "payload {number} did not arrive whole");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_with_one_old_end_is_noticed() {
        let mut payload = [0_u8; 64];
        stamp(&mut payload, 7);
        check_stamp(&payload, 7).unwrap();
        assert!(check_stamp(&payload, 8).is_err());
        payload[63] = 1;
        assert!(check_stamp(&payload, 7).is_err());
    }

    #[test]
    fn a_side_that_sleeps_is_woken() {
        let (inward, outward) = (CopyKind::Libc, CopyKind::Libc);
        let shape = RingShape { len: 64, cells: 1, inward, outward, sleeps: true };
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Count(&word).wait_for(2, &shape));
            for count in 1..=2 {
                std::thread::sleep(Duration::from_millis(2));
                Count(&word).set(count, &shape).unwrap();
            }
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn cells_go_round() {
        let (inward, outward) = (CopyKind::Libc, CopyKind::Libc);
        let shape = RingShape { len: 4096, cells: 4, inward, outward, sleeps: false };
        assert_eq!(cell(&shape, 5), cell(&shape, 1));
        assert_ne!(cell(&shape, 4), cell(&shape, 1));
    }
}
