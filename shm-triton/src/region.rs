//! A segment that the server maps too.
//!
//! One shared memory object is one region under one name, registered at offset 0 over its whole length, never
//! shortened, unlinked by its owner only: what servers before 2.61 and 2.69 get wrong about offsets and aliases
//! cannot happen. Name and key are unique for ever, so an answer about one is never about another.
//!
//! Upholds invariants 3 (a region whose owner lives is known by the lock on its file) and 9.

use crate::error::{CallError, RegionError};
use crate::hub::{Hub, unexpected};
use crate::memory::SlotMemory;
use crate::transport::{Reply, Request};
use crate::wire::Code;
use shm_core::Deadline;
use shm_core::segment::{Lifetime, Segment, SegmentSpec};
use shm_pool::Storage;
use std::error::Error;
use std::sync::Arc;

/// The kind of such segments.
pub(crate) const KIND: &str = "triton";

/// Segments of this crate are called this and what follows.
pub(crate) const SEGMENT_PREFIX: &str = "triton.";

/// Regions on the server are called this and the name of the segment. Triton does not undo the escapes of a
/// path, so only what needs none stands in a name.
pub(crate) const REGION_PREFIX: &str = "shm-triton-";

/// A segment that the server maps too, or memory of this process where tensors go in the message.
#[derive(Debug)]
pub(crate) struct Region {
    /// Shared with those who look at slots for longer than the region lives.
    segment: Arc<Segment>,
    /// Name on the server.
    pub name: String,
    /// Name of the shared memory object; empty for memory of this process.
    pub key: String,
}

impl Region {
    /// Makes a segment of `bytes` bytes, all of them reserved.
    pub(crate) fn create(model: &str, bytes: usize) -> Result<Region, RegionError> {
        let error = |source| RegionError::Create { model: model.to_owned(), source };
        // A region of a model that is used again after a crash must not be mistaken for the old one.
        let random = random_hex();
        let name = format!("{SEGMENT_PREFIX}{}.{random}", std::process::id());
        let segment = Segment::create(&name, spec(bytes)).map_err(error)?;
        let key = segment
            .path()
            .and_then(|path| Some(format!("/{}", path.file_name()?.to_str()?)))
            .unwrap_or_else(|| format!("/{name}"));
        Ok(Region { segment: Arc::new(segment), name: format!("{REGION_PREFIX}{name}"), key })
    }

    /// Memory of this process only.
    pub(crate) fn process_local(model: &str, bytes: usize) -> Result<Region, RegionError> {
        let segment = Segment::process_local(model, spec(bytes))
            .map_err(|source| RegionError::Create { model: model.to_owned(), source })?;
        Ok(Region { segment: Arc::new(segment), name: String::new(), key: String::new() })
    }

    pub(crate) fn is_shared(&self) -> bool {
        !self.key.is_empty()
    }

    /// Where the payload begins in the region.
    pub(crate) fn payload_offset(&self) -> usize {
        self.segment.payload_offset()
    }

    /// Address of `len` bytes of the payload, for as long as the region.
    pub(crate) fn payload(&self, offset: usize, len: usize) -> *mut u8 {
        self.segment.payload(offset, len)
    }

    /// False once somebody else has removed or shortened the file.
    pub(crate) fn is_intact(&self) -> bool {
        self.segment.is_intact()
    }

    /// Has the server map it.
    pub(crate) fn register(&self, hub: &Hub, deadline: Deadline) -> Result<(), RegionError> {
        let request = Request::Register {
            name: &self.name,
            key: &self.key,
            offset: 0,
            byte_size: self.segment.total_len() as u64,
        };
        match hub.ask("register shared memory", request, deadline) {
            Ok(Reply::Done) => Ok(()),
            Ok(reply) => Err(unexpected("register shared memory", &reply).into()),
            Err(CallError::Refused { code: Code::Unimplemented, message, .. }) => {
                Err(RegionError::Disabled { message })
            }
            // The name is unique: it can only be this very region, registered by a request whose
            // answer was lost, or by one whose caller gave up.
            Err(CallError::Refused { code: Code::AlreadyExists, .. }) => Ok(()),
            Err(CallError::Refused {
                code: Code::Internal | Code::InvalidArgument,
                message,
                ..
            }) => {
                let (region, key) = (self.name.clone(), self.key.clone());
                Err(RegionError::Unmapped { region, key, message })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the mapping for longer than the region.
    pub(crate) fn memory(&self) -> SlotMemory {
        SlotMemory::of(&self.segment)
    }

    /// Takes the name away. The server's mapping, and anybody's slots, stay valid.
    pub(crate) fn unlink(&self) {
        if self.is_shared() && self.segment.unlink().is_err() {
            // Somebody else has done it, or shortened it so much that it is no segment any more. The name
            // is unique for ever, so what has it can be nothing else.
            #[cfg(target_os = "linux")]
            let _ = self.segment.path().map(std::fs::remove_file);
        }
    }
}

fn spec(bytes: usize) -> SegmentSpec {
    SegmentSpec {
        kind: KIND,
        payload_len: bytes,
        payload_align: 4096,
        lifetime: Lifetime::Attached,
        ..SegmentSpec::default()
    }
}

/// 64 random bits, as text.
fn random_hex() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Keyed afresh by the system for every value.
    format!("{:016x}", RandomState::new().hash_one(std::time::Instant::now()))
}

/// The slots' memory: offsets into a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengthwise {
    pub bytes: usize,
}

impl Storage for Lengthwise {
    /// A server may copy with the widest instructions, and neighbours never share a page's line.
    const ALIGNMENT: usize = 256;

    fn len(&self) -> usize {
        self.bytes
    }

    fn descriptor(&self) -> Vec<u8> {
        Vec::new()
    }

    fn attach(_: &[u8], bytes: usize) -> Result<Lengthwise, Box<dyn Error + Send + Sync>> {
        Ok(Lengthwise { bytes })
    }
}
