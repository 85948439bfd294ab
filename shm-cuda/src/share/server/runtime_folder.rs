//! The folder of a socket: whose it is, and who may write to it.
//!
//! Upholds invariant 9: nothing is put, or taken away, where another user could have changed it.

use super::BindError;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, lstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::env;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Bytes of a path that a socket can have, less those of the name it is bound under at first.
const LONGEST: usize = 107 - super::claim::DRAFT.len();

/// The path of a service by its name, in the user's runtime folder, which is made if it is missing.
///
/// The folder is `shm-share` in `$XDG_RUNTIME_DIR` if that is a folder of this user, else
/// `/tmp/shm-share-<uid>`; its mode is 0700. Names consist of letters, digits, `.`, `_` and `-`, and do not
/// begin with a dot.
pub fn socket_path(name: &str) -> Result<PathBuf, BindError> {
    let folder = runtime_folder();
    let path = folder.join(format!("{name}.sock"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(BindError::Unsafe {
            path,
            expected: "a name of letters, digits, '.', '_' and '-' that begins with no dot".into(),
            found: format!("{name:?}"),
        });
    }
    check_length(&path)?;
    match mkdirat(CWD, &folder, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(BindError::system("mkdir", &folder, error)),
    }
    let found = Folder::open(&folder)?.stat(&folder)?;
    if found.st_mode & 0o077 != 0 {
        return Err(BindError::Unsafe {
            path: folder,
            expected: "a folder of mode 0700; chmod it".into(),
            found: format!("mode {:04o}", found.st_mode & 0o7777),
        });
    }
    Ok(path)
}

fn runtime_folder() -> PathBuf {
    let user = geteuid().as_raw();
    let is_ours = |folder: &PathBuf| {
        folder.is_absolute()
            && lstat(folder).is_ok_and(|found| {
                FileType::from_raw_mode(found.st_mode) == FileType::Directory
                    && found.st_uid == user
            })
    };
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_ours) {
        Some(folder) => folder.join("shm-share"),
        None => PathBuf::from(format!("/tmp/shm-share-{user}")),
    }
}

/// The folder that a socket is in.
pub(super) fn of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Refuses a folder in which others could put, or take away, a socket.
pub(super) fn check(folder: &Path) -> Result<(), BindError> {
    let found = Folder::open(folder)?.stat(folder)?;
    let user = geteuid().as_raw();
    let wrong = if found.st_uid != user {
        Some((format!("a folder of user {user}"), format!("one of user {}", found.st_uid)))
    } else if found.st_mode & 0o022 != 0 {
        let mode = found.st_mode & 0o7777;
        Some(("a folder that only its owner can write to".into(), format!("mode {mode:04o}")))
    } else {
        None
    };
    match wrong {
        Some((expected, found)) => {
            Err(BindError::Unsafe { path: folder.to_owned(), expected, found })
        }
        None => Ok(()),
    }
}

/// Refuses a path that is too long for a socket.
pub(super) fn check_length(path: &Path) -> Result<(), BindError> {
    let len = path.as_os_str().len();
    if len <= LONGEST {
        return Ok(());
    }
    Err(BindError::Unsafe {
        path: path.to_owned(),
        expected: format!("a path of at most {LONGEST} bytes"),
        found: format!("{len} bytes"),
    })
}

struct Folder(OwnedFd);

impl Folder {
    /// Opens it for its properties only, and never through a link.
    fn open(folder: &Path) -> Result<Folder, BindError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(CWD, folder, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Folder(descriptor)),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(BindError::Unsafe {
                path: folder.to_owned(),
                expected: "a folder".into(),
                found: "a symbolic link or a file".into(),
            }),
            Err(error) => Err(BindError::system("open", folder, error)),
        }
    }

    fn stat(&self, folder: &Path) -> Result<Stat, BindError> {
        fstat(&self.0).map_err(|error| BindError::system("fstat", folder, error))
    }
}
