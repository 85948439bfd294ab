//! `cargo xtask demo`: real pictures flow between real processes while one of them is killed.
//!
//! The task itself only gathers pictures and starts the demo proper, built in release with the
//! feature `demo`. There, `live` plays the piece: it starts one publisher and several viewers as
//! processes of their own, kills the publisher in the middle of a frame, starts another, and says
//! at the end what was proven.

#[cfg(feature = "demo")]
pub mod live;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::flags::DemoArgs;
use crate::setup::photos::{self, Photos};
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
    Ok(Launch::Ready(release_build(workspace, args, &pictures)))
}

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
