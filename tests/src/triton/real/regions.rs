//! The shared memory of the server's own Python backend, which a killed server leaves behind.

use rustix::process::{Pid, test_kill_process};
use std::{fs, io};

/// The regions of one server: its files have a name that no other server uses.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    prefix: String,
}

/// How the server's own names begin, and how ours go on: with the process that started the server.
const PREFIX: &str = "triton_python_backend_shm_region_shm-tests-";
const FOLDER: &str = "/dev/shm";

impl Regions {
    /// Those of the server of that number of this process.
    pub(super) fn of_server(number: u64) -> Regions {
        Regions { prefix: format!("{PREFIX}{}-{number}-", std::process::id()) }
    }

    /// What to tell the backend.
    pub(super) fn setting(&self) -> String {
        format!("python,shm-region-prefix-name={}", self.prefix)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> io::Result<usize> {
        let ours = |entry: &fs::DirEntry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with(&self.prefix))
        };
        Ok(fs::read_dir(FOLDER)?.filter_map(Result::ok).filter(ours).count())
    }

    /// Removes them. The server must have ended.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(|name| name.starts_with(&self.prefix))
    }

    /// Removes those of every process that ended without doing so, for which its servers ended.
    pub(super) fn remove_those_of_the_dead() -> io::Result<()> {
        remove(|name| owner(name).is_some_and(|pid| test_kill_process(pid) == DEAD))
    }
}

const DEAD: Result<(), rustix::io::Errno> = Err(rustix::io::Errno::SRCH);

/// The process that started the server that made the file of that name.
fn owner(name: &str) -> Option<Pid> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(pid.parse().ok()?)
}

fn remove(which: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(FOLDER)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&which) {
            match fs::remove_file(entry.path()) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_whose_it_is() {
        let name = format!("{}5b0c-11aa", Regions::of_server(3).prefix);
        assert_eq!(owner(&name), Pid::from_raw(std::process::id() as i32));
        for name in ["triton_python_backend_shm_region_5b0c", &format!("{PREFIX}0-1-a"), PREFIX] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
