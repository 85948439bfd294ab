//! The protocol of the share service: values, messages, frames and the memory that comes with them.
#![cfg(target_os = "linux")]

#[path = "share_wire/alone.rs"]
mod alone;
#[path = "share_wire/frames.rs"]
mod frames;
#[path = "share_wire/hostile.rs"]
mod hostile;
#[path = "share_wire/meaning.rs"]
mod meaning;
#[path = "share_wire/memory.rs"]
mod memory;
#[path = "share_wire/messages.rs"]
mod messages;
#[path = "share_wire/samples.rs"]
mod samples;
#[path = "share_wire/trees.rs"]
mod trees;
#[path = "share_wire/values.rs"]
mod values;
#[path = "share_wire/vectors.rs"]
mod vectors;
