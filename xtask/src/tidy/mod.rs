//! `cargo xtask tidy`: the rules of this repository that no other tool knows.
//!
//! Each rule is a module with a `check`; a rule that looked at nothing fails, because a gate
//! that checks nothing must not be green.

mod file_size;
mod layers;
mod lib_root;
mod module_tree;
mod names;
mod sources;
mod tokens;
mod unfinished;
mod unsafe_code;
mod unsafe_files;
mod words;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::workspace::Workspace;
use sources::Sources;

/// Checks every rule and prints what it found.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    let report = run(workspace)?;
    Ok(if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How the rules went.
pub struct TidyReport {
    pub rules: u64,
    pub files: u64,
    pub failures: u64,
    pub warnings: u64,
}

/// Checks every rule, prints its findings and counts them.
pub fn run(workspace: &Workspace) -> Result<TidyReport> {
    let sources = Sources::load(workspace.root(), workspace.target_dir())?;
    let targets = module_tree::targets(workspace.packages());
    let edges = layers::edges(workspace.packages());
    let outcomes = [
        file_size::check(&sources),
        names::check(&sources),
        module_tree::check(&sources, &targets),
        lib_root::check(&sources, &targets),
        unsafe_code::check(&sources, unsafe_files::UNSAFE_FILES),
        unfinished::check(&sources),
        words::check(&sources),
        layers::check(&layers::members(workspace.packages()), &edges),
    ];
    let mut report = TidyReport {
        rules: outcomes.len() as u64,
        files: sources.files.len() as u64,
        failures: 0,
        warnings: 0,
    };
    for outcome in &outcomes {
        for finding in &outcome.findings {
            match finding.severity {
                Severity::Fails => report.failures += 1,
                Severity::Warns => report.warnings += 1,
            }
            println!("{finding} [{}]", outcome.rule);
        }
        if outcome.looked_at == 0 {
            report.failures += 1;
            println!(
                "error: the rule looked at no {}, so it proves nothing [{}]",
                outcome.unit, outcome.rule
            );
        }
        println!("tidy: {:<12} {:>4} {}", outcome.rule, outcome.looked_at, outcome.unit);
    }
    println!(
        "tidy: {} rules over {} files: {} errors, {} warnings",
        report.rules, report.files, report.failures, report.warnings
    );
    Ok(report)
}

/// What one rule found.
struct Outcome {
    rule: &'static str,
    looked_at: usize,
    unit: &'static str,
    findings: Vec<Finding>,
}

#[cfg(test)]
impl Outcome {
    /// The files and lines that were found.
    fn places(&self) -> Vec<(&str, Option<usize>)> {
        self.findings
            .iter()
            .map(|finding| (finding.place.to_str().unwrap(), finding.line))
            .collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Fails,
    Warns,
}

/// One place that breaks a rule.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    place: PathBuf,
    line: Option<usize>,
    message: String,
}

impl Finding {
    fn fails(place: impl Into<PathBuf>, line: impl Into<Option<usize>>, message: String) -> Self {
        Self { severity: Severity::Fails, place: place.into(), line: line.into(), message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fails => "error",
            Severity::Warns => "warning",
        };
        write!(f, "{severity}: {}", self.place.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}
