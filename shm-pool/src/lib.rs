//! Pools of shared memory: slots and chunks that are lent, acknowledged and recycled, and never leak.

#[cfg(not(loom))]
mod batch;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod error;
#[cfg(all(not(loom), feature = "testing"))]
pub mod fault;
#[cfg(all(not(loom), not(feature = "testing")))]
mod fault;
mod arena;
#[cfg(not(loom))]
mod fsck;
#[cfg(not(loom))]
mod grant;
mod hints;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod lease;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod lent;
#[cfg(not(loom))]
mod line;
#[cfg(not(loom))]
mod member;
#[cfg(not(loom))]
mod policy;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod queue;
#[cfg(not(loom))]
mod reap;
#[cfg(not(loom))]
mod recycler;
#[cfg(not(loom))]
mod request;
#[cfg(not(loom))]
mod seat;
mod slot;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod storage;
#[cfg(not(loom))]
mod store;
mod sync;
#[cfg(not(loom))]
mod ticket;
mod word;

#[cfg(not(loom))]
pub use batch::{Batch, BatchLease, Part};
#[cfg(not(loom))]
pub use config::{ConfigError, MAX_METADATA, MAX_SLOTS, PoolConfig};
#[cfg(not(loom))]
pub use consumer::Consumer;
#[cfg(not(loom))]
pub use error::{
    CreateError, ElementError, JoinError, LendError, OpenError, PublishError, RedeemError,
    RemoveError, RevokeError, SlotHolder,
};
#[cfg(not(loom))]
pub use fsck::{Fsck, SlotReport};
#[cfg(not(loom))]
pub use lease::Lease;
#[cfg(not(loom))]
pub use lent::{Audience, Slot};
#[cfg(not(loom))]
pub use policy::{Cancel, Policy, Wait};
#[cfg(not(loom))]
pub use pool::{Pool, remove};
#[cfg(not(loom))]
pub use reap::Reaped;
#[cfg(not(loom))]
pub use recycler::Recycler;
#[cfg(not(loom))]
pub use request::Request;
#[cfg(not(loom))]
pub use seat::MAX_SEATS;
#[cfg(not(loom))]
pub use stats::{ConsumerInfo, Overdue, PoolInfo, PoolStats, Revoked};
#[cfg(not(loom))]
pub use storage::{Host, Storage};
#[cfg(not(loom))]
pub use ticket::{Ticket, TicketError};
pub use word::SlotState;
