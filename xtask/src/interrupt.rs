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

    const IN_THE_BACKGROUND: &str = "XTASK_TEST_IGNORES_INTERRUPTS";

    /// Whether programs that are begun now ignore Ctrl-C, as the kernel shows it.
    fn is_ignored() -> bool {
        let status = Command::new("cat").arg("/proc/self/status").output().unwrap();
        let text = String::from_utf8(status.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(line.trim(), 16).unwrap();
        ignored & (1 << (signal_hook::consts::SIGINT - 1)) != 0
    }

    /// Runs itself as a shell runs what is in the background.
    #[test]
    fn programs_hear_ctrl_c_again() {
        if std::env::var_os(IN_THE_BACKGROUND).is_some() {
            assert!(is_ignored(), "the shell should have seen to that");
            is_heard().unwrap();
            assert!(!is_ignored());
            return;
        }
        let output = Command::new("sh")
            .args(["-c", "trap '' INT; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "interrupt::tests::programs_hear_ctrl_c_again"])
            .env(IN_THE_BACKGROUND, "1")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }
}
