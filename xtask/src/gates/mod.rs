//! `cargo xtask test`: the test command. Every gate runs, prints what it ran and its count, and
//! fails when it ran nothing.

mod browser;
mod checks;
mod cuda;
mod gate;
mod leftovers;
mod python;
mod tests;
mod transcript;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::flags::{CrashArgs, LoomArgs, Suite};
use crate::interrupt;
use crate::workspace::Workspace;
use gate::{Gate, Report, Verdict};
use leftovers::Leftovers;
use transcript::Transcript;

/// Runs all gates in order. A failing gate does not stop the ones after it: one run shows
/// everything that is wrong.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    interrupt::is_heard()?;
    let leftovers = Leftovers::before()?;
    let crash = CrashArgs { rounds: 10 };
    let loom = LoomArgs { max_preemptions: 2 };
    let mut gates = Gates { workspace, done: Vec::new() };
    gates.run("setup", || checks::setup(workspace));
    gates.run("fmt", || checks::fmt(workspace));
    gates.run("clippy", || checks::clippy(workspace, None));
    gates.run("clippy+", || checks::clippy(workspace, Some(&workspace.test_features())));
    gates.run("clippy alone", || checks::features(workspace));
    gates.run("tidy", || checks::tidy(workspace));
    gates.run("deny", || checks::deny(workspace));
    gates.run("test", || tests::workspace(workspace));
    gates.run("cuda (sim)", || cuda::simulated(workspace));
    gates.run("cuda (driver)", || cuda::installed(workspace));
    gates.run("browser", || browser::page(workspace));
    gates.run("python", || python::tests(workspace));
    gates.run("stubtest", || python::stubs(workspace));
    gates.run("mypy", || python::types(workspace));
    gates.run("parity", || python::parity(workspace));
    gates.run("wheel", || python::wheel(workspace));
    gates.run("rustdoc", || checks::rustdoc(workspace));
    gates.run("docs", || checks::docs(workspace));
    gates.run("loom", || tests::loom(workspace, &loom));
    gates.run("crash", || tests::crash(workspace, &crash));
    gates.run("demo", || tests::demo(workspace));
    for suite in crate::bench::suites(Suite::All) {
        gates.run(&format!("bench {suite}"), || tests::bench(workspace, suite));
    }
    gates.run("gpu bundle", || cuda::bundle(workspace));
    gates.run("package", || checks::package(workspace));
    gates.run("leftovers", || leftovers.after());
    gates.summary()
}

struct Gates<'a> {
    workspace: &'a Workspace,
    done: Vec<Gate>,
}

impl Gates<'_> {
    fn run(&mut self, name: &str, work: impl FnOnce() -> Result<Report>) {
        println!("\n=== {name}");
        let begun = Instant::now();
        let gate = Gate::judge(name, self.recorded(name, work));
        println!("=== {name}: {} in {}", gate.line(), seconds(begun.elapsed()));
        self.done.push(gate.taking(begun.elapsed()));
    }

    /// Keeps what the gate prints in a file and shows what says why it failed.
    fn recorded(&self, name: &str, work: impl FnOnce() -> Result<Report>) -> Result<Report> {
        let transcript = Transcript::begin(self.workspace, name)?;
        let outcome = work();
        let printed = transcript.end()?;
        let green =
            outcome.as_ref().is_ok_and(|report| !matches!(report.verdict, Verdict::Failed(_)));
        if !green {
            println!("{}", printed.failure());
        }
        outcome
    }

    fn summary(&self) -> Result<ExitCode> {
        println!("\n{}", gate::table(&self.done));
        for gate in &self.done {
            match &gate.verdict {
                Verdict::Failed(why) => println!("FAILED {}: {why}", gate.name),
                Verdict::Skipped(why) => println!("SKIPPED {}: {why}", gate.name),
                Verdict::Passed => {}
            }
        }
        let whole: Duration = self.done.iter().map(|gate| gate.took).sum();
        println!("{} gates in {}", self.done.len(), seconds(whole));
        let (line, green) = gate::last_line(&self.done);
        println!("{line}");
        Ok(if green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
