//! The acknowledgement: a float32 in a file of its own, raised by one under the host's one lock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::limits::Mapping;
use crate::scratch;

/// Bytes of a flag.
const FLAG_LEN: usize = 4;

/// A flag, owned by the producer.
#[derive(Debug)]
pub struct Flag(Mapping);

impl Flag {
    /// Makes a flag in a file of its own.
    pub fn create() -> Result<Flag> {
        Ok(Flag(Mapping::create("flag", FLAG_LEN)?))
    }

    /// The name by which consumers find it.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether so many consumers have acknowledged; if so, the flag is zero again. As there, this
    /// takes no lock.
    pub fn take_if_raised(&self, consumers: f32) -> Result<bool> {
        let word = self.0.half_word(0)?;
        let raised = f32::from_bits(word.load(Ordering::Acquire)) >= consumers;
        if raised {
            word.store(0.0_f32.to_bits(), Ordering::Release);
        }
        Ok(raised)
    }
}

/// The file whose lock every acknowledgement takes; removed when this is dropped.
#[derive(Debug)]
pub struct FlagLock(PathBuf);

impl FlagLock {
    /// Makes the file, in the folder for temporary files.
    pub fn create() -> Result<FlagLock> {
        let path = std::env::temp_dir().join(scratch::name("flag-lock"));
        File::create(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(FlagLock(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for FlagLock {
    fn drop(&mut self) {
        // The sweep at the end takes what stays.
        let _ = fs::remove_file(&self.0);
    }
}

/// What a consumer does for every chunk: attach to the flag, open the lock file twice, lock, add
/// one, unlock, close everything.
pub fn acknowledge(flag: &str, lock: &Path) -> Result<()> {
    let mapping = Mapping::open(flag)?;
    let word = mapping.half_word(0)?;
    let open = || {
        let file = File::options().read(true).write(true).open(lock);
        file.with_context(|| format!("could not open {}", lock.display()))
    };
    // It is opened once to make sure that it exists and once to lock it.
    drop(open()?);
    let locked = open()?;
    flock(&locked, FlockOperation::LockExclusive).context("could not lock the flags")?;
    let raised = f32::from_bits(word.load(Ordering::Acquire)) + 1.0;
    word.store(raised.to_bits(), Ordering::Release);
    flock(&locked, FlockOperation::Unlock).context("could not unlock the flags")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_raised_by_acknowledgements_and_taken_once() {
        let (flag, lock) = (Flag::create().unwrap(), FlagLock::create().unwrap());
        acknowledge(flag.name(), lock.path()).unwrap();
        assert!(!flag.take_if_raised(2.0).unwrap());
        acknowledge(flag.name(), lock.path()).unwrap();
        assert!(flag.take_if_raised(2.0).unwrap());
        assert!(!flag.take_if_raised(1.0).unwrap());
        let path = lock.path().to_owned();
        drop(lock);
        assert!(!path.exists());
        assert!(acknowledge(flag.name(), &path).is_err());
    }
}
