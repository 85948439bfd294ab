//! `cargo xtask bench all`: every suite, one after the other, into one file and its pictures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value, json};

use super::report::Report;
use super::{rows, suites};
use crate::flags::Suite;
use crate::workspace::Workspace;

/// Where a full run goes. A quick one stays out of the tree: its figures are not for quoting.
const RUN: &str = "benches/results/run.json";

/// Runs the suites one after the other: two at a time would measure each other. One that fails does not
/// stop the others, and makes the command fail at the end.
pub(super) fn run(workspace: &Workspace, out: Option<&Path>, quick: bool) -> Result<ExitCode> {
    let folder = workspace.target_dir().join("bench-all");
    make(&folder)?;
    let out = match out {
        Some(file) => std::path::absolute(file)?,
        None if quick => folder.join("run.json"),
        None => workspace.root().join(RUN),
    };
    let pictures = out.parent().unwrap_or(Path::new(".")).to_owned();
    make(&pictures)?;
    // Before the long part: what cannot be built shall not be noticed at its end.
    let report = Report::build(workspace)?;

    let began =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let outcomes = outcomes(&suites(Suite::All), &folder, |suite, file| {
        super::run(workspace, suite, Some(file), quick)
            .map_err(|error| anyhow!(without(workspace.root(), &format!("{error:#}"))))
    })?;
    let outcome = json!({
        "command": if quick { "cargo xtask bench all --quick" } else { "cargo xtask bench all" },
        "began": began.as_secs(),
        "quick": quick,
        "suites": outcomes,
    });
    report.join(&outcome, &out)?;
    report.draw(&out, &pictures)?;
    println!("bench: all suites in {}, its pictures beside it", out.display());
    if !quick {
        let named = if out == workspace.root().join(RUN) {
            String::new()
        } else {
            format!("{} ", out.display())
        };
        println!(
            "bench: `cargo xtask bench tables {named}--write` writes the tables of README.md and \
             benches/RESULTS.md"
        );
    }
    let failed: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| outcome["failed"].is_string()).collect();
    for (suite, outcome) in &failed {
        println!("FAILED {suite}: {}", outcome["failed"].as_str().unwrap_or_default());
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs each suite with a file of its own, and tells what came of it.
fn outcomes(
    suites: &[&str],
    folder: &Path,
    mut run: impl FnMut(&str, &Path) -> Result<()>,
) -> Result<Map<String, Value>> {
    let mut outcomes = Map::new();
    for suite in suites {
        let file = folder.join(format!("{suite}.json"));
        // The report of an earlier run must not count for this one.
        if file.exists() {
            fs::remove_file(&file)
                .with_context(|| format!("could not remove {}", file.display()))?;
        }
        let begun = Instant::now();
        let failed = run(suite, &file).err().map(|error| format!("{error:#}"));
        if let Some(why) = &failed {
            println!("FAILED {suite}: {why}");
        }
        // A suite of which a part failed has written the rest.
        let report: Option<PathBuf> = (failed.is_none() || rows(&file).is_ok()).then_some(file);
        let outcome = json!({
            "file": report,
            "failed": failed,
            "seconds": begun.elapsed().as_secs_f64(),
        });
        outcomes.insert((*suite).to_owned(), outcome);
    }
    Ok(outcomes)
}

/// The file tells of the workspace, not of the folder where one person keeps it.
fn without(root: &Path, why: &str) -> String {
    why.replace(&*root.to_string_lossy(), ".")
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    const REPORT: &str = "{\"rows\":[{}]}";

    #[test]
    fn a_suite_that_fails_is_told_and_stops_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut ran = Vec::new();
        let outcomes = outcomes(&["a", "b", "c", "d"], folder.path(), |suite, file| {
            ran.push(suite.to_owned());
            match suite {
                "b" => bail!("no driver"),
                "c" => {
                    fs::write(file, REPORT)?;
                    bail!("one group failed")
                }
                _ => Ok(fs::write(file, REPORT)?),
            }
        })
        .unwrap();
        assert_eq!(ran, ["a", "b", "c", "d"]);
        assert!(outcomes["a"]["failed"].is_null() && outcomes["a"]["file"].is_string());
        assert_eq!(outcomes["b"]["failed"], "no driver");
        assert!(outcomes["b"]["file"].is_null());
        assert!(outcomes["c"]["file"].is_string(), "what it could measure is kept");
        assert!(outcomes["d"]["seconds"].as_f64().unwrap() >= 0.0);
    }

    #[test]
    fn a_reason_names_no_folder_of_one_person() {
        let why = without(Path::new("/where/it/is"), "`/where/it/is/.venv/bin/python` failed");
        assert_eq!(why, "`./.venv/bin/python` failed");
    }

    #[test]
    fn the_report_of_an_earlier_run_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), REPORT).unwrap();
        let outcomes = outcomes(&["a"], folder.path(), |_, _| bail!("ended early")).unwrap();
        assert!(outcomes["a"]["file"].is_null());
    }
}
