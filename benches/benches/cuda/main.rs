//! `cargo bench -p shm-benches --bench cuda`: device streams, pools and imports beside the bare calls of
//! the driver: on a GPU, or, host-side cost only, on the simulated driver.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_benches::cuda::run()
}
