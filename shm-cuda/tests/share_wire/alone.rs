//! Tests that count what a whole process has run in a process of their own.

use std::process::Command;

const ROLE: &str = "SHM_SHARE_WIRE_ALONE";

/// True in the process that is to do the test `name` alone; elsewhere starts it and waits for it.
pub fn alone(name: &str) -> bool {
    if std::env::var(ROLE).is_ok_and(|role| role == name) {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} alone: {}\n{said}\n{complaints}", output.status);
    assert!(said.contains("1 passed"), "no test has the name {name}: {said}");
    false
}

/// Descriptors that this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
