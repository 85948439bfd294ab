//! The program `shm`: looks at shared memory, shows it, keeps it, and cleans up.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(shm_pool::cli::run(std::env::args_os()))
}
