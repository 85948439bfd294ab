//! The suite `triton`: calls through shared memory, beside other clients of the same servers.
//!
//! Servers and clients of other languages are processes of their own, whose programs the
//! environment names ([`Programs`]); `cargo xtask bench triton` provides them. What is not there is
//! skipped, which is said, and its cells stay empty.
//!
//! ```text
//!   measure ──► servers   Triton's native and Python backend, and the embedded server
//!     │──► one_call ┐     every path of every model, in turns
//!     │──► at_once  ┘──►  ours, peer, load: who calls
//!     │                   wire, memory:     what a call cannot do without
//!     └──► report         rows, table, JSON
//! ```

mod at_once;
mod calls;
mod load;
mod measure;
mod memory;
mod model;
mod one_call;
mod ours;
mod path;
mod peer;
mod programs;
mod report;
mod row;
mod servers;
mod turns;
mod watch;
mod wire;

pub use measure::measure;
pub use programs::Programs;
pub use report::Report;
pub use row::Row;
