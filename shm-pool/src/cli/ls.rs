//! `shm ls`: what there is, one line each.
//!
//! Upholds invariant 4: it reads headers and attaches to nothing.

use super::arguments::LsArgs;
use super::exit::{Exit, Failure};
use super::output::{Output, Table, printable};
use super::subject::{FOLDER, Subject, SubjectKind, Unreadable, bytes, elapsed, process};
use serde::Serialize;

pub(crate) fn run(args: &LsArgs, output: &Output) -> Result<Exit, Failure> {
    let listing = Listing::of(&args.prefix)?;
    output.result(&listing, || listing.text(&args.prefix))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Listing {
    segments: Vec<Subject>,
    /// Files that are no segments any more, or not yet.
    damaged: Vec<Unreadable>,
    totals: Totals,
}

#[derive(Serialize)]
struct Totals {
    segments: usize,
    damaged: usize,
    /// Lengths of the files.
    bytes: u64,
    allocated_bytes: u64,
    /// Of the file system that segments live in.
    free_bytes: Option<u64>,
    capacity_bytes: Option<u64>,
}

impl Listing {
    fn of(prefix: &str) -> Result<Listing, Failure> {
        let (segments, damaged) = (Subject::all(prefix)?, Unreadable::all(prefix)?);
        let sum = |of_segment: fn(&Subject) -> u64, of_file: fn(&Unreadable) -> u64| {
            let segments = segments.iter().map(of_segment).sum::<u64>();
            segments.saturating_add(damaged.iter().map(of_file).sum())
        };
        let space = rustix::fs::statvfs(FOLDER).ok();
        let totals = Totals {
            segments: segments.len(),
            damaged: damaged.len(),
            bytes: sum(|one| one.bytes, |one| one.bytes),
            allocated_bytes: sum(|one| one.allocated_bytes, |one| one.allocated_bytes),
            free_bytes: space.as_ref().map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            capacity_bytes: space.map(|space| space.f_blocks.saturating_mul(space.f_frsize)),
        };
        Ok(Listing { segments, damaged, totals })
    }

    fn text(&self, prefix: &str) -> String {
        let mut text = match (self.segments.is_empty() && self.damaged.is_empty(), prefix) {
            (false, _) => self.table().to_string(),
            (true, "") => "no segments of this user\n".to_owned(),
            (true, _) => format!("no segments whose names begin with '{}'\n", printable(prefix)),
        };
        for one in &self.damaged {
            text.push_str(&format!(
                "{} {}: {}\n",
                one.state.label(),
                one.path,
                printable(&one.reason)
            ));
        }
        text.push_str(&self.totals.text());
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "NAME",
            "KIND",
            "CARRIES",
            ">SIZE",
            ">ALLOCATED",
            ">USES",
            ">ATTACHED",
            "WRITER",
            ">AGE",
        ]);
        for subject in &self.segments {
            table.row([
                subject.name.clone(),
                kind(subject),
                subject.carries(),
                bytes(subject.bytes),
                bytes(subject.allocated_bytes),
                subject.uses().to_string(),
                attached(subject),
                subject.writer().unwrap_or_default(),
                elapsed(subject.age()),
            ]);
        }
        for file in &self.damaged {
            let (size, allocated) = (bytes(file.bytes), bytes(file.allocated_bytes));
            table.row([file.called(), file.state.label(), "see below", &size, &allocated]);
        }
        table
    }
}

impl Totals {
    fn text(&self) -> String {
        let number = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let mut text = number(self.segments, "segment");
        if self.damaged > 0 {
            text.push_str(&format!(", {}", number(self.damaged, "damaged file")));
        }
        text.push_str(&format!(", {} allocated", bytes(self.allocated_bytes)));
        if let (Some(free), Some(capacity)) = (self.free_bytes, self.capacity_bytes) {
            text.push_str(&format!("; {} of {} free in {FOLDER}", bytes(free), bytes(capacity)));
        }
        text
    }
}

fn kind(subject: &Subject) -> String {
    match subject.kind {
        SubjectKind::Other => subject.header_kind.clone(),
        kind => kind.label().to_owned(),
    }
}

/// How many handles; those that may write nothing at all are not counted by anybody.
fn attached(subject: &Subject) -> String {
    match (subject.holders.len(), subject.attached) {
        (0, true) => "yes".to_owned(),
        (0, false) => "-".to_owned(),
        (handles, _) => handles.to_string(),
    }
}

impl Subject {
    /// Who has the writer lock of a stream: `4711 (camera)`.
    pub(crate) fn writer(&self) -> Option<String> {
        let pid = u32::try_from(self.counter("writer_pid")).ok().filter(|&pid| pid != 0)?;
        let name = || self.holders.iter().find(|holder| holder.pid == pid)?.process.as_deref();
        self.writer_locked.then(|| process(pid, name()))
    }
}
