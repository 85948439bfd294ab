//! The fixed part of a frame.
//!
//! Upholds invariant 2: everything a header announces is held against the limits before memory is
//! taken for it.

use super::super::limits::{Limits, MOST_DESCRIPTORS};
use super::decode::DecodeError;
use super::kind;

/// First four bytes of a frame: `SHR1`.
pub const MAGIC: [u8; 4] = *b"SHR1";
/// Version of the protocol.
pub const VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER_LEN: usize = 24;

/// The fixed part of a frame, 24 bytes, little-endian: magic, kind u16, descriptors u16, request u64,
/// body length u32, nil u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: u16,
    /// Descriptors that belong to it.
    pub descriptors: u16,
    /// Which request it is or answers.
    pub request: u64,
    /// Bytes of the body.
    pub body: u32,
}

impl Header {
    /// As it is sent.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.kind.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.descriptors.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.request.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.body.to_le_bytes());
        bytes
    }

    /// Of a peer that may announce at most what `limits` say.
    ///
    /// # Errors
    /// If it is not of this protocol, of an unknown kind, or announces too much.
    pub fn parse(bytes: &[u8; HEADER_LEN], limits: &Limits) -> Result<Header, DecodeError> {
        let (fields, nil) = bytes.split_at(20);
        let (magic, fields) = fields.split_at(4);
        if magic != MAGIC {
            return Err(DecodeError::new("magic", "SHR1", format!("bytes {magic:02x?}")));
        }
        if nil != [0; 4] {
            return Err(DecodeError::new(
                "header",
                "zero in its last 4 bytes",
                format!("{nil:02x?}"),
            ));
        }
        let header = Header {
            kind: u16::from_le_bytes([fields[0], fields[1]]),
            descriptors: u16::from_le_bytes([fields[2], fields[3]]),
            request: u64::from_le_bytes(fields[4..12].try_into().expect("8 bytes")),
            body: u32::from_le_bytes(fields[12..16].try_into().expect("4 bytes")),
        };
        if !kind::is_known(header.kind) {
            let found = format!("{:#06x}", header.kind);
            return Err(DecodeError::new("kind", "a request or reply of this version", found));
        }
        let most = limits.descriptors.min(MOST_DESCRIPTORS);
        if usize::from(header.descriptors) > most {
            let expected = format!("at most {most}");
            return Err(DecodeError::new("descriptors", expected, header.descriptors));
        }
        if header.body as usize > limits.body {
            let expected = format!("at most {} bytes", limits.body);
            return Err(DecodeError::new("body length", expected, header.body));
        }
        Ok(header)
    }
}
