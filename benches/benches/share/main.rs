//! `cargo bench -p shm-benches --bench share`: tensors that one process owns and others use, side by side
//! with a bare Unix socket between the same two processes and, where it runs, with shared-tensor.

use std::process::ExitCode;

use anyhow::Result;
use shm_benches::flags::Flags;
use shm_benches::measure::{Cores, Plan};
use shm_benches::run::{Measured, Suite, run};
use shm_benches::share::{GROUPS, ROLES};
use shm_benches::suites::{Setting, measure_groups};

fn main() -> ExitCode {
    run(&Suite { roles: &ROLES, measure: &measure })
}

fn measure(flags: &Flags) -> Result<Measured> {
    let setting =
        Setting { plan: Plan { quick: flags.quick }, cores: Cores::choose()?, peer: None };
    Ok(measure_groups(&GROUPS, &setting, flags))
}
