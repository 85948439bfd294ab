//! `cargo bench -p shm-benches --bench stream`: publishing and reading, side by side with the
//! physical limits and with iceoryx2.

mod iceoryx;

use std::process::ExitCode;

use anyhow::Result;
use shm_benches::child::Role;
use shm_benches::flags::Flags;
use shm_benches::measure::{Cores, Plan};
use shm_benches::run::{Measured, Suite, run};
use shm_benches::suites::{GROUPS, ROLES, Setting, measure_groups};

use iceoryx::Iceoryx;

fn main() -> ExitCode {
    let roles: Vec<Role> = ROLES.into_iter().chain([iceoryx::ECHO]).collect();
    run(&Suite { roles: &roles, measure: &measure })
}

fn measure(flags: &Flags) -> Result<Measured> {
    let setting = Setting {
        plan: Plan { quick: flags.quick },
        cores: Cores::choose()?,
        peer: Some(&Iceoryx),
    };
    Ok(measure_groups(&GROUPS, &setting, flags))
}
