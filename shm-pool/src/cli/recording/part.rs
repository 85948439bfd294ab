//! A file that is being written: under a name of its own beside its target, which it takes when it is
//! complete. Whoever looks at the target sees the old file, none, or the whole new one.

use crate::cli::exit::{Exit, Failure};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

/// How much room is asked for at a time.
const STEP: u64 = 4 << 20;
/// How much is collected before it is written.
const HELD_BACK: usize = 8 << 10;

/// A file on its way. Dropped before [`PartFile::publish`], it is removed.
pub(super) struct PartFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
    /// Bytes for which the file system has promised room; the most there are if it promises nothing.
    reserved: u64,
}

impl PartFile {
    /// An empty file beside `target`.
    pub(super) fn beside(target: &Path) -> Result<PartFile, Failure> {
        match open_new(target) {
            Ok((file, path)) => Ok(PartFile { file, path, target: target.to_owned(), reserved: 0 }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::new(
                Exit::NotFound,
                format!("{}: there is no such folder", target.display()),
                "make the folder first",
            )),
            Err(error) => {
                Err(Failure::system(&format!("write beside {}", target.display()), &error))
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes from the beginning. Where no room can be reserved nothing is held back, so that a frame that
    /// does not fit is noticed with that frame.
    pub(super) fn writer(&mut self) -> io::Result<BufWriter<File>> {
        self.reserve(1)?;
        let held_back = if self.reserved == u64::MAX { 0 } else { HELD_BACK };
        Ok(BufWriter::with_capacity(held_back, self.file.try_clone()?))
    }

    /// Makes sure that the first `len` bytes can be written, where the file system can promise that.
    ///
    /// # Errors
    /// That there is no room, before a byte was written in vain.
    pub(super) fn reserve(&mut self, len: u64) -> io::Result<()> {
        if len <= self.reserved && self.reserved < u64::MAX {
            return Ok(());
        }
        let most = longest();
        if len > most {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if self.reserved == u64::MAX {
            return Ok(());
        }
        let roomy = len.saturating_add(STEP).min(most);
        self.reserved = match allocate(&self.file, roomy) {
            Ok(()) => roomy,
            Err(error) if is_unsupported(&error) => u64::MAX,
            // Less may be had, down to what this frame needs.
            Err(_) => allocate(&self.file, len).map(|()| len)?,
        };
        Ok(())
    }

    /// Cuts the file to `len`, which also gives back what was reserved and not used.
    pub(super) fn cut(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// The file takes the name of its target: in place of a file that is there if `replace`.
    ///
    /// # Errors
    /// If there is a file by now and it shall not be replaced; this one is kept under its own name then.
    pub(super) fn publish(mut self, replace: bool) -> Result<(), Failure> {
        let (path, target) = (std::mem::take(&mut self.path), self.target.clone());
        let kept = |error: io::Error| {
            let doing = format!("name {} {}", path.display(), target.display());
            Failure {
                hint: "the first of the two is complete".into(),
                ..Failure::system(&doing, &error)
            }
        };
        self.file.sync_all().map_err(kept)?;
        if replace {
            return fs::rename(&path, &target).map_err(kept);
        }
        match fs::hard_link(&path, &target) {
            Ok(()) => fs::remove_file(&path).map_err(kept),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(kept(error)),
            // A file system without links.
            Err(_) if !target.exists() => fs::rename(&path, &target).map_err(kept),
            Err(error) => Err(kept(error)),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that nobody has: a process of the same number may have been killed here, or be at work in another
/// container.
fn open_new(target: &Path) -> io::Result<(File, PathBuf)> {
    let mut ending = format!(".{}.part", std::process::id());
    for attempt in 1..=100 {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(&ending);
        let path = target.with_file_name(name);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                ending = format!(".{}-{attempt}.part", std::process::id());
            }
            result => return result.map(|file| (file, path)),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, len: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len)?)
}

/// How long this process may make a file: past that, the system would end it.
#[cfg(target_os = "linux")]
fn longest() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX)
}

#[cfg(not(target_os = "linux"))]
fn longest() -> u64 {
    u64::MAX
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _len: u64) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput)
}
