//! `cargo bench -p shm-benches --bench pool`: lending, acknowledging and recycling, side by side with
//! the physical limits and with the pool of pymllm, modelled.

use std::process::ExitCode;

use anyhow::Result;
use shm_benches::flags::Flags;
use shm_benches::measure::{Cores, Plan};
use shm_benches::pool::{GROUPS, ROLES};
use shm_benches::run::{Measured, Suite, run};
use shm_benches::suites::{Setting, measure_groups};

fn main() -> ExitCode {
    run(&Suite { roles: &ROLES, measure: &measure })
}

fn measure(flags: &Flags) -> Result<Measured> {
    let setting =
        Setting { plan: Plan { quick: flags.quick }, cores: Cores::choose()?, peer: None };
    Ok(measure_groups(&GROUPS, &setting, flags))
}
