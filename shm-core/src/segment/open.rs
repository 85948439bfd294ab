//! Opening an existing segment: check everything, then map.
//!
//! Upholds invariants 2 (checked against a private copy before any byte is mapped) and 4 (a
//! reader's mapping is read-only but for the control page).

use super::Segment;
use super::error::OpenError;
use crate::deadline::Deadline;
use crate::os::Access;
use std::time::Duration;

/// How often a name is looked for while waiting for it to appear.
const POLL_MIN: Duration = Duration::from_micros(200);
const POLL_MAX: Duration = Duration::from_millis(10);

impl Segment {
    /// Opens, waiting until `deadline` for the segment to appear and to be complete. An empty `kind`
    /// opens any.
    ///
    /// # Errors
    /// [`OpenError`], once the deadline has passed if it is one that waiting may cure.
    pub fn open_within(
        name: &str,
        kind: &str,
        access: Access,
        deadline: Deadline,
    ) -> Result<Segment, OpenError> {
        let mut pause = POLL_MIN;
        loop {
            match Segment::open(name, kind, access) {
                Err(error) if error.may_appear() && !deadline.has_passed() => {
                    std::thread::sleep(deadline.slice(pause));
                    pause = (pause * 2).min(POLL_MAX);
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{check_file, io_error, open_error, read_fixed};

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::name::SegmentName;
    use crate::os::linux::{self, directory};
    use crate::os::{Backing, locks};
    use crate::process;
    use crate::segment::header::{SegmentHeader, unpadded};
    use rustix::io::Errno;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    /// A segment that is taken away while it is being opened is looked up again this often.
    const ATTEMPTS: usize = 50;
    const PAUSE: Duration = Duration::from_millis(1);

    impl Segment {
        /// Opens a segment that exists now.
        pub(crate) fn open(name: &str, kind: &str, access: Access) -> Result<Segment, OpenError> {
            let name = SegmentName::new(name, process::uid())?;
            for _ in 0..ATTEMPTS {
                if let Some(segment) = attempt(&name, kind, access)? {
                    return Ok(segment);
                }
                std::thread::sleep(PAUSE);
            }
            Err(OpenError::Busy { name: name.text().to_owned() })
        }
    }

    /// `None` when the name lost this file while it was being opened.
    fn attempt(
        name: &SegmentName,
        kind: &str,
        access: Access,
    ) -> Result<Option<Segment>, OpenError> {
        let backing =
            linux::attach(name.file(), access).map_err(|errno| open_error(name, errno))?;
        let identity = backing.identity();
        check_file(name, &identity)?;
        let fixed = read_fixed(name, backing.file(), identity.len)?;
        let header = SegmentHeader::check(&fixed, identity.len, name.text())?;
        let found = unpadded(&header.kind);
        if !kind.is_empty() && found != kind {
            let (name, expected) = (name.text().to_owned(), kind.to_owned());
            return Err(OpenError::Kind { name, expected, found });
        }
        // Attached: from here on no sweep takes it away. One that is at it right now has won.
        match backing.locks().share(locks::PRESENCE) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(source) => return Err(io_error(name, "lock", source)),
        }
        let len = header.total_len as usize;
        let control = header.control_offset as usize;
        let control = control
            ..control + (header.control_len as usize).next_multiple_of(header.page_size as usize);
        if control.end > len.next_multiple_of(header.page_size as usize) {
            return Err(OpenError::corrupt(
                name.text(),
                "control_len",
                "inside the segment",
                header.control_len,
            ));
        }
        let region = match backing.map(name.file(), len, access, control) {
            Ok(region) => region,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::STALE) => return Ok(None),
            Err(source) => return Err(io_error(name, "map", source)),
        };
        let segment = Segment::assemble(name, header, &fixed, access, region, Arc::new(backing));
        if segment.is_retired() {
            return Ok(None);
        }
        Ok(Some(segment))
    }

    /// Regular, and ours.
    pub(crate) fn check_file(
        name: &SegmentName,
        identity: &directory::FileIdentity,
    ) -> Result<(), OpenError> {
        let name = || name.text().to_owned();
        if !identity.regular {
            return Err(OpenError::NotRegular { name: name() });
        }
        let expected = process::uid();
        if identity.uid != expected {
            return Err(OpenError::Owner { name: name(), expected, found: identity.uid });
        }
        Ok(())
    }

    /// The immutable part, complete but unchecked.
    pub(crate) fn read_fixed(
        name: &SegmentName,
        file: &OwnedFd,
        file_len: u64,
    ) -> Result<Vec<u8>, OpenError> {
        let mut first = [0; 256];
        read_all(file, &mut first).map_err(|errno| io_error(name, "read", errno.into()))?;
        let len = SegmentHeader::fixed_len_of(&first, file_len, name.text())?;
        let mut fixed = vec![0; len];
        read_all(file, &mut fixed).map_err(|errno| io_error(name, "read", errno.into()))?;
        let text = SegmentHeader::check(&fixed, file_len, name.text())
            .map(|header| SegmentHeader::slice(&fixed, header.name).to_vec())?;
        if text != name.text().as_bytes() {
            let found = String::from_utf8_lossy(&text).into_owned();
            return Err(OpenError::corrupt(
                name.text(),
                "name",
                format!("'{}'", name.text()),
                format!("'{found}'"),
            ));
        }
        Ok(fixed)
    }

    /// Fills `buffer` from the start of the file; what lies behind its end reads as zero.
    fn read_all(file: &OwnedFd, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(file, &mut buffer[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// What the system's refusal to open the file means.
    pub(crate) fn open_error(name: &SegmentName, errno: Errno) -> OpenError {
        let text = name.text().to_owned();
        match errno {
            Errno::NOENT => OpenError::NotFound { name: text },
            Errno::MFILE | Errno::NFILE => OpenError::TooManyOpenFiles { name: text },
            Errno::LOOP | Errno::NXIO | Errno::ISDIR => OpenError::NotRegular { name: text },
            Errno::ACCESS => match directory::lookup(name.file()) {
                Ok(found) if found.uid != process::uid() => {
                    OpenError::Owner { name: text, expected: process::uid(), found: found.uid }
                }
                _ => io_error(name, "open", errno.into()),
            },
            errno => io_error(name, "open", errno.into()),
        }
    }

    pub(crate) fn io_error(
        name: &SegmentName,
        step: &'static str,
        source: std::io::Error,
    ) -> OpenError {
        OpenError::Io { name: name.text().to_owned(), step, source }
    }
}

#[cfg(not(target_os = "linux"))]
impl Segment {
    /// Opens a segment that exists now.
    pub(crate) fn open(name: &str, kind: &str, access: Access) -> Result<Segment, OpenError> {
        Segment::open_portable(name, kind, access)
    }
}
