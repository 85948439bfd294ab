//! The demo's own processes, in two acts. This is the first; the second is `chain`.
//!
//! ```text
//!   conductor ──"die"──> publisher 1 ──┐ frames            ┌─> viewer 1 ──┐
//!       │                 (killed)     ├──> shared memory ─┼─> viewer 2   │ reports
//!       └──────────────> publisher 2 ──┘                   └─> slow viewer┘ to the conductor
//! ```
//!
//! Frames travel only through the stream. A publisher gets the decoded pictures once, when it
//! starts, on its standard input; from then on pipes carry commands and reports, one JSON message
//! a line, and their end: a child whose conductor is gone ends too.

mod chain;
mod child;
mod conductor;
mod cpu;
mod frame;
mod message;
mod photos;
mod piece;
mod publisher;
mod record;
mod scoreboard;
mod stream_name;
mod tally;
mod thumbnail;
mod verdict;
mod viewer;

pub use chain::worker;
pub use piece::task;
pub use publisher::task as publisher;
pub use viewer::task as viewer;
