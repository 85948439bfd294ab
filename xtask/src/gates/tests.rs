//! The gates that run the code.

use anyhow::{Context, Result};

use super::gate::{Report, Verdict};
use crate::demo::{self, Launch};
use crate::flags::{CrashArgs, DemoArgs, LoomArgs};
use crate::process;
use crate::test_run::{self, TestRun};
use crate::workspace::Workspace;
use crate::{bench, crash, cuda, loom};

pub fn workspace(workspace: &Workspace) -> Result<Report> {
    let mut command = workspace.cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    // For the examples of the READMEs; tests choose for themselves.
    command.env(cuda::DRIVER_VARIABLE, cuda::simulated_driver(workspace, cuda::Profile::Debug)?);
    let features = workspace.test_features();
    if !features.is_empty() {
        command.args(["--features", &features]);
    }
    let run = test_run::run(&mut command)?;
    Ok(report_of(process::describe(&command), "tests", &run))
}

pub fn loom(workspace: &Workspace, args: &LoomArgs) -> Result<Report> {
    let run = loom::run(workspace, args)?;
    let ran = format!("cargo xtask loom --max-preemptions {}", args.max_preemptions);
    Ok(report_of(ran, "models", &run))
}

pub fn crash(workspace: &Workspace, args: &CrashArgs) -> Result<Report> {
    let mut command = crash::command(workspace, args)?;
    let finished = crash::run(&mut command, args.rounds)?;
    let rounds = crash::rounds_played(&finished.shown);
    let ran = format!("cargo xtask crash --rounds {}", args.rounds);
    Ok(Report::check(ran, rounds, "rounds")
        .failing_if(!finished.status.success() || rounds != args.rounds, || {
            format!("{rounds} of {} rounds were played, then {}", args.rounds, finished.status)
        }))
}

pub fn demo(workspace: &Workspace) -> Result<Report> {
    let args = DemoArgs { seconds: 6, plain: true, input: None, viewers: 3, triton: false };
    let ran = format!("cargo xtask demo --seconds {} --plain", args.seconds);
    let mut command = match demo::prepare(workspace, &args)? {
        Launch::Ready(command) => command,
        Launch::NoPictures(why) => return Ok(Report::skipped(ran, why)),
    };
    let finished = process::watch_all(&mut command)?;
    let verified = finished.shown.iter().find_map(|line| demo::verified_frames(line)).unwrap_or(0);
    Ok(Report::check(ran, verified, "frames").failing_if(!finished.status.success(), || {
        format!("the demo ended with {}; its lines above say why", finished.status)
    }))
}

pub fn bench(workspace: &Workspace, suite: &str) -> Result<Report> {
    let folder = workspace.target_dir().join("bench-smoke");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("could not create {}", folder.display()))?;
    let file = folder.join(format!("{suite}.json"));
    // Rows of an earlier run must not count for this one.
    if file.exists() {
        std::fs::remove_file(&file)
            .with_context(|| format!("could not remove {}", file.display()))?;
    }
    let mut command = bench::command(workspace, suite, Some(&file), true)?;
    let finished = process::watch_all(&mut command)?;
    let ran = format!("cargo xtask bench {suite} --quick --json FILE");
    if !finished.status.success() {
        return Ok(Report::check(ran, 0, "rows")
            .failing_if(true, || format!("the suite ended with {}", finished.status)));
    }
    Ok(Report::check(ran, bench::rows(&file)?, "rows"))
}

/// What a run of tests comes to.
pub fn report_of(ran: String, unit: &'static str, run: &TestRun) -> Report {
    let counts = run.counts;
    let mut report = Report::check(ran, counts.ran(), unit).with_tests(counts);
    if counts.failed > 0 {
        report.verdict = Verdict::Failed(format!(
            "{} of {} failed in {} programs",
            counts.failed,
            counts.ran(),
            run.programs
        ));
    } else if !run.status.success() {
        // A crash or a compile error leaves no result line behind.
        report.verdict = Verdict::Failed(format!(
            "no test failed, but cargo ended with {}: a program crashed or did not compile",
            run.status
        ));
    }
    report
}
