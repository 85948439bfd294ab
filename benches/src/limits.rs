//! What the hardware and the kernel allow: the same work with nothing around it.

mod copies;
mod free_list;
mod futex_hop;
mod hop;
mod locked;
mod mailbox;
mod mapping;
mod ring;
mod socket;
mod spin;

pub use copies::CopyKind;
pub use free_list::FreeList;
pub use futex_hop::{FUTEX_SLEEPER, FutexHop};
pub use hop::{HOP_ECHO, Hop, Shape};
pub use locked::{Locked, PendingBits};
pub use mailbox::{Mailbox, WORDS};
pub use mapping::Mapping;
pub use ring::{COPY_RING_READER, CopyRing, RingShape, check_stamp, stamp};
pub use socket::{BareSocket, Carries, SOCKET_HOLDER, hang_up, serve};
pub use spin::spin_until;
