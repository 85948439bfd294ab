//! `cargo xtask demo`: real pictures flow between real processes while one of them is killed, and
//! are looked at by a model on an inference server.
//!
//! The task itself only gathers pictures and starts the demo proper, built in release with the
//! feature `demo`. There, `live` plays the piece: it starts one publisher and several viewers as
//! processes of their own, kills the publisher in the middle of a frame, starts another, and says
//! at the end what was proven. Then it starts an inference server and a worker that has the server
//! look for text in the newest frame, again and again, and compares every answer.

#[cfg(feature = "demo")]
pub mod live;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::flags::{DemoArgs, TritonArgs, TritonFetchArgs, TritonTask};
use crate::process;
use crate::serve;
use crate::setup::photos::{self, Photos};
use crate::triton::{self, Fetched};
use crate::workspace::Workspace;

/// Gathers the pictures and becomes the demo.
pub fn task(workspace: &Workspace, args: &DemoArgs) -> Result<ExitCode> {
    match prepare(workspace, args)? {
        Launch::Ready(mut command) => {
            // Replacing this process leaves nobody in between to mishandle Ctrl-C.
            Err(command.exec()).context("could not start the demo's release build")
        }
        Launch::NoPictures(why) => bail!("the demo has no pictures to show: {why}"),
    }
}

/// Whether the demo can start.
pub enum Launch {
    Ready(Command),
    /// Why there is nothing to show and what to do.
    NoPictures(String),
}

/// Gathers the pictures and returns the command that is the demo.
pub fn prepare(workspace: &Workspace, args: &DemoArgs) -> Result<Launch> {
    let pictures = match &args.input {
        // Said before the release build, which takes a minute in a fresh clone.
        Some(folder) => folder.canonicalize().with_context(|| {
            format!("{} cannot be shown; give a folder with PNG or JPEG pictures", folder.display())
        })?,
        None => match photos::ensure(workspace)? {
            Photos::Ready { folder, .. } => folder,
            Photos::Skipped(why) => return Ok(Launch::NoPictures(why)),
        },
    };
    let mut command = release_build(workspace, args, &pictures);
    match detector(workspace) {
        Ok(file) => {
            let programs = serve::build(workspace, true)?;
            command.arg("--zoo").arg(programs).arg("--detector").arg(file);
            if args.triton {
                command.arg("--triton").arg(real_server(workspace)?);
            }
        }
        Err(why) if args.triton => return Err(why),
        Err(why) => println!("SKIPPED: the act with the inference server: {why:#}"),
    }
    Ok(Launch::Ready(command))
}

/// Fetches the model of the second act, unless it is there.
fn detector(workspace: &Workspace) -> Result<PathBuf> {
    match triton::detector::ensure(workspace)? {
        Fetched::Ready(_) => serve::detector_file(workspace),
        Fetched::Skipped(why) => serve::detector_file(workspace).context(why),
    }
}

/// Fetches a real server with the detector and builds the program that starts it.
fn real_server(workspace: &Workspace) -> Result<PathBuf> {
    let fetch = TritonFetchArgs { python: true, perf_analyzer: false };
    let fetched = triton::task(workspace, &TritonArgs { task: TritonTask::Fetch(fetch) })?;
    ensure!(fetched == ExitCode::SUCCESS, "there is no real server; the lines above say why");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "shm-tests", "--bin", REAL_SERVER]);
    process::watch_all(&mut build)?.expect_success(&build)?;
    Ok(workspace.target_dir().join("release").join(REAL_SERVER))
}

/// Starts a real server and ends with whoever started it.
const REAL_SERVER: &str = "shm-triton-server";

/// How many frames the demo verified, from the line of its summary that says so.
pub fn verified_frames(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(VERIFIED)?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}

/// What stands before the number of verified frames in the summary.
pub const VERIFIED: &str = "frames verified:";

fn release_build(workspace: &Workspace, args: &DemoArgs, pictures: &Path) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["run", "--release", "--package", "xtask"])
        .args(["--features", "demo", "--", "demo-inner"])
        .arg("--photos")
        .arg(pictures)
        .arg("--seconds")
        .arg(args.seconds.to_string())
        .arg("--viewers")
        .arg(args.viewers.to_string());
    if args.plain || !crate::progress::interactive() {
        command.arg("--plain");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_verified_frames_is_found_in_the_summary() {
        assert_eq!(verified_frames("  frames verified: 12,345 of 12,345"), Some(12_345));
        assert_eq!(verified_frames("frames verified: none"), None);
        assert_eq!(verified_frames("3 frames"), None);
    }
}
