//! One look at all segments of the user and at the memory they lie in.
//!
//! Upholds invariants 2 and 4: headers are read and checked by the library, and nothing attaches.

use super::super::exit::Failure;
use super::super::subject::Subject;
use std::time::Instant;

/// Where shared memory is mounted.
const SHARED_MEMORY: &str = "/dev/shm";

/// What there is at one moment.
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    /// Nanoseconds since 1970 UTC.
    pub(crate) time_ns: u64,
    pub(crate) subjects: Vec<Subject>,
    /// `None` if the system does not say.
    pub(crate) space: Option<Space>,
}

/// Bytes of the file system of shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

impl Snapshot {
    /// Looks now, at names that begin so.
    pub(crate) fn take(prefix: &str) -> Result<Snapshot, Failure> {
        let (at, time_ns) = (Instant::now(), shm_core::clock::wall_ns());
        let subjects = Subject::all(prefix)?;
        Ok(Snapshot { at, time_ns, subjects, space: Space::now() })
    }
}

impl Space {
    fn now() -> Option<Space> {
        let found = rustix::fs::statvfs(SHARED_MEMORY).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}
