//! Memory that is lent between processes, acknowledged and recycled, and never leaks.
//!
//! A **pool** is a run of shared memory that producers borrow piece by piece. A piece, a **slot**, is
//! filled in place and published; the **ticket** that comes of it, forty bytes, travels by any channel; a
//! **consumer** redeems it for a **lease** and reads in place; when the last one has released it, the slot
//! is free again and a waiting producer is woken. Any of them may be killed or stopped at any
//! instruction: what the dead held comes back, what the living hold is theirs.
//!
//! ```text
//!    producer                       the pool's segment                         consumers, up to 64
//!  ┌───────────┐  lend    ┌─────────────────────────────────────┐  redeem    ┌───────────────────┐
//!  │ slot      │◀─────────│ slot 0  shared   waits for 0, 2     │───────────▶│ seat 0: lease     │
//!  │  fill it  │          │ slot 1  filling  process 4711       │            │ seat 2: lease     │
//!  │  publish ─┼─────────▶│ slot 2  free                        │◀───────────│  release          │
//!  └─────┬─────┘  ticket  └─────────────────────────────────────┘  last one  └─────────▲─────────┘
//!        └──────────────── any channel: a queue, a pipe, a message ────────────────────┘
//!
//!             lend              publish              last release
//!    Free ───────────▶ Filling ─────────▶ Shared ───────────────────▶ Free
//!                         │ dropped, killed: nobody has seen it         ▲
//!                         └─────────────────────────────────────────────┘
//! ```
//!
//! ```
//! use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};
//! use std::time::Duration;
//! # let name = format!("doc-crate-{}", std::process::id());
//!
//! // The encoder's process: eight images of one megabyte, for two consumers.
//! let pool = Pool::create(&name, &PoolConfig::slots(8, 1 << 20)?.consumers(2)?)?;
//! let consumers = [Consumer::open(&name)?, Consumer::open(&name)?];   // usually elsewhere
//!
//! let mut slot = pool.lend(1 << 20, Wait::from(Duration::from_secs(1)), Policy::Block)?;
//! slot.as_mut_slice::<f32>()?.fill(0.5);
//! let ticket = slot.publish(Audience::Everyone)?;
//!
//! for consumer in &consumers {
//!     let lease = consumer.redeem(&ticket)?;
//!     assert_eq!(lease.get::<f32>(1000)?, 0.5);
//!     lease.release();
//! }
//! assert_eq!(pool.stats().free, 8);
//! assert!(consumers[0].redeem(&ticket).is_err());       // its time is over, for good
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to                                        | use                                                |
//! |-------------------------------------------|----------------------------------------------------|
//! | lend pieces of one size, or of any size   | [`PoolConfig::slots`], [`PoolConfig::chunks`]      |
//! | produce                                   | [`Pool::lend`], [`Slot`], [`Audience`]             |
//! | consume                                   | [`Consumer`], [`Lease`]                            |
//! | wait, give up, drop what nobody read      | [`Wait`], [`Cancel`], [`Policy`], [`Request`]      |
//! | publish several slots as one              | [`Pool::lend_many`], [`Batch`]                     |
//! | send tickets                              | [`Queue`], or any channel of your own              |
//! | keep tensors under keys                   | [`Store`]                                          |
//! | lend memory of another kind               | [`Storage`]                                        |
//! | see what is going on, and repair          | [`Pool::stats`], [`Pool::fsck`], [`Pool::reap`], [`Recycler`] |
//!
//! # What is promised
//! * **Nobody gets what another has.** A slot changes hands by one atomic exchange that compares its
//!   generation, which is used once in the life of the pool: late, duplicate and foreign tickets and
//!   acknowledgements change nothing.
//! * **Nothing leaks.** Every slot that is not free names who has it, from the exchange on that took it.
//!   Who is dead is what the kernel says: each process holds a lock that ends with it.
//! * **Nothing is taken from the living.** Whoever is slow or stopped is reported ([`Pool::overdue`]);
//!   a slot that is [revoked](Pool::revoke) is set aside until its holders are done.
//! * **Nobody waits for the stopped or the dead.** There is no lock: a process that stops anywhere keeps
//!   what it has, and nothing else.
//!
//! # Platforms
//! Tested on Linux x86-64; see [`shm_core`] for the others.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The README's examples run with the doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod arena;
#[cfg(not(loom))]
mod attached;
mod attendance;
#[cfg(not(loom))]
mod batch;
mod bell;
#[cfg(all(not(loom), feature = "cli", target_os = "linux"))]
pub mod cli;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod creation;
#[cfg(not(loom))]
mod departure;
#[cfg(not(loom))]
mod error;
#[cfg(all(not(loom), feature = "testing"))]
pub mod fault;
#[cfg(all(not(loom), not(feature = "testing")))]
mod fault;
#[cfg(not(loom))]
mod fsck;
#[cfg(not(loom))]
mod grant;
#[cfg(not(loom))]
mod habit;
mod hints;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod lease;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod lending;
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
mod store;
mod sync;
#[cfg(not(loom))]
mod ticket;
mod waiters;
#[cfg(not(loom))]
mod waiting;
mod word;

#[cfg(not(loom))]
pub use attached::Member;
#[cfg(not(loom))]
pub use batch::{Batch, BatchLease, Part};
#[cfg(not(loom))]
pub use config::{ConfigError, MAX_METADATA, MAX_SLOTS, PoolConfig};
#[cfg(not(loom))]
pub use consumer::Consumer;
#[cfg(not(loom))]
pub use creation::remove;
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
pub use pool::Pool;
#[cfg(not(loom))]
pub use queue::{Mode, Queue, QueueError, QueueInfo};
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
pub use store::{
    AttachError, Entry, MAX_KEY, MAX_TENSORS, Reservation, Retrieved, Store, StoreConfig,
    StoreError, StoreRequest, Tensor, TensorAccessError,
};
#[cfg(not(loom))]
pub use ticket::{Ticket, TicketError};
pub use word::SlotState;
