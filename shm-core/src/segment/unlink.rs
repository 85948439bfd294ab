//! Taking a name away, or giving it to another segment.
//!
//! Upholds invariant 9. A name is touched only while the caller holds the unlink lock *of the
//! inode that the name leads to*: whoever follows this protocol can change the name only under
//! that same lock, so "compare the inode, then unlink" is one step as far as they are concerned.
//! Whoever is attached learns of it at once: the retired flag is set and all waiters are woken.

use super::error::{OpenError, UnlinkError};

/// Takes the name of the segment away.
///
/// Processes that are attached keep their pages; their next wait or read of a frame they have
/// already seen fails with `Stale`, blocked waiters are woken for it. The memory is freed when the
/// last of them lets go. Works on damaged segments too, as long as the file is a regular file of
/// this user that begins with the magic number.
///
/// # Errors
/// [`UnlinkError`]; nothing is removed then.
///
/// ```
/// # let name = format!("doc-unlink-{}", std::process::id());
/// use shm_core::{Stream, StreamConfig, unlink};
/// Stream::create(&name, &StreamConfig::of::<f32>(&[16])?)?;
/// unlink(&name)?;
/// assert!(Stream::open(&name).unwrap_err().to_string().contains("does not exist"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn unlink(name: &str) -> Result<(), UnlinkError> {
    platform::unlink(name)
}

/// Takes the name of the segment away if no process is attached to it; tells whether it did.
///
/// # Errors
/// [`UnlinkError`]; nothing is removed then.
pub fn unlink_unused(name: &str) -> Result<bool, UnlinkError> {
    platform::unlink_unused(name)
}

#[cfg(target_os = "linux")]
pub(super) use platform::{Present, is_complete};

#[cfg(target_os = "linux")]
mod platform {
    use super::*;
    use crate::fault;
    use crate::name::SegmentName;
    use crate::os::linux::{self, directory};
    use crate::os::{Access, Backing, LockGuard, locks};
    use crate::process;
    use crate::segment::header::MAGIC;
    use crate::segment::{Segment, open};
    use rustix::io::Errno;
    use std::time::{Duration, Instant};

    /// Unlinking takes microseconds; a holder of its lock that takes longer was stopped.
    const PATIENCE: Duration = Duration::from_millis(500);

    pub(super) fn unlink(name: &str) -> Result<(), UnlinkError> {
        let name = SegmentName::new(name, process::uid()).map_err(OpenError::from)?;
        Present::open(&name)?.remove()
    }

    pub(super) fn unlink_unused(name: &str) -> Result<bool, UnlinkError> {
        let name = SegmentName::new(name, process::uid()).map_err(OpenError::from)?;
        Present::open(&name)?.remove_if_orphan(false)
    }

    /// Tells whether a finished segment has the name right now.
    pub(crate) fn is_complete(name: &SegmentName) -> bool {
        let Ok(file) = directory::open(name.file(), false) else { return false };
        let mut magic = [0; 8];
        matches!(rustix::io::pread(&file, &mut magic[..], 0), Ok(8)) && magic != [0; 8]
    }

    /// The file that has the name now: a regular file of this user, segment or half-born.
    #[derive(Debug)]
    pub(crate) struct Present<'a> {
        name: &'a SegmentName,
        backing: linux::LinuxBacking,
        half_born: bool,
    }

    impl<'a> Present<'a> {
        pub(crate) fn open(name: &'a SegmentName) -> Result<Present<'a>, UnlinkError> {
            let backing = linux::attach(name.file(), Access::Full)
                .map_err(|errno| open::open_error(name, errno))?;
            open::check_file(name, &backing.identity())?;
            let mut first = [0; 8];
            let read = rustix::io::pread(backing.file(), &mut first[..], 0);
            let found = match read {
                Ok(_) => u64::from_ne_bytes(first),
                Err(errno) => return Err(open::io_error(name, "read", errno.into()).into()),
            };
            if found != MAGIC && found != 0 {
                return Err(OpenError::Foreign { name: name.text().to_owned(), found }.into());
            }
            Ok(Present { name, backing, half_born: found == 0 })
        }

        /// True for a file without magic: its creator is at work, or died.
        pub(crate) fn is_half_born(&self) -> bool {
            self.half_born
        }

        pub(crate) fn remove(self) -> Result<(), UnlinkError> {
            self.take_name(directory::remove)
        }

        /// Gives the name to the finished segment under the name `draft`.
        pub(crate) fn replace_by(self, draft: &str) -> Result<(), UnlinkError> {
            self.take_name(|file| directory::publish_over(draft, file))
        }

        /// Removes it if nobody is attached; tells whether it did.
        pub(crate) fn remove_if_orphan(self, dry_run: bool) -> Result<bool, UnlinkError> {
            if !self.try_alone()? {
                return Ok(false);
            }
            if !dry_run {
                let _guard = self.guard()?;
                self.act(directory::remove)?;
            }
            Ok(true)
        }

        fn try_alone(&self) -> Result<bool, UnlinkError> {
            self.backing
                .locks()
                .try_upgrade(locks::PRESENCE)
                .map_err(|source| self.failed("lock", source))
        }

        fn take_name(&self, act: impl Fn(&str) -> Result<(), Errno>) -> Result<(), UnlinkError> {
            let _guard = self.guard()?;
            if self.half_born && !self.try_alone()? {
                return Err(OpenError::NotReady { name: self.name.text().to_owned() }.into());
            }
            let attached = self.attach();
            if let Some(segment) = &attached {
                segment.begin_retiring();
            }
            let outcome = self.act(act);
            fault::hit("unlink.removed");
            if let Some(segment) = attached {
                segment.end_retiring(outcome.is_ok());
            }
            outcome
        }

        /// Takes the name, if it still leads to this file. The caller holds the unlink lock.
        fn act(&self, act: impl Fn(&str) -> Result<(), Errno>) -> Result<(), UnlinkError> {
            let ours = self.backing.identity();
            match directory::lookup(self.name.file()) {
                Ok(found) if (found.device, found.inode) == (ours.device, ours.inode) => {}
                _ => return Err(UnlinkError::Stale { name: self.name.text().to_owned() }),
            }
            act(self.name.file()).map_err(|errno| self.failed("unlink", errno.into()))
        }

        fn guard(&self) -> Result<LockGuard<'_>, UnlinkError> {
            let busy = || UnlinkError::Busy { name: self.name.text().to_owned() };
            self.lock()?.ok_or_else(busy)
        }

        fn lock(&self) -> Result<Option<LockGuard<'_>>, UnlinkError> {
            let until = Instant::now() + PATIENCE;
            loop {
                let guard = LockGuard::try_new(self.backing.locks(), locks::UNLINK)
                    .map_err(|source| self.failed("lock", source))?;
                if guard.is_some() || Instant::now() >= until {
                    return Ok(guard);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        /// The segment, for telling everyone who is attached. A damaged or half-born one has nobody
        /// who could be told.
        fn attach(&self) -> Option<Segment> {
            if self.half_born {
                return None;
            }
            let segment = Segment::open(self.name.text(), "", Access::Full).ok()?;
            (segment.backing().inode() == Some(self.backing.identity().inode)).then_some(segment)
        }

        fn failed(&self, step: &'static str, source: std::io::Error) -> UnlinkError {
            UnlinkError::Io { name: self.name.text().to_owned(), step, source }
        }
    }

    impl UnlinkError {
        /// True when the file lost its name meanwhile.
        pub(crate) fn is_gone(&self) -> bool {
            matches!(
                self,
                UnlinkError::Stale { .. } | UnlinkError::Open(OpenError::NotFound { .. })
            )
        }
    }

    impl Segment {
        /// Takes the name away, unless it leads to another segment by now.
        ///
        /// # Errors
        /// [`UnlinkError`]; nothing is removed then.
        pub fn unlink(&self) -> Result<(), UnlinkError> {
            let name = SegmentName::new(self.name(), process::uid()).map_err(OpenError::from)?;
            let stale = || UnlinkError::Stale { name: self.name().to_owned() };
            let Some(inode) = self.backing().inode() else {
                self.end_retiring(true);
                return Ok(());
            };
            let present = match Present::open(&name) {
                Err(error) if error.is_gone() => return Err(stale()),
                outcome => outcome?,
            };
            match present.backing.identity().inode == inode {
                true => present.remove(),
                false => Err(stale()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    use crate::os::Access;
    use crate::segment::Segment;

    pub(super) fn unlink(name: &str) -> Result<(), UnlinkError> {
        Segment::open_portable(name, "", Access::Full)?.unlink_portable()
    }

    /// Who is attached cannot be told here, so nothing is unused.
    pub(super) fn unlink_unused(_name: &str) -> Result<bool, UnlinkError> {
        Ok(false)
    }

    impl Segment {
        /// Takes the name away.
        ///
        /// # Errors
        /// [`UnlinkError`]; nothing is removed then.
        pub fn unlink(&self) -> Result<(), UnlinkError> {
            self.unlink_portable()
        }
    }
}
