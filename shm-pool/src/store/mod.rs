//! A keyed store: tensors under keys, shared by processes that come and go.
//!
//! A store is a chunk pool whose slots are entries, plus an index in the same control area. Any attached
//! process stores and retrieves by itself; there is no server, no lock, and nothing to restart.
//!
//! ```text
//!   prepare_store(key)       commit()             prepare_retrieve(keys)          release()
//!         │                     │                          │                          │
//!    chunk granted         lanes cleared,             index ▶ entry,              flag cleared
//!    key in the index,     Filling ▶ Stored,          flag set in a lane,
//!    nobody sees it        everybody sees it          state looked at again
//! ```
//!
//! | module        | concept                                                              |
//! |---------------|----------------------------------------------------------------------|
//! | `index`       | which slot has which key; one winner per key                          |
//! | `pins`        | committing, pinning and evicting, as transitions of a slot's words    |
//! | `header`      | what an entry's memory begins with, and what of it is believed         |
//! | `worker`      | one handle: its seat, and the leases that share its flags              |
//! | `reserve`     | from a key to a reservation; `reservation`: filling and committing it  |
//! | `retrieve`    | from keys to leases, all or none; `entry`: reading them                |
//! | `evict`       | making room: expired first, then least recently used                  |
//!
//! | killed while                | is left                          | and becomes                     |
//! |-----------------------------|----------------------------------|---------------------------------|
//! | waiting for memory          | a place in the line              | taken off it                    |
//! | inserting, filling          | a `Filling` slot and its cell    | free by reaping; the cell is garbage by that |
//! | committing                  | nothing half done                | a reservation or an entry       |
//! | pinning, reading            | a flag in a lane                 | cleared when its seat is reaped |
//! | evicting, before `Draining` | an `Evicting` slot               | rescued by who reads it, `Stored` by reaping |
//! | evicting, after it          | a `Draining` slot and its cell   | free by reaping; the cell is garbage |
//!
//! Upholds invariants 1, 2, 3, 5, 7 and 9: workers attach and cannot unlink, what is not committed is
//! never readable, and a lease or a reservation ends by its holder's doing or death and by no timer.

#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod entry;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod evict;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod header;
mod index;
#[cfg(not(loom))]
mod key;
mod pins;
#[cfg(not(loom))]
mod reservation;
#[cfg(not(loom))]
mod reserve;
#[cfg(not(loom))]
mod retrieve;
#[cfg(not(loom))]
mod survey;
#[cfg(not(loom))]
mod worker;

#[cfg(not(loom))]
pub use config::StoreConfig;
#[cfg(not(loom))]
pub use entry::{Entry, Retrieved, Tensor};
#[cfg(not(loom))]
pub use error::{AttachError, StoreError, TensorAccessError};
#[cfg(not(loom))]
pub use handle::Store;
#[cfg(not(loom))]
pub use header::MAX_TENSORS;
#[cfg(not(loom))]
pub use key::MAX_KEY;
#[cfg(not(loom))]
pub use reservation::Reservation;
#[cfg(not(loom))]
pub use reserve::StoreRequest;

#[cfg(all(test, not(loom)))]
mod tests;
