//! The second act: the frames are looked at by a model on an inference server.
//!
//! ```text
//!                    frames                   the detector's input, written in place
//!   publisher ──> shared memory ──> worker ──────────> shared memory ──> inference server
//!                                     └──<── its output, read in place ──<──┘
//! ```
//!
//! Between worker and server only names, offsets and shapes travel as messages. What the server
//! answers is compared with what the same detector says in a process that has neither server nor
//! shared memory.

mod act;
mod answers;
mod board;
mod input;
mod likeness;
mod message;
mod reference;
mod regions;
mod server;
mod verdict;
mod worker;

pub use act::{Props, play};
pub use worker::task as worker;
