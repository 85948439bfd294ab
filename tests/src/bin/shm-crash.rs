//! Kills processes for as many rounds as asked for, and says whether anything broke.

use clap::Parser;
use shm_tests::rounds::{Outcome, Plan, run, run_pools};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Kills writers, readers and waiters of streams, then producers, consumers and owners of pools, at
/// named points and at random instants, round by round, and checks after each that nothing is torn,
/// lost or leaked, and that everybody else goes on. Half of the rounds are played on streams.
#[derive(Debug, Parser)]
#[command(name = "shm-crash")]
struct Arguments {
    /// How many rounds to play.
    #[arg(long, default_value_t = 1000)]
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
    let (streams, pools) = (rounds.div_ceil(2), rounds / 2);
    let mut told: Option<Instant> = None;
    let mut tell = |before: u64, outcome: &Outcome<'_>| {
        let (round, scenario, bytes) = (before + outcome.round, outcome.scenario, outcome.len);
        if let Some(failure) = outcome.failure {
            println!("round {round}/{rounds} {scenario} ({bytes} B) FAILED: {failure}");
        } else if told.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) || round == rounds {
            println!("round {round}/{rounds} {scenario} ({bytes} B) ok");
            told = Some(Instant::now());
        }
    };
    let summary = run(Plan { rounds: streams, seed }, |outcome| tell(0, outcome));
    let summary = summary.and_then(|mut summary| {
        if pools > 0 {
            let plan = Plan { rounds: pools, seed };
            summary.add(run_pools(plan, |outcome| tell(streams, outcome))?);
        }
        Ok(summary)
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
