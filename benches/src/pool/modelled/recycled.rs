//! The pool: best fit over exact bytes, and a thread that takes chunks back on a timer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use super::flag::Flag;
use crate::pool::chunks::{Fit, FreeRuns, Rounding, Run};

/// How often the flags are looked at.
pub const SCAN_EVERY: Duration = Duration::from_millis(100);

/// A chunk that was granted: where it begins, and which flag acknowledges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its first byte.
    pub offset: usize,
    /// The index of its flag among [`Recycled::flags`].
    pub flag: usize,
}

/// The pool with its thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Recycled {
    state: Arc<Mutex<State>>,
    flags: Vec<String>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    runs: FreeRuns,
    busy: Vec<(Run, usize)>,
    idle_flags: Vec<usize>,
    refused: u64,
}

impl Recycled {
    /// A pool of so many bytes and flags. There is a flag for every chunk that may be out at once:
    /// making one only when a chunk is split, as they do, would be slower.
    pub fn new(capacity: usize, flags: usize) -> Result<Recycled> {
        let state = State {
            runs: FreeRuns::new(capacity, Fit::Best, Rounding::Multiple(1)),
            busy: Vec::new(),
            idle_flags: (0..flags).collect(),
            refused: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let thread = thread::spawn({
            let (state, stop) = (state.clone(), stop.clone());
            move || recycle(flags, &tell, &state, &stop)
        });
        let mut pool = Recycled { state, flags: Vec::new(), stop, thread: Some(thread) };
        pool.flags = told.recv().context("the recycling thread ended")??;
        Ok(pool)
    }

    /// A chunk, or nothing: it never waits.
    pub fn grant(&self, bytes: usize) -> Option<Granted> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = state.grant(bytes);
        state.refused += u64::from(granted.is_none());
        granted
    }

    /// The names of all flags.
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// How many requests were refused.
    pub fn refused(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused
    }
}

impl State {
    fn grant(&mut self, bytes: usize) -> Option<Granted> {
        let flag = self.idle_flags.pop()?;
        let Some(run) = self.runs.cut(bytes) else {
            self.idle_flags.push(flag);
            return None;
        };
        self.busy.push((run, flag));
        Some(Granted { offset: run.offset, flag })
    }

    /// Looks at the flag of every chunk that is out.
    fn scan(&mut self, flags: &[Flag]) {
        for (run, flag) in std::mem::take(&mut self.busy) {
            // A flag that cannot be read stays lowered, as for a consumer that never comes.
            if flags[flag].take_if_raised(1.0).unwrap_or(false) {
                self.runs.join(run);
                self.idle_flags.push(flag);
            } else {
                self.busy.push((run, flag));
            }
        }
    }
}

impl Drop for Recycled {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// The thread: it makes the flags, tells their names, and looks at them until it is stopped.
fn recycle(
    flags: usize,
    tell: &Sender<Result<Vec<String>>>,
    state: &Mutex<State>,
    stop: &AtomicBool,
) {
    let flags: Vec<Flag> = match (0..flags).map(|_| Flag::create()).collect() {
        Ok(flags) => flags,
        Err(error) => {
            // If nobody listens any more, nobody wants to know.
            let _ = tell.send(Err(error));
            return;
        }
    };
    let _ = tell.send(Ok(flags.iter().map(|flag| flag.name().to_owned()).collect()));
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(SCAN_EVERY);
        state.lock().unwrap_or_else(PoisonError::into_inner).scan(&flags);
    }
}

#[cfg(test)]
mod tests {
    use super::super::flag::{FlagLock, acknowledge};
    use super::*;

    #[test]
    fn chunks_come_back_only_by_a_scan_after_their_acknowledgement() {
        let pool = Recycled::new(100, 4).unwrap();
        let lock = FlagLock::create().unwrap();
        let first = pool.grant(60).unwrap();
        let second = pool.grant(40).unwrap();
        assert_ne!(first.flag, second.flag);
        assert_eq!((pool.grant(1), pool.refused()), (None, 1));
        acknowledge(&pool.flags()[second.flag], lock.path()).unwrap();
        let granted = loop {
            match pool.grant(40) {
                Some(granted) => break granted,
                None => thread::yield_now(),
            }
        };
        assert_eq!(granted.offset, second.offset);
        assert_eq!(pool.grant(1), None, "the first was not acknowledged");
    }

    #[test]
    fn as_many_chunks_are_out_as_there_are_flags() {
        let pool = Recycled::new(100, 1).unwrap();
        assert!(pool.grant(10).is_some());
        assert_eq!(pool.grant(10), None);
    }
}
