//! Queues: bounded, ordered channels of tickets in the pool's own memory.
//!
//! | module      | what it is                                                            |
//! |-------------|-----------------------------------------------------------------------|
//! | `cell`      | what one word of a queue says                                         |
//! | `ring`      | the order of the tickets: put, take, append, look                     |
//! | `verdict`   | what an entry is to a seat, and claiming what is for anybody          |
//! | `directory` | which queues there are: names and runs of cells, given without a lock |
//! | `transfer`  | one attempt to put or to get, with everything that belongs to it      |
//! | `upkeep`    | the words of a pool's queues, and giving back what is left in them    |
//! | `handle`    | a queue as its users see it                                           |
//!
//! The first four are written over borrowed atomics: the model checker runs the code that runs over a
//! mapping. Upholds invariants 1 (there is no lock; whoever stops or dies at any instruction costs the
//! others at most one look every 50 ms), 2, 3 and 5.

pub(crate) mod cell;
pub(crate) mod directory;
pub(crate) mod ring;
pub(crate) mod verdict;

#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod found;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod transfer;
#[cfg(not(loom))]
mod upkeep;

#[cfg(not(loom))]
pub use error::QueueError;
#[cfg(not(loom))]
pub use found::{Mode, QueueInfo};
#[cfg(not(loom))]
pub use handle::Queue;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;
