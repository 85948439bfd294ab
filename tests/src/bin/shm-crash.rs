//! Kills processes for as many rounds as asked for, and says whether anything broke.

use clap::Parser;
use shm_tests::rounds::{Plan, run};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Kills writers, readers and waiters at named points and at random instants, round by round, and
/// checks after each that no frame is torn, none is lost, and the next writer goes on.
#[derive(Debug, Parser)]
#[command(name = "shm-crash")]
struct Arguments {
    /// How many rounds to play.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Repeats the choices of an earlier run; the instants themselves stay random.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("peer") {
        shm_tests::serve();
        return ExitCode::SUCCESS;
    }
    let Arguments { rounds, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: {seed}");
    let mut told: Option<Instant> = None;
    let summary = run(Plan { rounds, seed }, |outcome| {
        let (round, scenario, bytes) = (outcome.round, outcome.scenario, outcome.frame_len);
        if let Some(failure) = outcome.failure {
            println!("round {round}/{rounds} {scenario} ({bytes} B frames) FAILED: {failure}");
        } else if told.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) || round == rounds {
            println!("round {round}/{rounds} {scenario} ({bytes} B frames) ok");
            told = Some(Instant::now());
        }
    });
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => {
            eprintln!("cannot begin: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "rounds: {}, failures: {}, torn: {}, killed: {}, published: {}, verified: {}, leftovers: {}",
        summary.rounds,
        summary.failures.len(),
        summary.torn,
        summary.killed,
        summary.published,
        summary.verified,
        summary.leftovers,
    );
    for failure in &summary.failures {
        println!("  {failure}");
    }
    match summary.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
