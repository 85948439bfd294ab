//! A path is one server's, and a dead server's path is free.
//!
//! Upholds invariants 3 and 9. The proof that a server lives is a POSIX record lock on `<path>.lock`: the
//! kernel drops it when the process ends, however it ends, and a forked child does not inherit it. (An
//! OFD lock would stay with any child.) What is at the path is only touched under this lock:
//!
//! ```text
//!  lock held by another          → Taken by whom the kernel names
//!  lock got, nothing there       → ours
//!  lock got, no socket there     → Unsafe, left alone
//!  lock got, socket of another   → Unsafe, left alone
//!  lock got, socket refuses      → its listener is gone: unlinked, ours
//!  lock got, socket accepts      → whoever called `listen` still runs: Taken, by a program without lock
//!                                → or has ended, and a forked child of it inherited the socket: ours
//! ```
//!
//! The socket is bound under another name and renamed when it listens, so that nobody is ever refused by
//! a server that is about to begin. POSIX locks belong to a process, which has two consequences: two
//! servers of one process have to be told apart by a list in this process (`HELD`), the one global of
//! this module; and a program that opens and closes the lock file of its own server gives the lock away.
//! A rival then still finds a socket that accepts, whose listener runs, and leaves it alone.

use super::BindError;
use super::peer::Peer;
use super::runtime_folder;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::fs::{chmod, fcntl_lock, fstat, lstat, openat, rename, unlink};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{bind, connect, listen, socket_with};
use rustix::process::{Flock, FlockType, Pid, PidfdFlags, fcntl_getlk, geteuid, pidfd_open};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What a socket's name ends in until it listens. Only the holder of the lock touches that name.
pub(super) const DRAFT: &str = ".new";
const LOCK: &str = ".lock";
/// Connections that may wait to be accepted; the system has a bound of its own.
const BACKLOG: i32 = 4096;
/// How often to look again while another server comes or goes, and how long to wait in between.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Lock files that servers of this process hold, with the process, because a child inherits the list.
static HELD: Mutex<Vec<(u32, Identity)>> = Mutex::new(Vec::new());

/// A path that is this server's, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    lock_path: PathBuf,
    lock: File,
    identity: Identity,
    socket: Option<Identity>,
    owner: u32,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Claim {
    /// Takes the path, if no live server has it.
    pub(super) fn take(path: &Path) -> Result<Claim, BindError> {
        runtime_folder::check_length(path)?;
        if path.file_name().is_none() {
            return Err(unsafe_path(path, "a path that ends in a name", "one that does not"));
        }
        runtime_folder::check(runtime_folder::of(path))?;
        let lock_path = with_suffix(path, LOCK);
        let owner = std::process::id();
        // Held while the lock is taken: what threads of one process do to it is not exclusive.
        let mut held = HELD.lock();
        let (lock, identity) = take_lock(path, &lock_path, |id| held.contains(&(owner, id)))?;
        held.push((owner, identity));
        drop(held);
        // From here on the lock file is ours to put away if something fails.
        let path = path.to_owned();
        let claim = Claim { path, lock_path, lock, identity, socket: None, owner };
        clear_path(&claim.path, &claim.lock)?;
        let text = format!("{owner}\n");
        claim
            .lock
            .set_len(0)
            .and_then(|()| claim.lock.write_all_at(text.as_bytes(), 0))
            .map_err(|error| BindError::system("write", &claim.lock_path, error))?;
        Ok(claim)
    }

    /// Listens at the path; clients find the socket when it does. Where other users are let in too the
    /// mode of the socket is 0666, since a mode names no users; else it is 0600.
    pub(super) fn listen(&mut self, for_others: bool) -> Result<OwnedFd, BindError> {
        let draft = with_suffix(&self.path, DRAFT);
        let failed = |call: &'static str| {
            let draft = draft.clone();
            move |error: Errno| BindError::system(call, &draft, error)
        };
        match lstat(&draft) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("lstat")(error)),
            Ok(found) => {
                expect_own_socket(&draft, &found)?;
                unlink(&draft).map_err(failed("unlink"))?;
            }
        }
        let listener = stream_socket().map_err(failed("socket"))?;
        let address = SocketAddrUnix::new(&draft).map_err(failed("bind"))?;
        bind(&listener, &address).map_err(failed("bind"))?;
        // From here on the draft is ours to put away if something fails.
        let begun = (|| {
            let own = Mode::RUSR | Mode::WUSR;
            let all = own | Mode::RGRP | Mode::WGRP | Mode::ROTH | Mode::WOTH;
            chmod(&draft, if for_others { all } else { own }).map_err(failed("chmod"))?;
            listen(&listener, BACKLOG).map_err(failed("listen"))?;
            let identity = Identity::of(&lstat(&draft).map_err(failed("lstat"))?);
            rename(&draft, &self.path).map_err(failed("rename"))?;
            Ok(identity)
        })();
        match begun {
            Ok(identity) => self.socket = Some(identity),
            Err(error) => {
                let _ = unlink(&draft);
                return Err(error);
            }
        }
        Ok(listener)
    }

    /// Puts the socket away, if it is still this server's; the path stays claimed.
    pub(super) fn withdraw(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        if let Some(identity) = self.socket.take() {
            unlink_if(&self.path, identity);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.withdraw();
        if self.owner != std::process::id() {
            return;
        }
        let mut held = HELD.lock();
        unlink_if(&self.lock_path, self.identity);
        // The lock ends when the last field is dropped, or here already, after the name that led to it:
        // before another server of this process may take the same path.
        let _ = fcntl_lock(&self.lock, FlockOperation::NonBlockingUnlock);
        held.retain(|entry| *entry != (self.owner, self.identity));
    }
}

impl Identity {
    fn of(stat: &Stat) -> Identity {
        Identity(stat.st_dev, stat.st_ino)
    }

    fn at(path: &Path) -> Option<Identity> {
        lstat(path).ok().map(|found| Identity::of(&found))
    }
}

/// The lock file, locked, and still the one that its name leads to.
fn take_lock(
    path: &Path,
    lock_path: &Path,
    is_own: impl Fn(Identity) -> bool,
) -> Result<(File, Identity), BindError> {
    let mut last_seen = 0;
    for _ in 0..ATTEMPTS {
        // Opening and closing the file of a server of this process would drop that server's lock.
        if Identity::at(lock_path).is_some_and(&is_own) {
            return Err(BindError::Taken { path: path.to_owned(), pid: std::process::id() });
        }
        let file = open_lock(lock_path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let found =
                    fstat(&file).map_err(|error| BindError::system("fstat", lock_path, error))?;
                let identity = Identity::of(&found);
                if Identity::at(lock_path) == Some(identity) {
                    return Ok((file, identity));
                }
                // A server that ended put it away between opening and locking.
            }
            Err(Errno::AGAIN | Errno::ACCESS) => match holder(&file) {
                Some(pid) => return Err(BindError::Taken { path: path.to_owned(), pid }),
                None => {
                    last_seen = written_pid(&file).unwrap_or(last_seen);
                    thread::sleep(PAUSE);
                }
            },
            Err(error) => return Err(BindError::system("fcntl", lock_path, error)),
        }
    }
    Err(BindError::Taken { path: path.to_owned(), pid: last_seen })
}

fn open_lock(lock_path: &Path) -> Result<File, BindError> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor = match openat(CWD, lock_path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => descriptor,
        Err(Errno::LOOP) => {
            return Err(unsafe_path(lock_path, "a regular file", "a symbolic link"));
        }
        Err(Errno::ISDIR) => return Err(unsafe_path(lock_path, "a regular file", "a folder")),
        Err(Errno::NXIO) => {
            return Err(unsafe_path(lock_path, "a regular file", "a socket or pipe"));
        }
        Err(error) => return Err(BindError::system("open", lock_path, error)),
    };
    let found = fstat(&descriptor).map_err(|error| BindError::system("fstat", lock_path, error))?;
    let kind = FileType::from_raw_mode(found.st_mode);
    if kind != FileType::RegularFile {
        return Err(unsafe_path(lock_path, "a regular file", &format!("{kind:?}")));
    }
    expect_own(lock_path, &found)?;
    Ok(File::from(descriptor))
}

/// Who has the lock: the kernel's word, or in another pid namespace what is written in the file.
fn holder(file: &File) -> Option<u32> {
    let asked = Flock::from(FlockType::WriteLock);
    let found = fcntl_getlk(file, &asked).ok()??;
    match found.pid {
        Some(pid) => u32::try_from(pid.as_raw_nonzero().get()).ok(),
        None => written_pid(file),
    }
}

fn written_pid(file: &File) -> Option<u32> {
    let mut bytes = [0; 16];
    let len = file.read_at(&mut bytes, 0).ok()?;
    // The end of the line says that it is all there.
    let text = std::str::from_utf8(&bytes[..len]).ok()?;
    text.strip_suffix('\n')?.parse().ok().filter(|pid| *pid != 0)
}

/// Makes way, under the lock, for a socket at `path`.
fn clear_path(path: &Path, lock: &File) -> Result<(), BindError> {
    let found = match lstat(path) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(BindError::system("lstat", path, error)),
    };
    expect_own_socket(path, &found)?;
    let taken = |pid| Err(BindError::Taken { path: path.to_owned(), pid });
    match listener_of(path)? {
        Listener::None => {}
        Listener::Process(pid) => {
            if !has_ended(pid) {
                return taken(pid);
            }
        }
        // Too many wait to be accepted to ask; whoever held the lock last wrote its pid.
        Listener::Unknown => match written_pid(lock) {
            Some(pid) if has_ended(pid) => {}
            pid => return taken(pid.unwrap_or(0)),
        },
    }
    unlink_if(path, Identity::of(&found));
    Ok(())
}

enum Listener {
    None,
    Process(u32),
    Unknown,
}

fn listener_of(path: &Path) -> Result<Listener, BindError> {
    let failed = |error| BindError::system("connect", path, error);
    let probe = stream_socket().map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match connect(&probe, &address) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(Listener::None),
        Err(Errno::AGAIN) => return Ok(Listener::Unknown),
        Err(error) => return Err(failed(error)),
    }
    // Of whoever called `listen`, not of a child that has the socket too.
    let peer = Peer::of(&probe).map_err(|error| BindError::system("getsockopt", path, error))?;
    Ok(Listener::Process(peer.pid))
}

/// True if the kernel says so. A process that cannot be seen, or a newer one of the same pid, has not.
fn has_ended(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => {
            // It may have ended and not been waited for by its parent.
            let mut waiting = [PollFd::new(&process, PollFlags::IN)];
            poll(&mut waiting, Some(&Timespec::default())) == Ok(1)
        }
        Err(error) => error == Errno::SRCH,
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn expect_own_socket(path: &Path, found: &Stat) -> Result<(), BindError> {
    let kind = FileType::from_raw_mode(found.st_mode);
    if kind != FileType::Socket {
        let expected = "a socket or nothing; choose another path, or move it away yourself";
        return Err(unsafe_path(path, expected, &format!("{kind:?}")));
    }
    expect_own(path, found)
}

fn expect_own(path: &Path, found: &Stat) -> Result<(), BindError> {
    let user = geteuid().as_raw();
    if found.st_uid == user {
        return Ok(());
    }
    let (expected, found) = (format!("user {user}'s"), format!("user {}'s", found.st_uid));
    Err(unsafe_path(path, &expected, &found))
}

fn unsafe_path(path: &Path, expected: &str, found: &str) -> BindError {
    BindError::Unsafe { path: path.to_owned(), expected: expected.into(), found: found.into() }
}

fn unlink_if(path: &Path, identity: Identity) {
    if Identity::at(path) == Some(identity) {
        let _ = unlink(path);
    }
}

fn with_suffix(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
