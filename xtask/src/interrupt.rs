//! Ctrl-C, for the programs that a task begins.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

/// What a shell reports of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Lets Ctrl-C end this program and those that it begins. A shell has what it runs in the background ignore
/// it, programs inherit that, and tests in which one is interrupted would wait for ever. A signal that is
/// handled here is as it was at first in every program that is begun.
pub fn is_heard() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(
        signal_hook::consts::SIGINT,
        INTERRUPTED,
        always,
    )
    .context("Ctrl-C cannot be caught")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The signals that a program ignores, as the kernel shows them.
    fn ignored(program: &mut Command) -> u64 {
        let status = program.args(["-c", "cat /proc/self/status"]).output().unwrap();
        let text = String::from_utf8(status.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    }

    #[test]
    fn programs_hear_ctrl_c_again() {
        is_heard().unwrap();
        let bit = 1_u64 << (signal_hook::consts::SIGINT - 1);
        assert_eq!(ignored(&mut Command::new("sh")) & bit, 0);
    }
}
