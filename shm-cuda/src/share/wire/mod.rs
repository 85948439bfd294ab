//! The protocol: frames, what is in them, and the descriptors that come with them.
//!
//! `docs/share-protocol.md` of this crate specifies it, with golden vectors.
//!
//! Upholds invariant 2: whatever a peer sends becomes a value that was checked, or a typed error.

mod cbor;
mod channel;
mod decode;
mod encode;
mod header;
pub mod kind;
mod message;
mod outgoing;
mod record;
mod reply;
mod request;
mod tree;

pub use channel::{Channel, ChannelError, Frame};
pub use decode::{DecodeError, decode_arguments, decode_value};
pub use encode::{EncodedValue, encode_arguments, encode_value};
pub use header::{HEADER_LEN, Header, MAGIC, VERSION};
pub use message::{
    Answer, ArgumentsOf, Hello, Message, ObjectId, ObjectInfo, Payload, Received, Reply, Request,
    TaskId, TaskInfo, TaskState, Welcome,
};
