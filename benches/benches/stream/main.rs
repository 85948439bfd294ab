//! `cargo bench -p shm-benches --bench stream`: publishing and reading, side by side with the
//! physical limits and with iceoryx2.

mod iceoryx;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use shm_benches::child::Role;
use shm_benches::flags::Flags;
use shm_benches::measure::{Cores, Plan};
use shm_benches::run::{Measured, Suite, run};
use shm_benches::suites::{GROUPS, ROLES, Setting};

use iceoryx::Iceoryx;

fn main() -> ExitCode {
    let roles: Vec<Role> = ROLES.into_iter().chain([iceoryx::ECHO]).collect();
    run(&Suite { roles: &roles, measure: &measure })
}

/// A group that fails takes no other with it: one run shows everything that can be measured.
fn measure(flags: &Flags) -> Result<Measured> {
    let setting = Setting {
        plan: Plan { quick: flags.quick },
        cores: Cores::choose()?,
        peer: Some(&Iceoryx),
    };
    let mut rows = Vec::new();
    let mut failed = 0;
    for group in GROUPS.iter().filter(|group| flags.wants(group.name)) {
        let begun = Instant::now();
        match (group.run)(&setting) {
            Ok(measured) => {
                let seconds = begun.elapsed().as_secs_f64();
                eprintln!("{}: {} rows in {seconds:.1} s", group.name, measured.len());
                rows.extend(measured);
            }
            Err(error) => {
                failed += 1;
                eprintln!("{}: could not be measured: {error:#}", group.name);
            }
        }
    }
    Ok(Measured { rows, failed })
}
