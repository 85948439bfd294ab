//! Running the server for a person, or for a program that is not of this workspace.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::{DETECTOR, Fetched, PYTHON_MODELS, SERVER, folder};
use crate::flags::TritonRunArgs;
use crate::process;
use crate::workspace::Workspace;

/// Fetches what is missing, builds, starts, and waits for the end. The program in between is of
/// the tests, which start servers in the same way; it ends with this process, however that ends,
/// and the server with it.
pub fn task(workspace: &Workspace, args: &TritonRunArgs) -> Result<ExitCode> {
    let mut parts = vec![SERVER];
    if args.python {
        parts.extend([DETECTOR, PYTHON_MODELS]);
    }
    for (what, ensure) in parts {
        if let Fetched::Skipped(why) = ensure(workspace)? {
            println!("SKIPPED: {what}: {why}");
            return Ok(ExitCode::FAILURE);
        }
    }
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--package", PACKAGE, "--bin", PROGRAM]);
    process::watch_all(&mut build)?.expect_success(&build)?;
    // Not by `cargo run`: the program watches its parent, which must be this process.
    let mut run = Command::new(workspace.target_dir().join("debug").join(PROGRAM));
    run.env("SHM_TRITON_SERVER", folder(workspace));
    run.arg("--seconds").arg(args.seconds.to_string());
    for (flag, port) in [("--http-port", args.http_port), ("--grpc-port", args.grpc_port)] {
        if let Some(port) = port {
            run.arg(flag).arg(port.to_string());
        }
    }
    if let Some(path) = &args.http_unix {
        run.arg("--http-unix").arg(path);
    }
    if args.python {
        run.arg("--python");
    }
    let status =
        run.status().with_context(|| format!("could not start `{}`", process::describe(&run)))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const PACKAGE: &str = "shm-tests";
const PROGRAM: &str = "shm-triton-server";
