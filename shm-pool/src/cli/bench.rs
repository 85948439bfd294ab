//! `shm bench`: what streams, pools and stores cost on this machine, beside the least that it could cost.
//!
//! ```text
//!   this process, processor a                         the same program again, processor b
//!  ┌──────────────────────────┐   jobs, one a line   ┌──────────────────────────┐
//!  │ rows ── rounds ── Peer ──┼─────────────────────▶│ role: answers frames,    │
//!  │   │                      │◀─────────────────────┤ sleeps, fills a store    │
//!  │   └─ bare: two threads   │   done, durations    └──────────────────────────┘
//!  └──────────────────────────┘
//! ```
//!
//! What is measured and its limit take turns in short slices, so that a slow minute of the machine is slow
//! for both. Upholds invariants 1 and 5: every wait is bounded and notices that the other process is gone,
//! and whatever way it ends, it leaves no segment behind.

mod bare;
mod cores;
mod interrupt;
mod machine;
mod peer;
mod pools;
mod report;
mod role;
mod rounds;
mod samples;
mod scratch;
mod streams;

pub(crate) use role::{HIDDEN, play};

use super::arguments::BenchArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use cores::{Cores, Pinned};
use indicatif::ProgressBar;
use interrupt::Interrupt;
use machine::Header;
use peer::Peer;
use report::{Report, Row};
use rounds::Plan;
use scratch::Scratch;
use std::ffi::OsString;

/// Measures, and prints what came out. `relaunch` is the command line that starts this program again.
pub(crate) fn run(
    args: &BenchArgs,
    output: &Output,
    relaunch: &[OsString],
) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let measured = measure(args, output, relaunch, &interrupt);
    // Nothing is left by now, so whoever ended this may have what they asked for.
    interrupt.obey()?;
    let report = measured?;
    output.result(&report, || report.text())?;
    Ok(if report.is_complete() { Exit::Done } else { Exit::Findings })
}

/// What every measurement needs.
struct Bench<'a> {
    plan: Plan,
    cores: Cores,
    scratch: Scratch,
    peer: Peer<'a>,
    interrupt: &'a Interrupt,
}

/// Some rows that are measured together.
type Group = (&'static str, fn(&mut Bench<'_>) -> Result<Vec<Row>, Failure>);

const GROUPS: [Group; 6] = [
    ("one-way latency", streams::one_way),
    ("waking a reader", streams::wake),
    ("frames of 1 MB", streams::frames_of_1mb),
    ("frames of 64 MB", streams::frames_of_64mb),
    ("lending slots", pools::cycle),
    ("retrieving from a store", pools::retrieve),
];

fn measure(
    args: &BenchArgs,
    output: &Output,
    relaunch: &[OsString],
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let header = Header::here(args.quick);
    let cores = Cores::choose()?;
    let _pinned = Pinned::to(cores.near)?;
    let peer = Peer::start(relaunch, cores.far, interrupt)?;
    let plan = Plan::new(args.quick);
    let mut bench = Bench { plan, cores, scratch: Scratch::default(), peer, interrupt };
    let mut report = Report::new(header, cores);
    let bar = match output.is_interactive() {
        true => ProgressBar::new(GROUPS.len() as u64),
        false => ProgressBar::hidden(),
    };
    for (what, group) in GROUPS {
        bar.set_message(what);
        bench.peer.now_doing(what);
        match group(&mut bench) {
            Ok(rows) => report.rows.extend(rows),
            // The others need less memory.
            Err(failure) if rounds::lacks_space(&failure) => report.leave_out(what, &failure),
            Err(failure) => return Err(failure),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(report)
}

/// A failure of the library in the middle of a measurement.
fn broke(doing: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::System, format!("could not {doing}: {error}"), "")
}
