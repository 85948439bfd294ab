//! Frames that wait to be written, in as few system calls as descriptors allow.
//!
//! Upholds invariant 5: nothing waits; what the socket does not take stays.

use super::super::failure::{Failure, FailureKind};
use super::super::limits::MOST_DESCRIPTORS;
use super::super::tensor::Storage;
use super::channel::ChannelError;
use super::encode::has_descriptor;
use super::header::{HEADER_LEN, Header};
use super::message::Message;
use crate::ipc::IpcError;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Up to here an encoded value is copied behind its header; longer ones are written from where they are.
const COPIED: usize = 16 << 10;
/// Frames are gathered in one piece up to this length.
const PIECE: usize = 64 << 10;
/// Pieces and values that are written at once.
const PARTS: usize = 16;

/// A queue of frames.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// Bytes of all pieces that are not written yet.
    len: usize,
    /// Memory of a piece that was written.
    spare: Vec<u8>,
}

/// Frames that follow each other. Descriptors go with the first byte.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// Behind `bytes`.
    value: Option<Arc<[u8]>>,
    /// Those that travel with the first frame; none once its first byte is written.
    storages: Option<Arc<[Storage]>>,
    written: usize,
}

impl Outgoing {
    /// Bytes that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, request: u64, message: Message) -> Result<(), Failure> {
        let descriptors = message.descriptors();
        let header = Header {
            kind: message.kind,
            descriptors: within(descriptors, MOST_DESCRIPTORS, "descriptors")? as u16,
            request,
            body: within(message.body_len(), u32::MAX as usize, "body length")? as u32,
        };
        let Message { body, value, .. } = message;
        let (value, storages) = match value {
            Some(value) => {
                // A storage that cannot be sent any more fails its own frame, not the connection.
                descriptors_of(&value.storages).map_err(unsendable)?;
                (Some(value.body), (descriptors > 0).then_some(value.storages))
            }
            None => (None, None),
        };
        let joins = storages.is_none()
            && self
                .pieces
                .back()
                .is_some_and(|piece| piece.value.is_none() && piece.bytes.len() < PIECE);
        if !joins {
            let bytes = std::mem::take(&mut self.spare);
            self.pieces.push_back(Piece { bytes, value: None, storages, written: 0 });
        }
        let piece = self.pieces.back_mut().expect("there is one to join, or it was just added");
        piece.bytes.extend_from_slice(&header.to_bytes());
        piece.bytes.extend_from_slice(&body);
        match value {
            Some(value) if value.len() <= COPIED => piece.bytes.extend_from_slice(&value),
            value => piece.value = value,
        }
        self.len += HEADER_LEN + header.body as usize;
        Ok(())
    }

    pub(super) fn flush(&mut self, socket: &UnixStream) -> Result<bool, ChannelError> {
        while !self.pieces.is_empty() {
            match self.send(socket) {
                Ok(sent) => self.advance(sent),
                Err(ChannelError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// One system call: pieces up to the next one that has descriptors.
    fn send(&self, socket: &UnixStream) -> Result<usize, ChannelError> {
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut count = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            if count + 2 > PARTS || (index > 0 && piece.storages.is_some()) {
                break;
            }
            for part in piece.left() {
                parts[count] = IoSlice::new(part);
                count += 1;
            }
        }
        let storages = self.pieces.front().and_then(|piece| piece.storages.as_ref());
        let descriptors = match storages {
            Some(storages) => descriptors_of(storages)
                .map_err(|error| ChannelError::System(io::Error::other(error)))?,
            None => Vec::new(),
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
            assert!(fits, "no more descriptors than the space was made for");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            match rustix::net::sendmsg(socket, &parts[..count], &mut control, flags) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET | Errno::PIPE) => return Err(ChannelError::Closed),
                Err(errno) => return Err(ChannelError::System(errno.into())),
            }
        }
    }

    fn advance(&mut self, mut sent: usize) {
        self.len -= sent;
        while sent > 0 {
            let piece = self.pieces.front_mut().expect("no more is written than there was");
            // The first byte is gone, and the descriptors with it.
            piece.storages = None;
            let left = piece.len() - piece.written;
            if sent < left {
                piece.written += sent;
                return;
            }
            sent -= left;
            if let Some(mut piece) = self.pieces.pop_front()
                && piece.bytes.capacity() <= 2 * PIECE
                && piece.bytes.capacity() > self.spare.capacity()
            {
                piece.bytes.clear();
                self.spare = piece.bytes;
            }
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        self.bytes.len() + self.value.as_ref().map_or(0, |value| value.len())
    }

    /// What is not written yet.
    fn left(&self) -> impl Iterator<Item = &[u8]> {
        let value = self.value.as_deref().unwrap_or_default();
        let bytes = self.bytes.get(self.written..).unwrap_or_default();
        let value = &value[self.written.saturating_sub(self.bytes.len())..];
        [bytes, value].into_iter().filter(|part| !part.is_empty())
    }
}

/// The descriptors of those storages that have one, in order.
fn descriptors_of(storages: &[Storage]) -> Result<Vec<BorrowedFd<'_>>, IpcError> {
    let mut descriptors = Vec::with_capacity(storages.len());
    for storage in storages.iter().filter(|storage| has_descriptor(storage)) {
        match storage {
            Storage::Host(memory) => descriptors.push(memory.descriptor()),
            Storage::Device(memory) => descriptors.extend(memory.passage()?.1),
        }
    }
    Ok(descriptors)
}

fn within(found: usize, most: usize, field: &str) -> Result<usize, Failure> {
    if found <= most {
        return Ok(found);
    }
    let message = format!(
        "{field}: expected at most {most}, found {found}; put large data into tensors, several into one storage"
    );
    Err(Failure::new(FailureKind::Value, message)
        .with("field", field)
        .with("expected", format_args!("at most {most}"))
        .with("found", found))
}

fn unsendable(error: IpcError) -> Failure {
    let message = format!("device memory: expected memory that can still be sent, found {error}");
    Failure::new(FailureKind::Capability, message)
        .with("field", "storage")
        .with("expected", "memory that can be sent")
        .with("found", error)
}
