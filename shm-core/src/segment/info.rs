//! Looking at segments from outside, without attaching.
//!
//! Upholds invariants 2 (everything is checked before it is reported) and 3 (who lives is what the
//! kernel's locks say).

use super::counter::CounterValue;
use super::error::OpenError;

/// What an attached process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It has a handle.
    Attached = 1,
    /// It reads.
    Reader = 2,
    /// It holds, or has held, the writer lock.
    Writer = 3,
}

impl Role {
    pub(super) fn from_code(code: u32) -> Option<Role> {
        [Role::Attached, Role::Reader, Role::Writer].into_iter().find(|role| *role as u32 == code)
    }
}

/// One attached handle, proven alive by its kernel lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, as seen in the holder's own pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// What it does.
    pub role: Role,
    /// When it attached, nanoseconds of the monotonic clock.
    pub since_mono_ns: u64,
}

/// What can be known about a segment without attaching to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The name as its creator gave it.
    pub name: String,
    /// `stream`, ...
    pub kind: String,
    /// The file.
    pub path: std::path::PathBuf,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes of memory it occupies.
    pub allocated: u64,
    /// When it was created, nanoseconds since 1970 UTC.
    pub created_wall_ns: u64,
    /// Its creator's process id, as seen in the creator's own pid namespace.
    pub creator_pid: u32,
    /// Random id that differs between segments of the same name.
    pub instance: [u8; 16],
    /// True while any process is attached.
    pub attached: bool,
    /// True while a process holds the writer lock.
    pub writer_locked: bool,
    /// The attached handles, as far as the table has room for them.
    pub holders: Vec<Holder>,
    /// The kind's own immutable description.
    pub geometry: Vec<u8>,
    /// The counters that its kind declares.
    pub counters: Vec<CounterValue>,
}

impl SegmentInfo {
    /// The value of a counter, if the segment has it.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|counter| counter.name == name).map(|counter| counter.value)
    }
}

/// Looks at one segment.
///
/// # Errors
/// As for opening it.
pub fn stat(name: &str) -> Result<SegmentInfo, OpenError> {
    platform::stat(name)
}

/// Looks at every segment of this user whose name begins with `prefix`, sorted by name. Damaged
/// and half-born ones are left out; [`gc`](super::gc()) reports those.
///
/// # Errors
/// When the directory of shared memory cannot be read. Platforms that cannot list shared memory
/// answer [`std::io::ErrorKind::Unsupported`].
pub fn list(prefix: &str) -> std::io::Result<Vec<SegmentInfo>> {
    platform::list(prefix)
}

#[cfg(target_os = "linux")]
pub(super) use platform::name_in_file;

#[cfg(target_os = "linux")]
mod platform {
    use super::*;
    use crate::name::{self, SegmentName};
    use crate::os::linux::directory::{self, FileIdentity};
    use crate::os::linux::is_held;
    use crate::os::locks;
    use crate::process;
    use crate::segment::header::{SegmentHeader, unpadded};
    use crate::segment::{counter, offset, open, participants};
    use std::os::fd::OwnedFd;

    pub(super) fn stat(text: &str) -> Result<SegmentInfo, OpenError> {
        let name = SegmentName::new(text, process::uid())?;
        let file =
            directory::open(name.file(), false).map_err(|errno| open::open_error(&name, errno))?;
        let identity = directory::identify(&file)
            .map_err(|errno| open::io_error(&name, "look at", errno.into()))?;
        open::check_file(&name, &identity)?;
        let fixed = open::read_fixed(&name, &file, identity.len)?;
        let header = SegmentHeader::check(&fixed, identity.len, text)?;
        let held = |byte| {
            is_held(&file, byte).map_err(|source| open::io_error(&name, "query locks of", source))
        };
        Ok(SegmentInfo {
            name: text.to_owned(),
            kind: unpadded(&header.kind),
            path: directory::path(name.file()),
            len: identity.len,
            allocated: identity.allocated,
            created_wall_ns: header.created_wall_ns,
            creator_pid: header.creator_pid,
            instance: header.instance,
            attached: held(locks::PRESENCE)?,
            writer_locked: is_writer_locked(&file, &header, held)?,
            holders: holders(&file, &header, held)?,
            geometry: SegmentHeader::slice(&fixed, header.geometry).to_vec(),
            counters: counters(&file, &fixed, &header, &identity),
        })
    }

    pub(super) fn list(prefix: &str) -> std::io::Result<Vec<SegmentInfo>> {
        let files = directory::files(&[&name::prefix(process::uid())])?;
        let mut found: Vec<SegmentInfo> = files
            .iter()
            .filter_map(|file| name_in_file(file))
            .filter(|name| name.starts_with(prefix))
            .filter_map(|name| stat(&name).ok())
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The name that a segment file carries, if it is a segment whose name leads back to it.
    pub(crate) fn name_in_file(file: &str) -> Option<String> {
        let fd = directory::open(file, false).ok()?;
        let identity = directory::identify(&fd).ok().filter(|found| found.regular)?;
        let mut first = [0; 256];
        let read = rustix::io::pread(&fd, &mut first[..], 0).ok()?;
        let fixed_len = SegmentHeader::fixed_len_of(&first, identity.len, file).ok()?;
        let mut fixed = vec![0; fixed_len];
        if read < 256 || rustix::io::pread(&fd, &mut fixed[..], 0).ok()? != fixed_len {
            return None;
        }
        let header = SegmentHeader::check(&fixed, identity.len, file).ok()?;
        let text = String::from_utf8(SegmentHeader::slice(&fixed, header.name).to_vec()).ok()?;
        let name = SegmentName::new(&text, process::uid()).ok()?;
        (name.file() == file).then_some(text)
    }

    fn holders(
        file: &OwnedFd,
        header: &SegmentHeader,
        held: impl Fn(u64) -> Result<bool, OpenError>,
    ) -> Result<Vec<Holder>, OpenError> {
        let mut found = Vec::new();
        let table = header.control_offset + offset::PARTICIPANTS as u64;
        for index in 0..participants::ENTRIES as u64 {
            let at = table + index * participants::ENTRY_LEN as u64;
            let words = [0, 8, 16, 24].map(|word| read_word(file, at + word).unwrap_or(0));
            let Some(entry) = participants::decode(words) else { continue };
            let Some(role) = entry.role else { continue };
            if held(locks::PARTICIPANT + index)? {
                let (pid, since_mono_ns) = (entry.process.pid, entry.since_mono_ns);
                found.push(Holder { pid, uid: entry.uid, role, since_mono_ns });
            }
        }
        Ok(found)
    }

    fn is_writer_locked(
        file: &OwnedFd,
        header: &SegmentHeader,
        held: impl Fn(u64) -> Result<bool, OpenError>,
    ) -> Result<bool, OpenError> {
        match read_word(file, header.hot_offset + offset::WRITER as u64) {
            None | Some(0) => Ok(false),
            // A byte beyond what a file offset can say is nobody's.
            Some(holder) if holder >= 1 << 47 => Ok(false),
            Some(holder) => held(locks::HOLDER + holder),
        }
    }

    fn counters(
        file: &OwnedFd,
        fixed: &[u8],
        header: &SegmentHeader,
        identity: &FileIdentity,
    ) -> Vec<CounterValue> {
        let table = SegmentHeader::slice(fixed, header.counters);
        counter::decode(table, identity.len.min(header.total_len))
            .into_iter()
            .filter_map(|counter| {
                let value = read_word(file, counter.offset)?;
                Some(CounterValue { name: counter.name, unit: counter.unit, value })
            })
            .collect()
    }

    fn read_word(file: &OwnedFd, offset: u64) -> Option<u64> {
        let mut word = [0; 8];
        let read = rustix::io::pread(file, &mut word[..], offset).ok()?;
        (read == 8).then(|| u64::from_ne_bytes(word))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn stat(name: &str) -> Result<SegmentInfo, OpenError> {
        let (name, source) = (name.to_owned(), std::io::ErrorKind::Unsupported.into());
        Err(OpenError::Io { name, step: "look from outside at", source })
    }

    pub(super) fn list(_prefix: &str) -> std::io::Result<Vec<SegmentInfo>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
