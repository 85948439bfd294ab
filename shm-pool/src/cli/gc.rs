//! `shm gc`: removes what nobody is attached to, and says what and why.
//!
//! Upholds invariants 3 (nobody is attached is what the kernel says) and 9 (the library removes, under the
//! lock of the very file).

use super::arguments::GcArgs;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};
use super::subject::{FOLDER, Flaw, Subject, Unreadable, bytes, process};
use serde::Serialize;
use shm_core::GcReport;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn run(args: &GcArgs, output: &Output) -> Result<Exit, Failure> {
    let sweep = |dry_run| {
        shm_core::gc(&args.prefix, dry_run)
            .map_err(|error| Failure::system("list shared memory", &error))
    };
    // Looked at first: what is removed tells nothing any more.
    let known: BTreeMap<String, Subject> =
        Subject::all(&args.prefix)?.into_iter().map(|one| (one.name.clone(), one)).collect();
    let planned = sweep(true)?;
    let drafts = Unreadable::of(&planned, "");
    let mut report = Report { dry_run: args.dry_run, ..Report::default() };
    match args.dry_run {
        true => report.note(&planned, &known, &drafts),
        false => {
            let swept = sweep(false)?;
            report.note(&swept, &known, &drafts);
            report.follow_up(&planned, &swept, remove);
        }
    }
    report.skipped = Unreadable::of(&planned, &args.prefix)
        .into_iter()
        .filter(|one| one.state != Flaw::Draft)
        .collect();
    output.result(&report, || report.text())?;
    Ok(if report.failed.is_empty() { Exit::Done } else { Exit::Findings })
}

#[derive(Default, Serialize)]
struct Report {
    dry_run: bool,
    removed: Vec<Removed>,
    kept: Vec<Kept>,
    /// Files that are no segments, which are never removed here.
    skipped: Vec<Unreadable>,
    /// What should have been removed and was not.
    failed: Vec<Failed>,
    freed_bytes: u64,
}

#[derive(Serialize)]
struct Removed {
    /// The segment, or the file of a draft.
    name: String,
    kind: String,
    allocated_bytes: u64,
    why: &'static str,
}

#[derive(Serialize)]
struct Kept {
    name: String,
    pids: Vec<u32>,
    why: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Failed {
    name: String,
    why: String,
}

impl Report {
    fn note(&mut self, swept: &GcReport, known: &BTreeMap<String, Subject>, drafts: &[Unreadable]) {
        self.freed_bytes = swept.bytes;
        for name in &swept.removed {
            let subject = known.get(name);
            self.removed.push(Removed {
                name: name.clone(),
                kind: subject.map_or("segment", |one| one.kind.label()).to_owned(),
                allocated_bytes: subject.map_or(0, |one| one.allocated_bytes),
                why: "nobody is attached",
            });
        }
        for file in &swept.drafts {
            let draft = drafts.iter().find(|one| one.file == *file);
            self.removed.push(Removed {
                name: file.clone(),
                kind: "draft".to_owned(),
                allocated_bytes: draft.map_or(0, |one| one.allocated_bytes),
                why: "its creator died before it was complete",
            });
        }
        for name in &swept.in_use {
            self.kept.push(Kept::of(name, known.get(name)));
        }
    }

    /// What the sweep did not remove although it could have, a moment before: it says no reasons, so each
    /// is tried once more.
    fn follow_up(
        &mut self,
        planned: &GcReport,
        swept: &GcReport,
        again: impl Fn(&str) -> Result<Outcome, String>,
    ) {
        let left = planned
            .removed
            .iter()
            .filter(|name| !swept.removed.contains(name) && !swept.in_use.contains(name));
        for name in left {
            match again(name) {
                Ok(Outcome::Gone) => {}
                Ok(Outcome::InUse) => self.kept.push(Kept::of(name, None)),
                Err(why) => self.failed.push(Failed { name: name.clone(), why }),
            }
        }
        for file in planned.drafts.iter().filter(|file| !swept.drafts.contains(file)) {
            if Path::new(FOLDER).join(file).exists() {
                let why = "the system refused to remove the draft of a dead creator".to_owned();
                self.failed.push(Failed { name: file.clone(), why });
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for one in &self.removed {
            let (name, size) = (printable(&one.name), bytes(one.allocated_bytes));
            text.push_str(&format!("{verb} {} {name}, {size}: {}\n", one.kind, one.why));
        }
        for one in &self.kept {
            text.push_str(&format!("kept {}: {}\n", printable(&one.name), one.why));
        }
        for one in &self.skipped {
            let reason = printable(&one.reason);
            text.push_str(&format!(
                "left alone {}: {reason} (if nobody needs it, remove the file by hand)\n",
                one.path
            ));
        }
        for one in &self.failed {
            let name = printable(&one.name);
            text.push_str(&format!("could not remove {name}: {}\n", one.why));
        }
        let (done, size) = (self.removed.len(), bytes(self.freed_bytes));
        match (done, self.dry_run) {
            (0, _) => text.push_str("nothing to remove"),
            (_, true) => text.push_str(&format!("{done} would be removed, {size}")),
            (_, false) => text.push_str(&format!("{done} removed, {size}")),
        }
        text
    }
}

impl Kept {
    fn of(name: &str, subject: Option<&Subject>) -> Kept {
        let holders = subject.map_or(&[][..], |one| &one.holders);
        let mut pids: Vec<u32> = holders.iter().map(|holder| holder.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        let named: Vec<String> = pids
            .iter()
            .filter_map(|pid| holders.iter().find(|holder| holder.pid == *pid))
            .map(|holder| process(holder.pid, holder.process.as_deref()))
            .collect();
        let why = match named.len() {
            0 => "somebody is attached".to_owned(),
            1 => format!("process {} is attached", printable(&named[0])),
            _ => format!("processes {} are attached", printable(&named.join(", "))),
        };
        Kept { name: name.to_owned(), pids, why }
    }
}

/// What became of a segment that the sweep passed by.
enum Outcome {
    Gone,
    InUse,
}

fn remove(name: &str) -> Result<Outcome, String> {
    match shm_core::unlink_unused(name) {
        Ok(true) => Ok(Outcome::Gone),
        Ok(false) => Ok(Outcome::InUse),
        // It went by itself, or somebody else was faster.
        Err(
            shm_core::UnlinkError::Open(shm_core::OpenError::NotFound { .. })
            | shm_core::UnlinkError::Stale { .. },
        ) => Ok(Outcome::Gone),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sweep_passed_by_is_told() {
        let mut planned = GcReport::default();
        planned.removed = ["done", "gone", "used", "stuck"].map(str::to_owned).into();
        let mut swept = GcReport::default();
        swept.removed = vec!["done".to_owned()];
        let mut report = Report::default();
        report.follow_up(&planned, &swept, |name| match name {
            "gone" => Ok(Outcome::Gone),
            "used" => Ok(Outcome::InUse),
            "stuck" => Err("another process is at it".to_owned()),
            name => panic!("{name} was removed before"),
        });
        assert_eq!(report.kept.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["used"]);
        let why = "another process is at it".to_owned();
        assert_eq!(report.failed, [Failed { name: "stuck".to_owned(), why }]);
        assert!(report.text().contains("could not remove stuck: another process is at it"));
    }
}
