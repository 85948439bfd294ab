//! Who has the cells of a device stream, and until when.
//!
//! The memory belongs to the process that created the stream. It is freed when that process has dropped
//! its last handle and no other handle, of any process, has the stream open; who has it open is told by
//! bytes of the segment that the kernel keeps locked for each:
//!
//! ```text
//!   byte 0   the creator, from before the stream has its name until the memory is freed
//!   byte 1   the creator, while it looks whether it may free the memory, and from then on
//!   byte 2.. one for each handle that opened the stream
//! ```
//!
//! Who opens locks its byte and then looks at byte 1; who frees locks byte 1 and then looks at the
//! others. So one of the two sees the other, and memory is never freed under a handle that reads it
//! (which is undefined: CUDA driver API, `cuMemFree`). A killed process has no locks.
//!
//! Upholds invariants 3 and 6.

use super::error::DeviceOpenError;
use super::fault;
use super::placement::Placement;
use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::device::{Device, DeviceError};
use crate::ipc::{self, Import, IpcError};
use shm_core::segment::{HOLDABLE, Held, Segment};
use shm_core::{Deadline, OpenError, Stream};
use std::time::Duration;

/// Held by a creator that frees the memory unless somebody uses it.
const CLOSING: u64 = 1;
/// The first of the bytes of those who opened the stream.
const FIRST_USER: u64 = 2;

/// How long an opener waits for a creator that is looking whether anybody has the stream open.
const CLOSING_TAKES: Duration = Duration::from_secs(2);
const NAP: Duration = Duration::from_micros(200);

/// The cells, as one handle has them.
#[derive(Debug)]
pub(super) enum Memory {
    Created { buffer: Option<DeviceBuffer>, stream: Stream },
    Opened { import: Option<Import>, user: Option<Held>, stream: Stream },
}

impl Memory {
    pub(super) fn created(buffer: DeviceBuffer, stream: Stream) -> Memory {
        Memory::Created { buffer: Some(buffer), stream }
    }

    /// Maps the cells of `stream` for use by `device`.
    pub(super) fn open(
        stream: &Stream,
        placement: &Placement,
        device: &Device,
    ) -> Result<Memory, DeviceOpenError> {
        let user = sign_in(stream)?;
        // From here on dropping it signs out.
        let mut memory = Memory::Opened { import: None, user: Some(user), stream: stream.clone() };
        await_decision(stream)?;
        let mapped = ipc::import(device, placement.memory());
        let mapped = mapped.map_err(|error| refused(stream, placement, device, error))?;
        fault::hit("cuda.open.imported");
        if mapped.is_own() && placement.device() != device.uuid() {
            // What the driver does by itself for memory of other processes.
            let theirs = Device::by_uuid(placement.device())
                .map_err(|error| refused(stream, placement, device, error.into()))?;
            device.enable_access(&theirs).map_err(|source| DeviceOpenError::Cuda {
                name: stream.name().to_owned(),
                source,
            })?;
        }
        if let Memory::Opened { import, .. } = &mut memory {
            *import = Some(mapped);
        }
        Ok(memory)
    }

    /// All cells.
    pub(super) fn as_slice(&self) -> DeviceSlice<'_> {
        match self {
            Memory::Created { buffer: Some(buffer), .. } => buffer.as_slice(),
            Memory::Opened { import: Some(import), .. } => import.as_slice(),
            _ => unreachable!("the cells are there until the handle is dropped"),
        }
    }

    /// True if the memory is this process's.
    pub(super) fn is_own(&self) -> bool {
        match self {
            Memory::Created { .. } => true,
            Memory::Opened { import, .. } => import.as_ref().is_some_and(Import::is_own),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self {
            Memory::Created { buffer, stream } => {
                let Some(buffer) = buffer.take() else { return };
                let (device, stream) = (buffer.device().clone(), stream.clone());
                if device.is_ours() {
                    // In a forked child the locks are the parent's, and so is the decision.
                    ipc::bury(buffer, move || !device.is_ours() || is_used(stream.segment()));
                }
            }
            Memory::Opened { import, user, stream } => {
                let own = import.as_ref().is_some_and(Import::is_own);
                // The mapping goes before the byte that keeps its memory.
                drop(import.take());
                if let Some(user) = user.take() {
                    stream.segment().let_go(user);
                }
                if own {
                    // Its creator, in this process, may have waited for this.
                    ipc::collect();
                }
            }
        }
    }
}

/// Takes the first free byte.
fn sign_in(stream: &Stream) -> Result<Held, DeviceOpenError> {
    let segment = stream.segment();
    let name = || stream.name().to_owned();
    for byte in FIRST_USER..HOLDABLE {
        let taken = segment.try_hold(byte);
        if let Some(user) = taken.map_err(|source| DeviceOpenError::Io { name: name(), source })? {
            return Ok(user);
        }
    }
    Err(DeviceOpenError::TooManyUsers { name: name(), most: HOLDABLE - FIRST_USER })
}

/// Waits while the creator is looking whether it may free the memory. With a byte held, the memory stays
/// from here on if there still is a creator.
fn await_decision(stream: &Stream) -> Result<(), DeviceOpenError> {
    let name = || stream.name().to_owned();
    let deadline = Deadline::after(CLOSING_TAKES);
    loop {
        let closing = stream.segment().is_held(CLOSING);
        let closing = closing.map_err(|source| DeviceOpenError::Io { name: name(), source })?;
        if stream.creator_alive() == Some(false) {
            return Err(DeviceOpenError::CreatorGone { name: name() });
        }
        if !closing {
            return Ok(());
        }
        if deadline.has_passed() {
            return Err(OpenError::Busy { name: name() }.into());
        }
        std::thread::sleep(NAP);
    }
}

/// True if anybody has the stream open; otherwise nobody can open it any more.
fn is_used(segment: &Segment) -> bool {
    let Ok(Some(closing)) = segment.try_hold(CLOSING) else { return true };
    // Users take the lowest byte that is free, so where there are any they are found soon; where there
    // are none, 510 questions take less time than freeing the memory.
    let used = (FIRST_USER..HOLDABLE).any(|byte| segment.is_held(byte).unwrap_or(true));
    if used {
        segment.let_go(closing);
    }
    used
}

fn refused(
    stream: &Stream,
    placement: &Placement,
    device: &Device,
    error: IpcError,
) -> DeviceOpenError {
    let name = stream.name().to_owned();
    match error {
        IpcError::NoPeerAccess { .. } | IpcError::Device(DeviceError::NoSuchUuid { .. }) => {
            let (found, wanted) = (placement.device(), device.uuid());
            DeviceOpenError::WrongDevice { name, found, wanted }
        }
        IpcError::Open { .. } | IpcError::Freed { .. } if stream.creator_alive() == Some(false) => {
            DeviceOpenError::CreatorGone { name }
        }
        source => DeviceOpenError::Ipc { name, source },
    }
}
