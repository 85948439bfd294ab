//! `cargo xtask crash`: processes are killed at every fault point, again and again; in one half of the
//! rounds those of streams, in the other those of pools, queues and stores.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::flags::CrashArgs;
use crate::process::{self, Finished, Origin};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Runs the rounds and says how many there were.
pub fn task(workspace: &Workspace, args: &CrashArgs) -> Result<ExitCode> {
    let mut command = command(workspace, args)?;
    let finished = run(&mut command, args.rounds)?;
    finished.expect_success(&command)?;
    let rounds = rounds_played(&finished.shown);
    if rounds != args.rounds {
        bail!("{rounds} rounds were played, {} were asked for; see the lines above", args.rounds);
    }
    println!("crash: {rounds} rounds survived");
    Ok(ExitCode::SUCCESS)
}

/// The command that runs the rounds.
pub fn command(workspace: &Workspace, args: &CrashArgs) -> Result<Command> {
    let package = workspace.package("shm-tests")?;
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--package", "shm-tests"]);
    if package.features.contains_key("testing") {
        command.args(["--features", "testing"]);
    }
    command.args(["--bin", "shm-crash", "--", "--rounds"]).arg(args.rounds.to_string());
    Ok(command)
}

/// Runs the command with a bar that follows the rounds.
pub fn run(command: &mut Command, rounds: u64) -> Result<Finished> {
    let progress = Progress::counted(&process::describe(command), rounds);
    process::watch(command, progress, |progress, origin, line| {
        if origin == Origin::Stdout
            && let Some(round) = round_told(line)
        {
            progress.position(round);
        }
        Some(line.to_owned())
    })
}

/// How many rounds the program says it played, in the line that ends its run.
pub fn rounds_played(lines: &[String]) -> u64 {
    lines.iter().rev().find_map(|line| number_after(line, "rounds: ")).unwrap_or(0)
}

/// The round that a line of progress tells of. Not every round has such a line.
fn round_told(line: &str) -> Option<u64> {
    number_after(line, "round ")
}

fn number_after(line: &str, words: &str) -> Option<u64> {
    let rest = line.strip_prefix(words)?;
    let end = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_read_from_the_last_line_that_counts_them() {
        let lines = [
            "seed: 7",
            "round 1/30 writer-at-point (64 B) ok",
            "round 30/30 pool-owner (2048 B) ok",
            "rounds: 30, failures: 0, torn: 0",
        ]
        .map(str::to_owned);
        assert_eq!(round_told(&lines[1]), Some(1));
        assert_eq!(round_told(&lines[3]), None);
        assert_eq!(rounds_played(&lines), 30);
    }

    #[test]
    fn a_run_that_was_cut_off_played_none() {
        let lines = ["seed: 7", "round 1/30 ok", "rounds: many"].map(str::to_owned);
        assert_eq!(rounds_played(&lines), 0);
    }
}
