//! The limits: the same work with nothing around it.
//!
//! A cache line and a wake-up cost the same between two threads as between two processes, so two threads
//! of this process stand for them, which needs no shared memory and no protocol.

use super::broke;
use super::cores::{Cores, Pinned};
use super::interrupt::Interrupt;
use super::rounds::{Contender, SAMPLES_MIN, repeat};
use super::samples::Samples;
use super::streams::pauses;
use crate::cli::exit::Failure;
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::Timespec;
use shm_core::clock::monotonic_ns;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Looks between two looks at what else there is.
const LOOKS: u32 = 20_000;
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A word on two lines of its own: processors fetch lines in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// A cache line that goes to the other processor: half of there and back.
pub(super) struct Hop<'a> {
    pub(super) samples: Samples,
    cores: Cores,
    interrupt: &'a Interrupt,
    /// Whether the pause instruction stands between two looks. It can add its own time to a hop, or
    /// shorten it.
    pauses: bool,
}

impl<'a> Hop<'a> {
    pub(super) fn new(cores: Cores, interrupt: &'a Interrupt, pauses: bool) -> Hop<'a> {
        Hop { samples: Samples::of(2), cores, interrupt, pauses }
    }

    /// Waits until the line carries `value`. False if the other thread has ended.
    #[inline]
    fn wait(&self, line: &Line, value: u64, over: &AtomicBool) -> bool {
        loop {
            for _ in 0..LOOKS {
                if line.0.load(Ordering::Acquire) == value {
                    return true;
                }
                if self.pauses {
                    spin_loop();
                }
            }
            if over.load(Ordering::Relaxed) || self.interrupt.came() {
                return false;
            }
            // On one processor the other thread needs it to answer.
            thread::yield_now();
        }
    }

    fn echo(&self, ping: &Line, pong: &Line, over: &AtomicBool) -> Result<(), Failure> {
        let _over = SetWhenDropped(over);
        let _pinned = Pinned::to(self.cores.far)?;
        let mut value = 1;
        while self.wait(ping, value, over) {
            pong.0.store(value, Ordering::Release);
            value += 1;
        }
        Ok(())
    }
}

impl Contender for Hop<'_> {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure> {
        let (ping, pong) = (Line::default(), Line::default());
        let over = AtomicBool::new(false);
        let mut samples = self.samples.clone();
        let hop = &*self;
        thread::scope(|scope| {
            let _over = SetWhenDropped(&over);
            scope.spawn(|| hop.echo(&ping, &pong, &over));
            let mut value = 0;
            repeat(slice, &mut samples, hop.interrupt, || {
                value += 1;
                ping.0.store(value, Ordering::Release);
                match hop.wait(&pong, value, &over) {
                    true => Ok(()),
                    false => Err(broke("measure a bare hop", "the other thread ended")),
                }
            })
        })?;
        self.samples = samples;
        Ok(())
    }
}

/// The kernel wakes a thread that sleeps on a word.
pub(super) struct Wake<'a> {
    pub(super) samples: Samples,
    cores: Cores,
    interrupt: &'a Interrupt,
}

/// What the two threads share.
#[derive(Default)]
struct Bell {
    rung: AtomicU32,
    at: Line,
    heard: Line,
    over: AtomicBool,
}

impl<'a> Wake<'a> {
    pub(super) fn new(cores: Cores, interrupt: &'a Interrupt) -> Wake<'a> {
        Wake { samples: Samples::of(1), cores, interrupt }
    }

    fn sleeper(&self, bell: &Bell) -> Result<Vec<u64>, Failure> {
        let _over = SetWhenDropped(&bell.over);
        let _pinned = Pinned::to(self.cores.far)?;
        let mut durations = Vec::new();
        for seen in 0.. {
            while bell.rung.load(Ordering::Acquire) == seen {
                if bell.over.load(Ordering::Relaxed) {
                    return Ok(durations);
                }
                match futex::wait(&bell.rung, futex::Flags::empty(), seen, Some(&NAP)) {
                    Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                    Err(error) => return Err(broke("sleep on a futex", error)),
                }
            }
            let now = monotonic_ns();
            durations.push(now.saturating_sub(bell.at.0.load(Ordering::Relaxed)));
            bell.heard.0.store(u64::from(seen) + 1, Ordering::Release);
        }
        Ok(durations)
    }

    fn ring(&self, bell: &Bell, slice: Duration) -> Result<(), Failure> {
        let _over = SetWhenDropped(&bell.over);
        let end = Instant::now() + slice;
        for (rung, pause) in (1..).zip(pauses()) {
            thread::sleep(pause);
            if rung > u64::from(SAMPLES_MIN) && Instant::now() >= end {
                break;
            }
            self.interrupt.check()?;
            bell.at.0.store(monotonic_ns(), Ordering::Relaxed);
            bell.rung.fetch_add(1, Ordering::Release);
            futex::wake(&bell.rung, futex::Flags::empty(), 1)
                .map_err(|error| broke("wake a thread", error))?;
            while bell.heard.0.load(Ordering::Acquire) < rung {
                if bell.over.load(Ordering::Relaxed) {
                    return Err(broke("measure a bare wake", "the other thread ended"));
                }
                self.interrupt.check()?;
                thread::yield_now();
            }
        }
        Ok(())
    }
}

impl Contender for Wake<'_> {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure> {
        let bell = Bell::default();
        let wake = &*self;
        let durations = thread::scope(|scope| {
            let sleeper = scope.spawn(|| wake.sleeper(&bell));
            wake.ring(&bell, slice)?;
            sleeper.join().unwrap_or_else(|_| Err(broke("measure a bare wake", "it panicked")))
        })?;
        durations.into_iter().for_each(|ns| self.samples.record_ns(ns));
        Ok(())
    }
}

/// Tells the other thread to end, whatever way this one does.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Copies of private memory with the C library's `memcpy`.
pub(super) struct Copies<'a> {
    pub(super) samples: Samples,
    /// Empty if only the way out of the cells is measured.
    source: Vec<u64>,
    cells: Vec<Vec<u64>>,
    target: Vec<u64>,
    turn: usize,
    interrupt: &'a Interrupt,
}

/// What is so large goes through no cache, so one cell is as good as three.
const LARGE: usize = 2_000_000;

impl<'a> Copies<'a> {
    /// So many words into cells, as many as a stream has, and out again.
    pub(super) fn there_and_back(words: usize, interrupt: &'a Interrupt) -> Copies<'a> {
        let cells = if words > LARGE { 1 } else { 3 };
        Copies { source: vec![1; words], ..Copies::out_of(cells, words, interrupt) }
    }

    /// So many words out of so many cells in turn.
    pub(super) fn out_of(cells: usize, words: usize, interrupt: &'a Interrupt) -> Copies<'a> {
        Copies {
            samples: Samples::of(1),
            source: Vec::new(),
            cells: vec![vec![1; words]; cells],
            target: vec![0; words],
            turn: 0,
            interrupt,
        }
    }

    fn once(&mut self) {
        self.turn = (self.turn + 1) % self.cells.len();
        let cell = &mut self.cells[self.turn];
        if !self.source.is_empty() {
            cell.copy_from_slice(black_box(&self.source));
        }
        // Without it the second copy could be made from the source of the first.
        let cell = black_box(cell);
        self.target.copy_from_slice(cell);
        black_box(&mut self.target);
    }
}

impl Contender for Copies<'_> {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure> {
        let (mut samples, interrupt) = (self.samples.clone(), self.interrupt);
        repeat(slice, &mut samples, interrupt, || {
            self.once();
            Ok(())
        })?;
        self.samples = samples;
        Ok(())
    }
}

/// Locked exchanges of words that nobody else wants: what a protocol between processes pays for each step
/// that must not be torn or lost.
pub(super) struct Exchanges<'a> {
    pub(super) samples: Samples,
    /// Those of one operation.
    steps: u32,
    lines: [Line; 4],
    interrupt: &'a Interrupt,
}

impl<'a> Exchanges<'a> {
    /// Times so many operations of so many exchanges each at a time.
    pub(super) fn new(operations: u32, steps: u32, interrupt: &'a Interrupt) -> Exchanges<'a> {
        let lines = Default::default();
        Exchanges { samples: Samples::of(operations), steps: operations * steps, lines, interrupt }
    }
}

impl Contender for Exchanges<'_> {
    fn slice(&mut self, slice: Duration) -> Result<(), Failure> {
        let (lines, steps) = (&self.lines, self.steps);
        repeat(slice, &mut self.samples, self.interrupt, || {
            for step in 0..steps as usize {
                let word = &lines[step % lines.len()].0;
                let before = word.load(Ordering::Relaxed);
                // Nobody else knows the word, so this always succeeds.
                let exchanged = word.compare_exchange(
                    before,
                    before.wrapping_add(1),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                debug_assert_eq!(exchanged, Ok(before));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(5);

    #[test]
    fn every_limit_has_samples() {
        let interrupt = Interrupt::default();
        let cores = Cores::choose().unwrap();
        let mut hop = Hop::new(cores, &interrupt, true);
        let mut wake = Wake::new(cores, &interrupt);
        let mut copies = Copies::out_of(2, 100, &interrupt);
        let mut exchanges = Exchanges::new(4, 3, &interrupt);
        hop.slice(SLICE).unwrap();
        wake.slice(4 * SLICE).unwrap();
        copies.slice(SLICE).unwrap();
        exchanges.slice(SLICE).unwrap();
        for samples in [&hop.samples, &wake.samples, &copies.samples, &exchanges.samples] {
            assert!(samples.count() > 0 && samples.p50() > 0.0);
        }
        assert_eq!(exchanges.lines[0].0.load(Ordering::Relaxed) % 3, 0);
    }

    #[test]
    fn copies_go_in_and_out() {
        let interrupt = Interrupt::default();
        let mut copies = Copies::there_and_back(3, &interrupt);
        copies.source = vec![4, 5, 6];
        copies.once();
        assert_eq!(copies.target, [4, 5, 6]);
    }
}
