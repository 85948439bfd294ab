//! `cargo bench -p shm-benches --bench copy`: every way to copy beside a bare `memcpy`.

use std::process::ExitCode;

use shm_benches::copy_suite;
use shm_benches::run::{Measured, Suite, run};

fn main() -> ExitCode {
    run(&Suite {
        roles: &[],
        measure: &|flags| Ok(Measured { rows: copy_suite::run(flags.quick), failed: 0 }),
    })
}
