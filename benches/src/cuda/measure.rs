//! From the command line to the table.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;

use super::flags::CudaFlags;
use super::place::{Access, Place};
use super::report::Report;
use super::{Group, device, host};
use crate::child::{self, Role};
use crate::limits;
use crate::measure::{Cores, Plan};
use crate::report::{Header, write_json};
use crate::run::{Measured, measure_each};
use crate::scratch::Sweeper;

/// What the children of these groups can be told to do.
const ROLES: [Role; 4] =
    [limits::FUTEX_SLEEPER, host::IMPORTER, device::SLEEPING_READER, device::TAKING_CONSUMER];

const NO_GPU: &str = "No GPU was available: the GPU rows have not been run";

/// Plays a child's role if this process is one; else measures, prints and writes the rows.
pub fn run() -> ExitCode {
    match try_run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_run() -> Result<()> {
    let flags = CudaFlags::parse();
    if let (Some(role), Some(orders)) = (&flags.common.child, &flags.common.orders) {
        return child::play(&ROLES, role, orders).with_context(|| format!("child {role}"));
    }
    let sweeper = Sweeper::stand_by()?;
    let (report, failed) = measure(&flags)?;
    drop(sweeper);
    if report.rows.is_empty() && failed == 0 {
        bail!("nothing was measured; is `{}` a group?", flags.common.only.unwrap_or_default());
    }
    println!("{}", report.text());
    if let Some(file) = &flags.common.json {
        write_json(&report, file)?;
    }
    if failed > 0 {
        bail!("{failed} groups could not be measured; their messages stand above");
    }
    Ok(())
}

fn measure(flags: &CudaFlags) -> Result<(Report, usize)> {
    // Before anything pins this process to one processor.
    let header = Header::here(flags.common.quick);
    let access = Access::new(flags.sim.as_deref())?;
    let driver = access.described()?;
    let plan = Plan { quick: flags.common.quick };
    let place = Place { plan, cores: Cores::choose()?, simulated: driver.simulated, access };
    let groups = |groups: &[Group]| {
        let groups = groups.iter().map(|group| (group.name, || (group.run)(&place)));
        measure_each(groups, &flags.common)
    };
    let Measured { mut rows, mut failed } = groups(&host::GROUPS);
    let gpu_skipped = match place.simulated {
        false => {
            let more = groups(&device::GROUPS);
            rows.extend(more.rows);
            failed += more.failed;
            None
        }
        true if plan.quick => {
            let thrown_away = groups(&device::GROUPS);
            failed += thrown_away.failed;
            let rehearsed = thrown_away.rows.len();
            Some(format!("{NO_GPU}; {rehearsed} were rehearsed on sim, their figures thrown away"))
        }
        true => Some(NO_GPU.to_owned()),
    };
    let (python, python_skipped) = python(flags)?;
    Ok((Report { header, driver, gpu_skipped, python, python_skipped, rows }, failed))
}

/// What the script in Python wrote, or why there is nothing.
fn python(flags: &CudaFlags) -> Result<(Option<Value>, Option<String>)> {
    let Some(file) = &flags.python else {
        let why =
            "needs a GPU and PyTorch: run benches/py/cuda.py --json FILE, give FILE as --python";
        return Ok((None, Some(why.to_owned())));
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let told: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    match told["skipped"].as_str().map(str::to_owned) {
        Some(why) => Ok((None, Some(why))),
        None => Ok((Some(told), None)),
    }
}
