//! Removing what dead clients have left: here and on the server.
//!
//! A region whose owner lives is known by the lock on its file, never by a process number. A region on the server
//! whose file has no name any more belongs to nobody: its owner has removed it, or somebody on its behalf. That is
//! only believed by a client that has shown, by registering a region of its own, that it and the server look into
//! the same /dev/shm.
//!
//! Upholds invariants 3 and 9.

use crate::error::CallError;
use crate::hub::Hub;
use crate::region::{KIND, REGION_PREFIX, SEGMENT_PREFIX};
use crate::transport::Request;
use shm_core::segment::{list, remove_drafts, stat, unlink_unused};
use shm_core::{Deadline, OpenError, UnlinkError};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Regions that the server has let go of.
    pub unregistered: Vec<String>,
    /// Segments that were unlinked, finished or not.
    pub unlinked: Vec<String>,
    /// Regions that could not be removed now, with the reason.
    pub left: Vec<(String, String)>,
}

/// Removes what dead clients of this user have left.
pub(crate) fn sweep(hub: &Hub, deadline: Deadline) -> Result<Swept, CallError> {
    let mut swept = Swept::default();
    let regions = hub.regions("", deadline)?;
    for region in regions {
        let Some(segment) = region.name.strip_prefix(REGION_PREFIX) else { continue };
        if !is_abandoned(segment, &region.key, &mut swept) {
            continue;
        }
        // What it had in flight may still run.
        if !hub.fences() {
            swept
                .left
                .push((region.name, "servers before 2.50 unmap it under a running request".into()));
            continue;
        }
        match hub.ask("unregister shared memory", Request::Unregister(&region.name), deadline) {
            Ok(_) => swept.unregistered.push(region.name),
            Err(CallError::Refused { message, .. }) => swept.left.push((region.name, message)),
            Err(error) => return Err(error),
        }
    }
    // Those that were never registered, or by a server that has gone since.
    for info in list(SEGMENT_PREFIX).unwrap_or_default() {
        let ours = info.kind == KIND && !info.attached;
        if ours && unlink_unused(&info.name).unwrap_or(false) {
            swept.unlinked.push(info.name);
        }
    }
    // Those that were not even finished; where they cannot be listed there are none.
    swept.unlinked.extend(remove_drafts().unwrap_or_default());
    Ok(swept)
}

/// Whether nobody has the segment any more; if it was there, it is unlinked.
fn is_abandoned(segment: &str, key: &str, swept: &mut Swept) -> bool {
    // A region of another user's has another key, and is that user's to remove.
    if !is_ours(segment, key) {
        return false;
    }
    match unlink_unused(segment) {
        Ok(true) => {
            swept.unlinked.push(segment.to_owned());
            true
        }
        Ok(false) => false,
        Err(UnlinkError::Open(OpenError::NotFound { .. })) => true,
        Err(_) => matches!(stat(segment), Err(OpenError::NotFound { .. })),
    }
}

/// Whether `key` is the name of this user's segment.
fn is_ours(segment: &str, key: &str) -> bool {
    #[cfg(unix)]
    let uid = rustix::process::getuid().as_raw();
    #[cfg(not(unix))]
    let uid = 0;
    // shm-core names files so; see its module `name`.
    key == format!("/shm.{uid}.{segment}")
}
