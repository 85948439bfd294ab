//! `shm fsck`: every cell and slot, and what is wrong.
//!
//! Upholds invariants 1 (what the dead left half done is told apart from damage) and 2 (whatever is in a
//! segment, it is told, not trusted).

mod pools;
mod streams;

use super::arguments::FsckArgs;
use super::exit::{Exit, Failure};
use super::output::{Output, printable};
use super::subject::{Flaw, Subject, SubjectKind, Unreadable};
use pools::PoolCheck;
use serde::Serialize;
use shm_core::OpenError;
use streams::StreamRow;

pub(crate) fn run(args: &FsckArgs, output: &Output) -> Result<Exit, Failure> {
    let segments = match args.names.is_empty() {
        true => all(args.repair)?,
        false => named(&args.names, args.repair)?,
    };
    let report = Report::of(segments);
    output.result(&report, || report.text())?;
    Ok(if report.clean { Exit::Done } else { Exit::Findings })
}

#[derive(Serialize)]
struct Report {
    clean: bool,
    problems: usize,
    notes: usize,
    segments: Vec<Verdict>,
}

/// What one segment is like.
#[derive(Serialize)]
struct Verdict {
    name: String,
    kind: String,
    /// Damage, and what others trip over.
    problems: Vec<String>,
    /// Traces that do no harm.
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<StreamRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<PoolCheck>,
}

/// Checks those segments. One that is not there at all is a failure: nothing else is checked then.
fn named(names: &[String], repair: bool) -> Result<Vec<Verdict>, Failure> {
    let found: Vec<Result<Subject, Verdict>> = names
        .iter()
        .map(|name| match shm_core::stat(name) {
            Ok(info) => Ok(Ok(info.into())),
            Err(error @ (OpenError::NotFound { .. } | OpenError::Name(_))) => Err(error.into()),
            Err(error) => {
                let flaw = Flaw::of(&error).label().to_lowercase();
                Ok(Err(Verdict::refused(name, &flaw, &error)))
            }
        })
        .collect::<Result<_, Failure>>()?;
    let checked = |found: Result<Subject, Verdict>| match found {
        // Went away meanwhile: whoever named it wants to know.
        Ok(subject) => Verdict::of(&subject, repair).map_err(Failure::from),
        Err(verdict) => Ok(verdict),
    };
    found.into_iter().map(checked).collect()
}

/// Checks what there is. What goes away meanwhile is left out.
fn all(repair: bool) -> Result<Vec<Verdict>, Failure> {
    let segments = Subject::all("")?;
    let mut verdicts: Vec<Verdict> =
        segments.iter().filter_map(|subject| Verdict::of(subject, repair).ok()).collect();
    verdicts.extend(Unreadable::all("")?.into_iter().map(Verdict::from));
    Ok(verdicts)
}

impl Verdict {
    /// Fails only if there is no such segment any more.
    fn of(subject: &Subject, repair: bool) -> Result<Verdict, OpenError> {
        let mut verdict = Verdict::new(&subject.name, subject.kind.label());
        let outcome = match (subject.header_kind.as_str(), subject.kind) {
            ("stream", _) => StreamRow::of(&subject.name).map(|mut row| {
                verdict.problems = std::mem::take(&mut row.problems);
                verdict.notes = std::mem::take(&mut row.notes);
                verdict.stream = Some(row);
            }),
            ("pool", _) => PoolCheck::of(&subject.name, repair).map(|mut check| {
                verdict.problems = std::mem::take(&mut check.problems);
                verdict.notes = std::mem::take(&mut check.notes);
                verdict.pool = Some(check);
            }),
            (kind, _) => {
                let note = format!("a {kind} of another library: only its header was checked");
                verdict.notes.push(note);
                Ok(())
            }
        };
        match outcome {
            Ok(()) => Ok(verdict),
            Err(error @ OpenError::NotFound { .. }) => Err(error),
            Err(error) => {
                let kind = match subject.kind {
                    SubjectKind::Other => &subject.header_kind,
                    kind => kind.label(),
                };
                Ok(Verdict::refused(&subject.name, kind, &error))
            }
        }
    }

    fn refused(name: &str, kind: &str, error: &OpenError) -> Verdict {
        Verdict { problems: vec![error.to_string()], ..Verdict::new(name, kind) }
    }

    fn new(name: &str, kind: &str) -> Verdict {
        Verdict {
            name: name.to_owned(),
            kind: kind.to_owned(),
            problems: Vec::new(),
            notes: Vec::new(),
            stream: None,
            pool: None,
        }
    }

    fn text(&self) -> String {
        let (name, kind) = (printable(&self.name), printable(&self.kind));
        let state = if self.problems.is_empty() { "ok" } else { "PROBLEMS" };
        let summary = match (&self.stream, &self.pool) {
            (Some(stream), _) => stream.summary(),
            (_, Some(pool)) => pool.summary(),
            _ => String::new(),
        };
        let mut text = match summary.as_str() {
            "" => format!("{name}  {state}  ({kind})\n"),
            summary => format!("{name}  {state}  ({kind}; {summary})\n"),
        };
        let repaired = self.pool.as_ref().and_then(|pool| pool.repaired.as_ref());
        if let Some(repaired) = repaired.and_then(|repaired| repaired.text()) {
            text.push_str(&format!("  repaired: {repaired}\n"));
        }
        for problem in &self.problems {
            text.push_str(&format!("  problem: {}\n", printable(problem)));
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {}\n", printable(note)));
        }
        text
    }

    /// What giving back what the dead had may cure.
    fn is_repairable(&self) -> bool {
        let unrepaired = |pool: &PoolCheck| pool.repaired.is_none();
        self.pool.as_ref().is_some_and(unrepaired)
            && self.problems.iter().any(|problem| problem.ends_with("reap"))
    }
}

impl From<Unreadable> for Verdict {
    fn from(file: Unreadable) -> Verdict {
        let (name, state) = (file.called().to_owned(), file.state);
        let mut verdict = Verdict::new(&name, &state.label().to_lowercase());
        match state {
            // Nobody opens it, and `gc` clears it away.
            Flaw::Draft => verdict.notes.push(file.reason),
            _ => verdict.problems.push(file.reason),
        }
        verdict
    }
}

impl Report {
    fn of(segments: Vec<Verdict>) -> Report {
        let problems = segments.iter().map(|one| one.problems.len()).sum();
        let notes = segments.iter().map(|one| one.notes.len()).sum();
        Report { clean: problems == 0, problems, notes, segments }
    }

    fn text(&self) -> String {
        let mut text: String = self.segments.iter().map(Verdict::text).collect();
        let number = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        text.push_str(&format!(
            "{} checked: {}, {}\n",
            number(self.segments.len(), "segment"),
            number(self.problems, "problem"),
            number(self.notes, "note"),
        ));
        let repairable = self.segments.iter().filter(|one| one.is_repairable());
        let names: Vec<String> = repairable.map(|one| printable(&one.name)).collect();
        if !names.is_empty() {
            let names = names.join(" ");
            text.push_str(&format!("`shm fsck --repair {names}` gives back what the dead had\n"));
        }
        text
    }
}
