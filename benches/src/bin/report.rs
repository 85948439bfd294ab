//! `report`: what is made of the files that the suites write: pictures, tables, comparisons.
//!
//! It ends with 0, with 1 if a comparison shows that something got worse, and with 2 if the words of the
//! command or a file cannot be understood.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use shm_benches::compare::{Threshold, compare};
use shm_benches::stored::{RunOutcome, StoredRun, join, quoted};
use shm_benches::{draw, tables};

/// Pictures, tables and comparisons of runs
#[derive(Debug, Parser)]
#[command(name = "report")]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Draw a run as SVG files: one for each suite, and one of distributions
    Draw {
        /// The file of a run, or files of suites; those that are quoted if none is given
        #[arg(value_name = "RUN.json")]
        files: Vec<PathBuf>,
        /// The folder for the pictures
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The tables of README.md and benches/RESULTS.md
    Tables {
        /// The file of a run, or files of suites; those that are quoted if none is given
        #[arg(value_name = "RUN.json")]
        files: Vec<PathBuf>,
        /// Write them into the two documents in place of those that are there
        #[arg(long)]
        write: bool,
    },
    /// Compare two runs, or two reports of a suite
    Compare {
        /// What was measured before
        before: PathBuf,
        /// What was measured after
        after: PathBuf,
        /// By how much a row may be worse
        #[arg(long, value_name = "SHARE", default_value = "10%")]
        threshold: Threshold,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Compare a quick run with a full one all the same
        #[arg(long)]
        quick_too: bool,
    },
    /// Make one file of the reports that the standard input names; for `cargo xtask bench all`
    #[command(hide = true)]
    Join {
        /// The file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Flags::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Draw { files, out } => {
            for file in draw::run(&read(files)?, out)? {
                println!("{}", file.display());
            }
        }
        Task::Tables { files, write } => show_tables(&read(files)?, *write)?,
        Task::Compare { before, after, threshold, json, quick_too } => {
            let side = |file: &PathBuf| StoredRun::read(std::slice::from_ref(file));
            let comparison = compare(&side(before)?, &side(after)?, *threshold, *quick_too)?;
            ensure!(
                !comparison.rows.is_empty(),
                "{} and {} have no row in common; compare runs of the same suites",
                before.display(),
                after.display()
            );
            if *json {
                println!("{}", serde_json::to_string_pretty(&comparison)?);
            } else {
                println!("{}", comparison.text());
            }
            return Ok(ExitCode::from(u8::from(comparison.regressed())));
        }
        Task::Join { out } => join_reports(out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(files: &[PathBuf]) -> Result<StoredRun> {
    if files.is_empty() {
        return StoredRun::read(&quoted(&root().join("benches").join("results"))?);
    }
    StoredRun::read(files)
}

fn show_tables(run: &StoredRun, write: bool) -> Result<()> {
    let documents =
        [(tables::README, tables::readme(run)?), (tables::RESULTS, tables::results(run)?)];
    if !write {
        for (name, blocks) in documents {
            println!("<!-- {name} -->\n");
            blocks.iter().for_each(|block| println!("<!-- {} -->\n{}", block.command, block.text));
        }
        return Ok(());
    }
    if run.quick() {
        bail!(
            "field `header.quick` is true: figures of a quick run are not for quoting; make a full run"
        );
    }
    for (name, blocks) in documents {
        let path = root().join(name);
        let old = fs::read_to_string(&path).with_context(|| format!("could not read {name}"))?;
        let new = tables::replaced(name, &old, &blocks)?;
        fs::write(&path, new).with_context(|| format!("could not write {name}"))?;
        println!("{name}: {} blocks", blocks.len());
    }
    Ok(())
}

fn join_reports(out: &Path) -> Result<()> {
    let mut order = String::new();
    io::stdin().read_to_string(&mut order).context("could not read the standard input")?;
    let outcome: RunOutcome =
        serde_json::from_str(&order).context("the standard input names no reports")?;
    let mut text = serde_json::to_string_pretty(&join(&outcome)?)?;
    text.push('\n');
    fs::write(out, text).with_context(|| {
        format!("could not write {}; name a file in a folder that exists", out.display())
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
