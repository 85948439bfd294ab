//! From the command line to the table: what the entry points of the suites share.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::child::{self, Role};
use crate::flags::Flags;
use crate::report::{Header, Report, Row, write_json};
use crate::scratch::Sweeper;

/// The rows that could be measured, and how many groups could not.
pub struct Measured<R = Row> {
    /// The rows.
    pub rows: Vec<R>,
    /// Groups whose messages stand on the standard error output.
    pub failed: usize,
}

/// A suite, as its bench target describes it.
pub struct Suite<'a> {
    /// What its children can be told to do.
    pub roles: &'a [Role],
    /// Measures the rows that the flags ask for.
    pub measure: &'a dyn Fn(&Flags) -> Result<Measured>,
}

/// Measures the groups that the flags ask for, each by its name. One that fails takes no other with it:
/// a run shows everything that can be measured.
pub fn measure_each<R, G: FnOnce() -> Result<Vec<R>>>(
    groups: impl IntoIterator<Item = (&'static str, G)>,
    flags: &Flags,
) -> Measured<R> {
    let mut rows = Vec::new();
    let mut failed = 0;
    for (name, measure) in groups.into_iter().filter(|(name, _)| flags.wants(name)) {
        let begun = Instant::now();
        match measure() {
            Ok(measured) => {
                let seconds = begun.elapsed().as_secs_f64();
                eprintln!("{name}: {} rows in {seconds:.1} s", measured.len());
                rows.extend(measured);
            }
            Err(error) => {
                failed += 1;
                eprintln!("{name}: could not be measured: {error:#}");
            }
        }
    }
    Measured { rows, failed }
}

/// Plays a child's role if this process is one; else measures, prints and writes the rows.
pub fn run(suite: &Suite<'_>) -> ExitCode {
    match try_run(suite) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(suite: &Suite<'_>) -> Result<()> {
    let flags = Flags::parse();
    if let (Some(role), Some(orders)) = (&flags.child, &flags.orders) {
        return child::play(suite.roles, role, orders).with_context(|| format!("child {role}"));
    }
    let sweeper = Sweeper::stand_by()?;
    // Before anything pins this process to one processor.
    let header = Header::here(flags.quick);
    let Measured { rows, failed } = (suite.measure)(&flags)?;
    drop(sweeper);
    let report = Report { header, rows };
    if report.rows.is_empty() && failed == 0 {
        bail!("nothing was measured; is `{}` a group?", flags.only.unwrap_or_default());
    }
    println!("{}", report.text());
    if let Some(file) = &flags.json {
        write_json(&report, file)?;
    }
    if failed > 0 {
        bail!("{failed} groups could not be measured; their messages stand above");
    }
    Ok(())
}
