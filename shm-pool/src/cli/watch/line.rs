//! The lines of `shm watch`: as text under a heading, or as JSON with a key `line` that says which.

use super::super::exit::Failure;
use super::super::output::Output;
use super::pool::PoolLine;
use super::stream::StreamLine;
use super::totals::Summary;
use serde::Serialize;
use std::time::Duration;

/// A heading again after so many lines.
const PAGE: u64 = 20;

/// One line; in JSON an object whose key `line` is `stream`, `pool`, `gone`, `replaced` or `summary`.
#[derive(Debug, Serialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub(crate) enum Line {
    Stream(StreamLine),
    Pool(PoolLine),
    /// The name is gone.
    Gone(Lost),
    /// The name leads to another segment now.
    Replaced(Lost),
    Summary(Summary),
}

/// A segment that has lost its name; in JSON the keys of the lines `gone` and `replaced`.
#[derive(Debug, Serialize)]
pub(crate) struct Lost {
    /// When, nanoseconds since 1970 UTC.
    pub(crate) time_ns: u64,
    pub(crate) name: String,
    /// What happened, in words.
    pub(crate) what: String,
    /// Frames that its last interval had, and what this watcher saw of them.
    pub(crate) frames: u64,
    pub(crate) seen: u64,
    pub(crate) missed: u64,
}

/// Prints lines, and headings where they make sense.
pub(crate) struct Printer<'a> {
    output: &'a Output,
    heading: String,
    lines: u64,
}

impl Printer<'_> {
    pub(crate) fn new(output: &Output) -> Printer<'_> {
        Printer { output, heading: String::new(), lines: 0 }
    }

    pub(crate) fn print(&mut self, line: &Line) -> Result<(), Failure> {
        let heading = line.heading();
        let is_due = heading.is_some() && (heading != self.heading() || self.lines >= PAGE);
        self.lines = if is_due { 1 } else { self.lines + 1 };
        self.output.line(line, || match (&heading, is_due) {
            (Some(heading), true) => format!("{heading}\n{}", line.text()),
            _ => line.text(),
        })?;
        if let Some(heading) = heading {
            self.heading = heading;
        }
        Ok(())
    }

    fn heading(&self) -> Option<String> {
        (!self.heading.is_empty()).then(|| self.heading.clone())
    }
}

impl Line {
    fn heading(&self) -> Option<String> {
        let columns = match self {
            Line::Stream(_) => StreamLine::header(),
            Line::Pool(pool) => PoolLine::header(pool.store.is_some()),
            _ => return None,
        };
        Some(format!("{:<8}  {columns}", "UTC"))
    }

    fn text(&self) -> String {
        match self {
            Line::Stream(stream) => format!("{}  {}", time(stream.time_ns), stream.text()),
            Line::Pool(pool) => format!("{}  {}", time(pool.time_ns), pool.text()),
            Line::Gone(lost) | Line::Replaced(lost) => {
                format!("{}  {}", time(lost.time_ns), lost.what)
            }
            Line::Summary(summary) => summary.text(),
        }
    }
}

/// `07:12:01`.
pub(crate) fn time(wall_ns: u64) -> String {
    let seconds = Duration::from_nanos(wall_ns).as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        assert_eq!(time(0), "00:00:00");
        assert_eq!(time(1_700_000_000_000_000_000), "22:13:20");
    }
}
