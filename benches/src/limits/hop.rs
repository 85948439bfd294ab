//! A cache line that goes to another processor and comes back, alone or after a payload.
//!
//! ```text
//!   0      the ping word        4096   cells of pings, then cells of pongs
//!   128    the pong word               (if there is a payload)
//! ```
//! The words lie two lines apart: processors fetch lines in pairs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytemuck::{cast_slice, cast_slice_mut};
use serde::{Deserialize, Serialize};

use super::{CopyKind, Mapping};
use crate::child::{self, Child, Role};
use crate::measure::{self, Echo, PingPong};

/// The child's part.
pub const HOP_ECHO: Role = Role { name: "hop-echo", run: echo };

const PING: usize = 0;
const PONG: usize = 128;
const CELLS: usize = 4096;
/// A cell begins at a page, as a stream's does.
const PAGE: usize = 4096;
/// Looks at the word between two looks at the clock.
const LOOKS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// What travels with the cache line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// Words of payload, copied in before each hop and out after it; none for a bare hop.
    pub words: usize,
    /// How many cells the payloads go round.
    pub cells: usize,
    /// How they are copied.
    pub kind: CopyKind,
    /// Whether the pause instruction stands between two looks. It can add its own time to the hop,
    /// or shorten it: without it, looks already under way hold on to the line.
    pub pauses: bool,
}

impl Shape {
    /// A cache line and nothing else.
    pub const BARE: Shape = Shape { words: 0, cells: 1, kind: CopyKind::Libc, pauses: false };

    fn cell(self) -> usize {
        (self.words * 8).next_multiple_of(PAGE)
    }

    fn mapping_len(self) -> usize {
        CELLS + 2 * self.cells * self.cell()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct EchoJob {
    mapping: String,
    shape: Shape,
}

/// The side that measures, with its child.
#[derive(Debug)]
pub struct Hop {
    side: Side,
    child: Child,
    before: u64,
}

impl Hop {
    /// Starts the other side on processor `far`, for one [`ping_pong`](measure::ping_pong).
    pub fn start(far: usize, shape: Shape) -> Result<Hop> {
        let mapping = Mapping::create("hop", shape.mapping_len())?;
        let job = EchoJob { mapping: mapping.name().to_owned(), shape };
        let child = Child::start(&HOP_ECHO, far, &job)?;
        let side = Side::new(mapping, shape);
        Ok(Hop { side, child, before: 0 })
    }

    /// Ends it, after the last turn.
    pub fn end(self) -> Result<()> {
        self.child.end()
    }
}

impl PingPong for Hop {
    #[inline]
    fn turn(&mut self, sequence: u64) -> Result<()> {
        let before = self.before;
        self.before = sequence;
        self.side.send(PING, 0, sequence)?;
        let back = self.side.receive(PONG, 1, before)?;
        ensure!(back == sequence, "{back} came back in place of {sequence}");
        Ok(())
    }
}

fn echo(job: &str) -> Result<()> {
    let job: EchoJob = child::job(job)?;
    let mut side = Side::new(Mapping::open(&job.mapping)?, job.shape);
    child::ready()?;
    measure::echo(&mut side)
}

impl Echo for Side {
    #[inline]
    fn answer(&mut self, before: u64) -> Result<u64> {
        let sequence = self.receive(PING, 0, before)?;
        self.send(PONG, 1, sequence)?;
        Ok(sequence)
    }
}

/// What both processes do.
#[derive(Debug)]
struct Side {
    mapping: Mapping,
    shape: Shape,
    outgoing: Vec<u64>,
    incoming: Vec<u64>,
}

impl Side {
    fn new(mapping: Mapping, shape: Shape) -> Side {
        Side { mapping, shape, outgoing: vec![1; shape.words], incoming: vec![0; shape.words] }
    }

    #[inline]
    fn send(&mut self, word: usize, half: usize, sequence: u64) -> Result<()> {
        if let [first, .., last] = self.outgoing.as_mut_slice() {
            (*first, *last) = (sequence, sequence);
            let cell = self.cell(half, sequence);
            self.mapping.copy_in(self.shape.kind, cell, cast_slice(&self.outgoing))?;
        }
        self.mapping.word(word)?.store(sequence, Ordering::Release);
        Ok(())
    }

    /// Waits for the word to change from `before` and gives what it became.
    #[inline]
    fn receive(&mut self, word: usize, half: usize, before: u64) -> Result<u64> {
        let sequence = self.wait(word, before)?;
        if self.shape.words > 0 {
            let cell = self.cell(half, sequence);
            let incoming = cast_slice_mut(&mut self.incoming);
            self.mapping.copy_out(self.shape.kind, cell, incoming)?;
            let ends = (self.incoming[0], self.incoming[self.shape.words - 1]);
            ensure!(ends == (sequence, sequence), "{ends:?} came in place of {sequence}");
        }
        Ok(sequence)
    }

    #[inline]
    fn wait(&self, word: usize, before: u64) -> Result<u64> {
        let word = self.mapping.word(word)?;
        let mut deadline = None;
        loop {
            for _ in 0..LOOKS {
                let now = word.load(Ordering::Acquire);
                if now != before {
                    return Ok(now);
                }
                if self.shape.pauses {
                    std::hint::spin_loop();
                }
            }
            let now = Instant::now();
            if now > *deadline.get_or_insert(now + PATIENCE) {
                bail!("the other side of the hop did not answer within {PATIENCE:?}");
            }
        }
    }

    #[inline]
    fn cell(&self, half: usize, sequence: u64) -> usize {
        let index = half * self.shape.cells + (sequence % self.shape.cells as u64) as usize;
        CELLS + index * self.shape.cell()
    }
}
