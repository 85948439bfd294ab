//! Names for what a run puts into the shared-memory folder, and taking all of it away again.
//!
//! Every name begins with `bench-<pid>-shm`. Owners remove what they made when they are dropped; what
//! a killed child or a signal leaves is swept by prefix, and so is what a killed run left before.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use shm_core::{Stream, StreamConfig};

/// Where the C library puts shared memory.
pub const FOLDER: &str = "/dev/shm";

/// Tells the names of this package from those of other programs called `bench`.
const MARK: &str = "shm";

/// A name that nothing else has: of this process, and new at each call.
pub fn name(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bench-{}-{MARK}{number}-{what}", process::id())
}

/// Sweeps when it is made and when it is dropped, and if a signal ends the process before that.
#[derive(Debug)]
pub struct Sweeper(());

impl Sweeper {
    /// Removes what dead runs left and stands by for the end of this one.
    pub fn stand_by() -> Result<Sweeper> {
        sweep();
        ctrlc::set_handler(|| {
            sweep();
            process::exit(130);
        })
        .context("could not prepare for being interrupted")?;
        Ok(Sweeper(()))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        sweep();
    }
}

/// Removes the files of this process and of runs that are dead.
fn sweep() {
    remove(|file| owner(file).is_some_and(is_swept));
}

/// Removes whatever bears a name that [`name`] gave, or begins with it.
pub fn sweep_name(name: &str) {
    remove(|file| owner(file) == Some(process::id()) && file.starts_with(name));
}

/// Removes files and folders in the shared-memory folder and in the one for temporary files. What
/// cannot be removed stays: there is nobody to tell.
fn remove(is_meant: impl Fn(&str) -> bool) {
    for folder in [Path::new(FOLDER), &std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.filter_map(std::result::Result::ok) {
            let name = entry.file_name();
            if name.to_str().is_some_and(&is_meant) {
                let path = entry.path();
                let _ =
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        }
    }
}

fn is_swept(pid: u32) -> bool {
    pid == process::id() || !Path::new(&format!("/proc/{pid}")).exists()
}

/// The process that a file of ours belongs to: `bench-<pid>-shm…`, or `shm.<uid>.bench-<pid>-shm…`
/// for a stream.
fn owner(file: &str) -> Option<u32> {
    let name = match file.strip_prefix("shm.") {
        Some(stream) => stream.split_once('.')?.1,
        None => file,
    };
    let (pid, rest) = name.strip_prefix("bench-")?.split_once('-')?;
    rest.starts_with(MARK).then(|| pid.parse().ok())?
}

/// A stream that is unlinked when this is dropped.
#[derive(Debug)]
pub struct ScratchStream(Stream);

impl ScratchStream {
    /// Creates a stream under a new name.
    pub fn create(what: &str, config: &StreamConfig) -> Result<ScratchStream> {
        let name = name(what);
        Stream::create(&name, config)
            .map(ScratchStream)
            .with_context(|| format!("could not create the stream {name}"))
    }
}

impl Deref for ScratchStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl Drop for ScratchStream {
    fn drop(&mut self) {
        // The sweep at the end takes what stays.
        let _ = self.0.unlink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_new_each_time_and_lead_back_to_their_owner() {
        let (first, second) = (name("a"), name("a"));
        assert_ne!(first, second);
        assert_eq!(owner(&first), Some(process::id()));
        assert_eq!(owner(&format!("shm.1000.{first}")), Some(process::id()));
    }

    #[test]
    fn what_others_made_has_no_owner_here() {
        for file in ["bench-", "bench-x-shm1", "shm.1000.camera", "bench-1-x", "sem.bench-1-shm"] {
            assert_eq!(owner(file), None, "{file}");
        }
    }

    #[test]
    fn sweeping_a_name_takes_what_begins_with_it_and_nothing_else() {
        let (gone, stays) = (name("test-gone"), name("test-stays"));
        let path = |file: String| Path::new(FOLDER).join(file);
        let (gone_too, stays_path) = (path(format!("{gone}_part")), path(stays));
        fs::write(&gone_too, b"x").unwrap();
        fs::write(&stays_path, b"x").unwrap();
        let folder = std::env::temp_dir().join(&gone);
        fs::create_dir_all(folder.join("inside")).unwrap();
        sweep_name(&gone);
        let left = (gone_too.exists(), folder.exists(), stays_path.exists());
        fs::remove_file(stays_path).unwrap();
        assert_eq!(left, (false, false, true));
    }

    #[test]
    fn only_own_and_dead_are_swept() {
        assert!(is_swept(process::id()));
        assert!(!is_swept(1));
        assert!(is_swept(u32::MAX));
    }
}
