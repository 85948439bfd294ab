//! Looking for what should be gone from shared memory.

use std::fs;
use std::path::PathBuf;

const ROOT: &str = "/dev/shm";

/// Files in shared memory that belong to segments whose name begins with `prefix`, or that are
/// drafts of one of the processes `pids`.
///
/// `prefix` must be of characters that a file name shows as they are: letters, digits, `-_.`.
pub fn leftovers(prefix: &str, pids: &[u32]) -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let segment = format!("shm.{uid}.{prefix}");
    let drafts: Vec<String> = pids.iter().map(|pid| format!("shm.{uid}~{pid}.")).collect();
    let ours = |file: &str| {
        file.starts_with(&segment) || drafts.iter().any(|draft| file.starts_with(draft))
    };
    let entries = fs::read_dir(ROOT).expect("shared memory can be listed");
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| ours(file))
        .map(|file| PathBuf::from(ROOT).join(file))
        .collect();
    found.sort();
    found
}
