//! The backing for platforms without OFD locks and shared futexes: `shared_memory` for the pages,
//! file locks of the standard library, and `raw_sync`'s event.
//!
//! Upholds the same contract as the other backings, more slowly: pages are writable in readers too,
//! nothing is reserved ahead, and a process killed inside the event's own mutex (some hundred
//! nanoseconds per wake-up) leaves the event stuck, which the Linux backing cannot suffer. A
//! segment is created under its own name at once, so openers rely on the magic being stored last.

use super::region::{Pages, Region};
use super::{Backing, Locks, RawLocks};
use crate::clock;
use crate::event::Park;
use crate::segment::CreateError;
use crate::sync::{AtomicU64, Ordering};
use core::ptr::NonNull;
use parking_lot::Mutex;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Creates the object `file`, `len` zero bytes.
pub(crate) fn create(
    file: &str,
    len: usize,
    exists: impl Fn() -> CreateError,
) -> Result<(Region, PortableBacking), CreateError> {
    let failed = |source| match exists() {
        CreateError::Exists { name } => CreateError::Io { name, step: "create the memory", source },
        other => other,
    };
    let created = ShmemConf::new().os_id(os_id(file)).size(len).create();
    let mut memory = match created {
        Ok(memory) => memory,
        Err(ShmemError::MappingIdExists | ShmemError::LinkExists) => return Err(exists()),
        Err(error) => return Err(failed(io::Error::other(error))),
    };
    // Handles never unlink; see `unlink`.
    memory.set_owner(false);
    let region = region(memory, len).map_err(failed)?;
    Ok((region, PortableBacking::new(file)))
}

/// Opens the object `file`; the length is whatever it has.
pub(crate) fn open(file: &str) -> io::Result<(Region, PortableBacking)> {
    let memory = ShmemConf::new().os_id(os_id(file)).open().map_err(|error| match error {
        ShmemError::MapOpenFailed(code) => io::Error::from_raw_os_error(code as i32),
        error => io::Error::other(error),
    })?;
    let len = memory.len();
    Ok((region(memory, len)?, PortableBacking::new(file)))
}

/// Removes the object `file`. The locks of those who are attached go with it.
pub(crate) fn remove(file: &str) -> io::Result<()> {
    let mut memory = ShmemConf::new().os_id(os_id(file)).open().map_err(io::Error::other)?;
    // An owner removes the name when it is dropped.
    memory.set_owner(true);
    drop(memory);
    for lock in std::fs::read_dir(lock_directory())?.filter_map(Result::ok) {
        if lock.file_name().to_string_lossy().starts_with(&format!("{file}@")) {
            std::fs::remove_file(lock.path())?;
        }
    }
    Ok(())
}

/// Some platforms allow object names of 31 characters only.
fn os_id(file: &str) -> String {
    match cfg!(target_os = "macos") {
        true => format!("/shm.{:016x}", xxhash_rust::xxh3::xxh3_64(file.as_bytes())),
        false => format!("/{file}"),
    }
}

fn region(memory: Shmem, len: usize) -> io::Result<Region> {
    let base = NonNull::new(memory.as_ptr())
        .filter(|_| memory.len() >= len)
        .ok_or_else(|| io::Error::other("the mapping is shorter than asked for"))?;
    // SAFETY: page aligned (a mapping), `len` writable bytes until `memory` is dropped.
    Ok(unsafe { Region::new(base, len, Box::new(PortablePages(memory))) })
}

struct PortablePages(#[expect(dead_code, reason = "owns the mapping")] Shmem);

// SAFETY: the value is only kept and dropped; a mapping has no thread affinity.
unsafe impl Send for PortablePages {}
// SAFETY: nothing is reachable through a shared reference.
unsafe impl Sync for PortablePages {}

impl core::fmt::Debug for PortablePages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PortablePages")
    }
}

impl Pages for PortablePages {}

/// Locks and sleep of one handle.
#[derive(Debug)]
pub(crate) struct PortableBacking {
    locks: Locks,
    alarm: Alarm,
}

impl PortableBacking {
    fn new(file: &str) -> PortableBacking {
        let raw = FileLocks { stem: file.to_owned(), open: Mutex::default() };
        PortableBacking { locks: Locks::new(Box::new(raw)), alarm: Alarm { state: None } }
    }

    /// Points the alarm at its bytes in the segment, making them an event if they are new.
    pub(crate) fn set_alarm(
        &mut self,
        region: &Region,
        offset: usize,
        new: bool,
    ) -> io::Result<()> {
        let state = NonNull::new(region.bytes(offset, ALARM_LEN))
            .ok_or_else(|| io::Error::other("the segment has no address"))?;
        if new {
            // SAFETY: ALARM_LEN zero bytes that nobody uses yet.
            unsafe { Event::new(state.as_ptr(), true) }
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        self.alarm.state = Some(state);
        Ok(())
    }
}

impl Backing for PortableBacking {
    fn locks(&self) -> &Locks {
        &self.locks
    }
    fn parker(&self) -> &(dyn Park<Timeout = Duration> + Send + Sync) {
        &self.alarm
    }
    fn recheck(&self) -> Duration {
        Duration::from_millis(10)
    }
    fn inode(&self) -> Option<u64> {
        None
    }
    fn is_linked(&self) -> bool {
        true
    }
}

/// Bytes that the event may use: a mutex and a condition variable of the C library.
const ALARM_LEN: usize = 512;

/// `raw_sync`'s auto-reset event: a signal wakes one sleeper, who passes it on.
#[derive(Debug)]
struct Alarm {
    state: Option<NonNull<u8>>,
}

// SAFETY: the bytes are a process-shared event, made for use from anywhere; they live in the
// segment's region, which outlives the backing's use (one `Segment` owns both).
unsafe impl Send for Alarm {}
// SAFETY: as above.
unsafe impl Sync for Alarm {}

impl Alarm {
    fn event(&self) -> Option<Box<dyn EventImpl>> {
        let state = self.state?;
        // SAFETY: initialised by the creator before the magic was stored.
        unsafe { Event::from_existing(state.as_ptr()) }.ok().map(|(event, _)| event)
    }
}

impl Park for Alarm {
    type Timeout = Duration;

    fn park(&self, word: &AtomicU64, epoch: u32, timeout: Duration) {
        let rung = || word.load(Ordering::Acquire) as u32 != epoch;
        let Some(event) = self.event() else {
            return std::thread::sleep(timeout.min(Duration::from_millis(1)));
        };
        if rung() {
            return;
        }
        // The event adds nanoseconds without carrying into seconds, and then fails at once: never
        // sleep across a second.
        let into_second = Duration::from_nanos(clock::wall_ns() % 1_000_000_000);
        let left = Duration::from_secs(1) - into_second;
        let margin = Duration::from_micros(100);
        match left.checked_sub(margin) {
            Some(nap) if !nap.is_zero() => {
                let woken = event.wait(Timeout::Val(timeout.min(nap))).is_ok();
                if woken && rung() {
                    // The signal woke one; the others sleep for the same ring.
                    let _ = event.set(EventState::Signaled);
                }
            }
            _ => std::thread::sleep(timeout.min(margin)),
        }
    }

    fn unpark(&self, _word: &AtomicU64, _count: u32) {
        if let Some(event) = self.event() {
            let _ = event.set(EventState::Signaled);
        }
    }
}

/// One empty file per byte in a directory of the user's: never in a temporary directory, which two
/// processes may disagree about.
#[derive(Debug)]
struct FileLocks {
    stem: String,
    open: Mutex<HashMap<u64, File>>,
}

fn lock_directory() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(".shm-core-locks")
}

impl FileLocks {
    fn file(&self, byte: u64) -> io::Result<File> {
        std::fs::create_dir_all(lock_directory())?;
        File::options().create(true).truncate(false).write(true).open(self.path(byte))
    }

    fn path(&self, byte: u64) -> PathBuf {
        lock_directory().join(format!("{}@{byte}", self.stem))
    }

    fn lock(&self, byte: u64, how: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
        let mut open = self.open.lock();
        let file = match open.remove(&byte) {
            Some(file) => file,
            None => self.file(byte)?,
        };
        let outcome = how(&file);
        open.insert(byte, file);
        match outcome {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl RawLocks for FileLocks {
    fn try_exclusive(&self, byte: u64) -> io::Result<bool> {
        self.lock(byte, File::try_lock)
    }
    fn try_shared(&self, byte: u64) -> io::Result<bool> {
        self.lock(byte, File::try_lock_shared)
    }
    fn release(&self, byte: u64) -> io::Result<()> {
        self.open.lock().remove(&byte).map_or(Ok(()), |file| file.unlock())
    }
    fn is_held_elsewhere(&self, byte: u64) -> io::Result<bool> {
        // The platform cannot be asked, only tried; the lock is given back at once. A file that does
        // not exist is locked by nobody, and looking does not make it.
        let file = match File::open(self.path(byte)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            outcome => outcome?,
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
