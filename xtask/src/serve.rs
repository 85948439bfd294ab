//! `cargo xtask serve`: the embedded inference server with the test models.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::flags::ServeArgs;
use crate::process;
use crate::workspace::Workspace;

/// Becomes the server, which prints `ready http=ADDRESS grpc=ADDRESS pid=PID` once it serves.
pub fn task(workspace: &Workspace, args: &ServeArgs) -> Result<ExitCode> {
    let detector = args.detector.then(|| detector_file(workspace)).transpose()?;
    let programs = build(workspace, detector.is_some())?;
    let mut server = Command::new(programs.join(SERVER));
    server.arg("--http-port").arg(args.http_port.to_string());
    server.arg("--grpc-port").arg(args.grpc_port.to_string());
    for (flag, socket) in [("--http-unix", &args.http_unix), ("--grpc-unix", &args.grpc_unix)] {
        if let Some(socket) = socket {
            server.arg(flag).arg(socket);
        }
    }
    if let Some(seconds) = args.seconds {
        server.arg("--seconds").arg(seconds.to_string());
    }
    if let Some(file) = detector {
        server.arg("--detector").arg(file);
    }
    // Replacing this process leaves nobody in between to keep signals from the server.
    Err(server.exec()).with_context(|| format!("could not start {}", programs.display()))
}

/// The server's program.
pub const SERVER: &str = "shm-zoo-serve";

/// Builds the server in release and says where its programs are. With the detector that takes
/// minutes the first time.
pub fn build(workspace: &Workspace, detector: bool) -> Result<PathBuf> {
    workspace.package("shm-zoo")?;
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "shm-zoo", "--bins"]);
    if detector {
        build.args(["--features", "onnx"]);
    }
    // Standard output belongs to the server, which says there that it is ready.
    let status = build
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("could not start `{}`", process::describe(&build)))?;
    ensure!(status.success(), "`{}` ended with {status}", process::describe(&build));
    Ok(workspace.target_dir().join("release"))
}

/// The detector's model file.
pub fn detector_file(workspace: &Workspace) -> Result<PathBuf> {
    let file = workspace.root().join(DETECTOR);
    ensure!(
        file.is_file(),
        "the detector's model file is not at {}; run `cargo xtask setup`, which provides it",
        file.display()
    );
    Ok(file)
}

/// Beside the real server, below the root and not where cargo builds: a fetched file outlives
/// what is built.
const DETECTOR: &str = "target/triton-server/detector.onnx";
