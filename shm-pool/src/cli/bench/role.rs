//! The other process, from inside: reads jobs from standard input, a line each, until that is closed.

use super::broke;
use super::cores::Pinned;
use super::peer::PATIENCE;
use super::streams::{LAST, Side};
use crate::cli::exit::Failure;
use crate::{Store, Wait};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;
use shm_core::{Dtype, Reader, Stream, TensorDesc};
use std::ffi::OsString;
use std::io::Write;

/// The first argument of a process that is to play a role. Nothing that people are told of.
pub(crate) const HIDDEN: &str = "__bench-peer";

/// What it can be told to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Answer each frame of `ping` with one of `pong`, until the last.
    Echo { ping: String, pong: String, spins: bool },
    /// Sleep until a frame of `there` comes, note how long it took, and say so in `back`.
    Sleep { there: String, back: String },
    /// Put so many tensors of so many words into a store, under [`key`]s.
    Fill { store: String, tensors: usize, words: usize },
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It listens, or is set up for a job.
    Ready,
    /// The job is done; the durations that were asked for, in nanoseconds.
    Done(Vec<u64>),
    /// It could not, and why.
    Failed(String),
}

/// Does jobs until there are no more. `arguments` follow [`HIDDEN`]: the processor.
pub(crate) fn play(arguments: &[OsString]) -> u8 {
    match listen(arguments) {
        Ok(()) => 0,
        Err(failure) => {
            // Whoever started it is told why; if nobody listens, nobody has to be told.
            let _ = say(&Answer::Failed(failure.to_string()));
            failure.exit as u8
        }
    }
}

fn listen(arguments: &[OsString]) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| broke("ask to end with the bench", error))?;
    let cpu = arguments.first().and_then(|cpu| cpu.to_str()?.parse().ok());
    let cpu = cpu.ok_or_else(|| broke("begin", "expected the number of a processor"))?;
    let _pinned = Pinned::to(cpu)?;
    say(&Answer::Ready)?;
    for line in std::io::stdin().lines() {
        let line = line.map_err(|error| Failure::system("hear the bench", &error))?;
        let job = serde_json::from_str(&line).map_err(|error| broke("read a job", error))?;
        say(&Answer::Done(perform(&job)?))?;
    }
    Ok(())
}

fn perform(job: &Job) -> Result<Vec<u64>, Failure> {
    match job {
        Job::Echo { ping, pong, spins } => echo(ping, pong, *spins).map(|()| Vec::new()),
        Job::Sleep { there, back } => sleep(there, back),
        Job::Fill { store, tensors, words } => fill(store, *tensors, *words).map(|()| Vec::new()),
    }
}

fn echo(ping: &str, pong: &str, spins: bool) -> Result<(), Failure> {
    let mut side = Side::new(&Stream::open(pong)?, Reader::open(ping)?, spins)?;
    say(&Answer::Ready)?;
    loop {
        let sequence = side.receive("answering frames", || Ok(()))?;
        side.send(sequence)?;
        if sequence == LAST {
            return Ok(());
        }
    }
}

fn sleep(there: &str, back: &str) -> Result<Vec<u64>, Failure> {
    // It sleeps at once: a bench of waking measures no spinning.
    let mut side = Side::new(&Stream::open(back)?, Reader::open(there)?, false)?;
    side.sleep_at_once();
    let mut durations = Vec::new();
    say(&Answer::Ready)?;
    loop {
        let sent = side.receive("sleeping", || Ok(()))?;
        let now = monotonic_ns();
        side.send(sent)?;
        if sent == LAST {
            return Ok(durations);
        }
        durations.push(now.saturating_sub(sent));
    }
}

fn fill(store: &str, tensors: usize, words: usize) -> Result<(), Failure> {
    let store = Store::open(store).map_err(|error| broke("open the store", error))?;
    let desc =
        TensorDesc::new(Dtype::U64, &[words]).map_err(|error| broke("describe a tensor", error))?;
    say(&Answer::Ready)?;
    for tensor in 0..tensors {
        let values = vec![tensor as u64; words];
        let room = Wait::Until(PATIENCE.into());
        let stored = store.prepare_store(&key(tensor), std::slice::from_ref(&desc), room);
        let mut reserved = stored.map_err(|error| broke("reserve room in the store", error))?;
        reserved.copy_tensor(0, &values).map_err(|error| broke("fill a tensor", error))?;
        reserved.commit().map_err(|error| broke("store a tensor", error))?;
    }
    Ok(())
}

/// The key of a tensor that was put into a store.
pub(super) fn key(tensor: usize) -> [u8; 8] {
    (tensor as u64).to_le_bytes()
}

fn say(answer: &Answer) -> Result<(), Failure> {
    let line = serde_json::to_string(answer).map_err(|error| broke("write an answer", error))?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(|error| Failure::system("answer the bench", &error))
}
