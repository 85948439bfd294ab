//! `cargo bench -p shm-benches --bench triton`: our client of Triton beside others, on Triton's own
//! server and on the embedded one. `cargo xtask bench triton` provides servers and clients.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use shm_benches::flags::Flags;
use shm_benches::report::write_json;
use shm_benches::scratch::Sweeper;
use shm_benches::triton::measure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let flags = Flags::parse();
    let sweeper = Sweeper::stand_by()?;
    let report = measure(&flags)?;
    drop(sweeper);
    if report.rows.is_empty() {
        bail!("nothing was measured; is `{}` a group?", flags.only.unwrap_or_default());
    }
    println!("{}", report.text());
    match &flags.json {
        Some(file) => write_json(&report, file),
        None => Ok(()),
    }
}
