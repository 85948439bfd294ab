//! `shm watch`: one segment, a line per interval.
//!
//! A stream is watched as by any reader: a thread wakes with every frame and copies none, so what it says of
//! latency is what a reader on this machine gets, and it is among the holders while it runs. A pool or a
//! store is looked into once per interval. When the name goes, or leads to another segment, a line says so,
//! and the watch goes on with whatever has the name next.
//!
//! The JSON keys are the fields of [`StreamLine`](stream::StreamLine), [`PoolLine`](pool::PoolLine),
//! [`Lost`] and [`Summary`](totals::Summary); each object names its kind in the key `line`.
//!
//! Upholds invariants 4 and 5.

mod arrivals;
mod ending;
mod line;
mod pool;
pub(crate) mod state;
mod stream;
mod totals;

pub(crate) use ending::Ending;
pub(crate) use line::time;
pub(crate) use stream::age;

use super::arguments::WatchArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::subject::{Subject, SubjectKind};
use line::{Line, Lost, Printer};
use pool::PoolWatch;
use std::time::Instant;
use stream::StreamWatch;
use totals::Totals;

pub(crate) fn run(args: &WatchArgs, output: &Output) -> Result<Exit, Failure> {
    let ending = Ending::listen()?;
    let mut watch = Watch::begin(&args.name)?;
    let mut printer = Printer::new(output);
    let mut next = Instant::now();
    let mut lines = 0;
    let has_ended = loop {
        next += args.interval;
        if ending.within(next.saturating_duration_since(Instant::now())) {
            break true;
        }
        printer.print(&watch.line()?)?;
        lines += 1;
        if args.count == Some(lines) {
            break false;
        }
        // No lines for intervals that passed while the machine, or this process, was stopped.
        let now = Instant::now();
        if now > next + args.interval {
            next = now;
        }
    };
    watch.finish()?;
    printer.print(&Line::Summary(watch.totals.summary(&args.name, watch.is_gone())))?;
    match watch.is_gone() && !has_ended {
        true => Ok(Exit::Findings),
        false => Ok(Exit::Done),
    }
}

/// A name that is watched, and what has it now.
struct Watch {
    name: String,
    target: Target,
    totals: Totals,
}

/// What a watched name leads to.
enum Target {
    Stream(Box<StreamWatch>),
    Pool(PoolWatch),
    /// Nothing, at the moment.
    Gone,
}

impl Watch {
    fn begin(name: &str) -> Result<Watch, Failure> {
        let target = Target::of(&Subject::of(name)?)?;
        Ok(Watch { name: name.to_owned(), target, totals: Totals::new()? })
    }

    fn is_gone(&self) -> bool {
        matches!(self.target, Target::Gone)
    }

    /// What happened since the last line.
    fn line(&mut self) -> Result<Line, Failure> {
        let subject = match Subject::of(&self.name) {
            Ok(subject) => subject,
            // Also what is not a segment yet: it may become one.
            Err(failure) => return self.lose(&failure),
        };
        if self.target.instance().is_none_or(|instance| instance != subject.instance) {
            return self.replace(&subject);
        }
        match &mut self.target {
            Target::Stream(stream) => {
                let (line, arrived) = stream.line(subject)?;
                self.totals.add_frames(line.frames, &arrived);
                Ok(Line::Stream(line))
            }
            Target::Pool(pool) => match pool.line(&subject) {
                Ok(line) => {
                    self.totals.add_lends(line.lends);
                    Ok(Line::Pool(line))
                }
                Err(failure) if failure.exit == Exit::NotFound => self.lose(&failure),
                Err(failure) => Err(failure),
            },
            Target::Gone => self.replace(&subject),
        }
    }

    fn lose(&mut self, failure: &Failure) -> Result<Line, Failure> {
        let waits = "waiting for the name to come back";
        let what = match failure.exit {
            Exit::NotFound => format!("'{}' is gone: unlinked; {waits}", self.name),
            _ => format!("'{}' is gone: {}; {waits}", self.name, failure.message),
        };
        let lost = self.lost(what)?;
        self.target = Target::Gone;
        Ok(Line::Gone(lost))
    }

    fn replace(&mut self, subject: &Subject) -> Result<Line, Failure> {
        let what = match self.is_gone() {
            true => format!("'{}' is there again", self.name),
            false => format!("'{}' was replaced by another segment", self.name),
        };
        let pid = subject.creator_pid;
        let lost = self.lost(format!("{what}: {} of process {pid}", subject.carries()))?;
        self.target = match Target::of(subject) {
            Err(failure) if failure.exit == Exit::NotFound => Target::Gone,
            outcome => outcome?,
        };
        Ok(Line::Replaced(lost))
    }

    /// The last interval of what had the name.
    fn lost(&mut self, what: String) -> Result<Lost, Failure> {
        let (frames, seen, missed) = self.rest()?;
        let (name, time_ns) = (self.name.clone(), shm_core::clock::wall_ns());
        Ok(Lost { time_ns, name, what, frames, seen, missed })
    }

    /// Counts in what came after the last line.
    fn finish(&mut self) -> Result<(), Failure> {
        self.rest().map(drop)
    }

    fn rest(&mut self) -> Result<(u64, u64, u64), Failure> {
        let Target::Stream(stream) = &mut self.target else { return Ok((0, 0, 0)) };
        let (frames, arrived) = stream.rest()?;
        self.totals.add_frames(frames, &arrived);
        Ok((frames, arrived.seen, arrived.missed))
    }
}

impl Target {
    fn of(subject: &Subject) -> Result<Target, Failure> {
        match subject.kind {
            SubjectKind::Stream | SubjectKind::ExternalStream => {
                Ok(Target::Stream(Box::new(StreamWatch::begin(&subject.name)?)))
            }
            SubjectKind::Other => Err(Failure::new(
                Exit::Refused,
                format!("'{}' is neither stream nor pool nor store", subject.name),
                "`shm stat` shows its counters",
            )),
            _ => Ok(Target::Pool(PoolWatch::begin(subject))),
        }
    }

    fn instance(&self) -> Option<String> {
        match self {
            Target::Stream(stream) => Some(stream.instance()),
            Target::Pool(pool) => Some(pool.instance()),
            Target::Gone => None,
        }
    }
}
