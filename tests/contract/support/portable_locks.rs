//! The lock files of the portable backing: one empty file per locked byte, in the home directory.

use super::name::Name;
use std::path::PathBuf;

/// The lock files that exist for a name.
pub(crate) fn of(name: &Name) -> Vec<PathBuf> {
    let Some(home) = std::env::home_dir() else { return Vec::new() };
    let Ok(files) = std::fs::read_dir(home.join(".shm-core-locks")) else { return Vec::new() };
    let stem = format!("{}@", name.path().file_name().expect("a file name").to_string_lossy());
    let own = |path: &PathBuf| {
        path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&stem))
    };
    files.flatten().map(|file| file.path()).filter(own).collect()
}

/// Removes them, so that a suite leaves nothing behind whatever it found.
pub(crate) fn remove(name: &Name) {
    for path in of(name) {
        // Somebody else may have removed it meanwhile.
        let _ = std::fs::remove_file(path);
    }
}
