//! Sweeping what nobody is attached to.
//!
//! Upholds invariants 3 (nobody attached means: the kernel grants the presence lock exclusively)
//! and 9 (only files of this form, of this user, with the magic number or none at all).

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Names of the segments that were removed, or would be in a dry run.
    pub removed: Vec<String>,
    /// Unfinished drafts of dead creators that were removed, or would be, by file name.
    pub drafts: Vec<String>,
    /// Names of the segments that stay because a process is attached.
    pub in_use: Vec<String>,
    /// Files that begin like a segment's and are none: damaged, half-born or foreign. They stay;
    /// remove them by hand or by [`unlink`](super::unlink()).
    pub unknown: Vec<String>,
    /// Bytes that were freed, or would be.
    pub bytes: u64,
}

/// Removes every segment of this user whose name begins with `prefix` and that no process is
/// attached to, and every draft whose creator died. With `dry_run` it only reports.
///
/// A segment that was created to outlive its processes is removed too once nobody is attached:
/// use a prefix of your own.
///
/// # Errors
/// When the directory of shared memory cannot be read. Platforms that cannot list shared memory
/// answer [`std::io::ErrorKind::Unsupported`].
pub fn gc(prefix: &str, dry_run: bool) -> std::io::Result<GcReport> {
    platform::gc(prefix, dry_run)
}

/// Removes every draft whose creator died before it was a segment, as [`gc`] does; tells their file names.
///
/// # Errors
/// As for [`gc`].
pub fn remove_drafts() -> std::io::Result<Vec<String>> {
    Ok(platform::collect_drafts(false)?.drafts)
}

#[cfg(target_os = "linux")]
pub(super) use platform::sweep;

#[cfg(target_os = "linux")]
mod platform {
    use super::*;
    use crate::name::{self, SegmentName};
    use crate::os::linux::{self, directory};
    use crate::os::{Access, Backing, locks};
    use crate::process::{self, ProcessId};
    use crate::segment::header::SegmentHeader;
    use crate::segment::{Lifetime, info, open, unlink};

    pub(super) fn gc(prefix: &str, dry_run: bool) -> std::io::Result<GcReport> {
        collect(prefix, dry_run, |_| true)
    }

    /// Makes room: drafts of dead creators, and segments that asked to live only as long as
    /// somebody is attached. What cannot be swept just stays.
    pub(crate) fn sweep() {
        let _ = collect("", false, |name| lifetime(name) == Some(Lifetime::Attached as u32));
    }

    fn collect(
        prefix: &str,
        dry_run: bool,
        wanted: impl Fn(&SegmentName) -> bool,
    ) -> std::io::Result<GcReport> {
        let uid = process::uid();
        let mut report = collect_drafts(dry_run)?;
        for file in directory::files(&[&name::prefix(uid)])? {
            let Some(text) = info::name_in_file(&file) else {
                report.unknown.push(file);
                continue;
            };
            let Ok(name) = SegmentName::new(&text, uid) else { continue };
            if !text.starts_with(prefix) || !wanted(&name) {
                continue;
            }
            let bytes = directory::lookup(&file).map_or(0, |found| found.allocated);
            match unlink::Present::open(&name).and_then(|found| found.remove_if_orphan(dry_run)) {
                Ok(true) => {
                    report.bytes += bytes;
                    report.removed.push(text);
                }
                Ok(false) => report.in_use.push(text),
                // It went away by itself, or is being taken away by somebody else.
                Err(_) => {}
            }
        }
        Ok(report)
    }

    pub(super) fn collect_drafts(dry_run: bool) -> std::io::Result<GcReport> {
        let mut report = GcReport::default();
        for file in directory::files(&[&name::draft_prefix(process::uid())])? {
            if let Some(bytes) = sweep_draft(&file, dry_run) {
                report.bytes += bytes;
                report.drafts.push(file);
            }
        }
        Ok(report)
    }

    /// Removes a draft if its creator is neither attached nor visible; returns its size.
    fn sweep_draft(file: &str, dry_run: bool) -> Option<u64> {
        let creator = creator_of(file)?;
        let backing = linux::attach(file, Access::Full).ok()?;
        let identity = backing.identity();
        let ours = identity.regular && identity.uid == process::uid();
        // The creator attaches right after it creates the file. In between, it is visible; and if
        // it is not (another pid namespace), it notices that its draft is gone and reports it.
        if !ours || creator.is_visible() || !backing.locks().try_upgrade(locks::PRESENCE).ok()? {
            return None;
        }
        if !dry_run {
            directory::remove(file).ok()?;
        }
        Some(identity.allocated)
    }

    fn creator_of(file: &str) -> Option<ProcessId> {
        let mut parts = file.split_once('~')?.1.split('.');
        Some(ProcessId { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? })
    }

    fn lifetime(name: &SegmentName) -> Option<u32> {
        let file = directory::open(name.file(), false).ok()?;
        let identity = directory::identify(&file).ok()?;
        let fixed = open::read_fixed(name, &file, identity.len).ok()?;
        Some(SegmentHeader::check(&fixed, identity.len, name.text()).ok()?.lifetime)
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn gc(_prefix: &str, _dry_run: bool) -> std::io::Result<GcReport> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(super) fn collect_drafts(_dry_run: bool) -> std::io::Result<GcReport> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}
