//! Tensors on their way through host memory.

use super::error::WrapError;
use super::proxy::Body;
use super::source::Memory;
use crate::cuda_stream::StreamRef;
use shm_pool::{LendError, Policy, Pool, Slot, Wait};

/// Bytes that are about to travel through host memory; given back when dropped.
#[derive(Debug)]
pub(super) enum HostDraft {
    Inline(Vec<u8>),
    Slot(Slot),
}

/// Copies a tensor to a slot of `pool`, if there is one, else to what travels. Waits for the device.
pub(super) fn draft(
    memory: Memory<'_>,
    pool: Option<&Pool>,
    (wait, policy): (Wait, Policy),
    stream: StreamRef<'_>,
) -> Result<HostDraft, WrapError> {
    let bytes = len(memory);
    let Some(pool) = pool else {
        let mut inline = vec![0; bytes];
        fill(&mut inline, memory, stream)?;
        return Ok(HostDraft::Inline(inline));
    };
    let mut slot =
        pool.lend(bytes, wait, policy).map_err(|source| WrapError::HostLend { bytes, source })?;
    fill(slot.bytes_mut(), memory, stream)?;
    Ok(HostDraft::Slot(slot))
}

impl HostDraft {
    pub(super) fn inline(self) -> Result<Body, Slot> {
        match self {
            HostDraft::Inline(bytes) => Ok(Body::Inline(bytes)),
            HostDraft::Slot(slot) => Err(slot),
        }
    }
}

/// True if the pool had no room, now or in time.
pub(super) fn is_full(error: &WrapError) -> bool {
    use LendError::{Full, Timeout};
    match error {
        WrapError::Lend { source, .. } => source.is_full(),
        WrapError::HostLend { source, .. } => matches!(source, Full { .. } | Timeout { .. }),
        _ => false,
    }
}

pub(super) fn len(memory: Memory<'_>) -> usize {
    match memory {
        Memory::Host(bytes) => bytes.len(),
        Memory::Device(slice) => slice.len(),
    }
}

fn fill(out: &mut [u8], memory: Memory<'_>, stream: StreamRef<'_>) -> Result<(), WrapError> {
    match memory {
        Memory::Host(bytes) => out.copy_from_slice(bytes),
        Memory::Device(slice) => slice.download(out, stream)?,
    }
    Ok(())
}
