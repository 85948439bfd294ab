//! What can go wrong with a pool, per operation. Each message names the field, what was expected, what
//! was found, and what to do next.

use crate::word::SlotState;
use std::error::Error;
use std::io;
use std::time::Duration;

/// Why a pool could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A pool of that name has an owner who lives.
    #[error(
        "pool '{name}' is already owned by process {pid} since {since_wall_ns} ns after 1970; \
         open it, or choose another name"
    )]
    AlreadyOwned {
        /// The name as given.
        name: String,
        /// The owner, as seen in its own pid namespace.
        pid: u32,
        /// When it created the pool, nanoseconds since 1970 UTC.
        since_wall_ns: u64,
    },
    /// A pool of that name has no owner any more, and is persistent or still attached to.
    #[error(
        "pool '{name}' exists without an owner, process {pid} having left it; \
         open it, drain it, or remove it with `shm_pool::remove`"
    )]
    Orphaned {
        /// The name as given.
        name: String,
        /// The owner that died.
        pid: u32,
    },
    /// The storage is smaller than the pool, or its descriptor too long.
    #[error("storage of pool '{name}': {field} is {found}, expected {expected}")]
    Storage {
        /// The name as given.
        name: String,
        /// `length` or `descriptor`.
        field: &'static str,
        /// What the pool needs.
        expected: String,
        /// What the storage has.
        found: usize,
    },
    /// The segment could not be created.
    #[error(transparent)]
    Segment(#[from] shm_core::CreateError),
    /// The operating system refused a lock.
    #[error("cannot lock the segment of pool '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a pool could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The segment could not be opened, or does not describe a pool.
    #[error(transparent)]
    Segment(#[from] shm_core::OpenError),
    /// The segment is one of a store, or of a pool and not a store.
    #[error("'{name}' is a {found}, expected a {expected}; open it as what it is")]
    Purpose {
        /// The name as given.
        name: String,
        /// `pool` or `store`.
        expected: &'static str,
        /// `pool` or `store`.
        found: &'static str,
    },
    /// The storage could not be attached to.
    #[error("cannot attach to the storage of pool '{name}'")]
    Storage {
        /// The name as given.
        name: String,
        /// What the storage says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The operating system refused, or the table of members is full.
    #[error("cannot join pool '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Who has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHolder {
    /// Its process, as seen in its own pid namespace.
    pub pid: u32,
    /// The seat of a consumer; `None` for a producer.
    pub seat: Option<usize>,
    /// The slot.
    pub slot: usize,
    /// How long it has been lent.
    pub held_for: Duration,
}

impl core::fmt::Display for SlotHolder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let SlotHolder { pid, slot, held_for, .. } = self;
        match self.seat {
            Some(seat) => write!(f, "slot {slot}: seat {seat} (pid {pid}) for {held_for:.1?}"),
            None => write!(f, "slot {slot}: producer (pid {pid}) for {held_for:.1?}"),
        }
    }
}

fn listed(holders: &[SlotHolder]) -> String {
    match holders {
        [] => "nobody in particular".to_owned(),
        [one] => one.to_string(),
        [first, ..] => format!("{first}, and {} more", holders.len() - 1),
    }
}

/// Why nothing was lent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LendError {
    /// More bytes than a slot of this pool has.
    #[error(
        "pool '{name}' lends at most {most} bytes at once, not {found}; split the data or make a larger pool"
    )]
    TooLarge {
        /// Name of the pool.
        name: String,
        /// The most it lends at once.
        most: usize,
        /// What was asked for.
        found: usize,
    },
    /// No bytes at all, or no parts.
    #[error("pool '{name}' cannot lend 0 bytes; ask for at least one")]
    Nothing {
        /// Name of the pool.
        name: String,
    },
    /// Nothing is free right now, or others have been waiting for it.
    #[error("pool '{name}' has no room for {bytes} bytes now; {free} bytes are free. Longest held: {}", listed(.holders))]
    Full {
        /// Name of the pool.
        name: String,
        /// What was asked for.
        bytes: usize,
        /// Bytes that are free, though not in one piece or not for this caller.
        free: u64,
        /// Who has had slots for longest, oldest first, at most eight.
        holders: Vec<SlotHolder>,
    },
    /// Nothing came free before the deadline.
    #[error("pool '{name}' had no room for {bytes} bytes within {waited:.1?}; {free} bytes are free. Longest held: {}", listed(.holders))]
    Timeout {
        /// Name of the pool.
        name: String,
        /// What was asked for.
        bytes: usize,
        /// How long was waited.
        waited: Duration,
        /// Bytes that are free, though not in one piece.
        free: u64,
        /// Who has had slots for longest, oldest first, at most eight.
        holders: Vec<SlotHolder>,
    },
    /// The wait was cancelled.
    #[error("waiting for {bytes} bytes of pool '{name}' was cancelled")]
    Cancelled {
        /// Name of the pool.
        name: String,
        /// What was asked for.
        bytes: usize,
    },
    /// The pool was unlinked: what is lent stays valid, nothing more is lent.
    #[error("pool '{name}' was removed; open or create the one that has the name now")]
    Retired {
        /// Name of the pool.
        name: String,
    },
    /// The pool was opened for consuming only.
    #[error(
        "pool '{name}' was opened for consuming, its memory is read-only here; use `Pool::open`"
    )]
    ReadOnly {
        /// Name of the pool.
        name: String,
    },
    /// The operating system refused a lock, or the table of members is full.
    #[error("cannot join pool '{name}'")]
    Io {
        /// Name of the pool.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a slot was not published. It is given back then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Every consumer has left.
    #[error("pool '{name}' has no consumer; wait for one to join before publishing")]
    NoConsumers {
        /// Name of the pool.
        name: String,
    },
    /// Seats were named on which nobody sits.
    #[error(
        "pool '{name}': nobody sits on the seats of mask {absent:#x}; address those who joined"
    )]
    Absent {
        /// Name of the pool.
        name: String,
        /// The seats, one bit each.
        absent: u64,
    },
    /// No seat was named.
    #[error("pool '{name}': a publication for no seat would never be read; name one, or everyone")]
    Nobody {
        /// Name of the pool.
        name: String,
    },
    /// The slot was revoked while it was being filled.
    #[error("slot {slot} of pool '{name}' was revoked while it was being filled; lend another one")]
    Revoked {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
    },
    /// This process is a fork of the one that was lent the slot.
    #[error("slot {slot} of pool '{name}' was lent to the parent of this process; lend one here")]
    Forked {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
    },
}

/// Why nobody could sit down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// All seats are taken.
    #[error("all {seats} seats of pool '{name}' are taken; create it with more consumers")]
    Full {
        /// Name of the pool.
        name: String,
        /// How many there are.
        seats: usize,
    },
    /// Somebody sits there.
    #[error("seat {seat} of pool '{name}' is taken by process {pid}; take another one")]
    Taken {
        /// Name of the pool.
        name: String,
        /// The seat.
        seat: usize,
        /// Who has it.
        pid: u32,
    },
    /// There is no such seat.
    #[error("pool '{name}' has seats 0 to {}, not {seat}", .seats - 1)]
    NoSeat {
        /// Name of the pool.
        name: String,
        /// The seat as given.
        seat: usize,
        /// How many there are.
        seats: usize,
    },
    /// The pool was unlinked.
    #[error("pool '{name}' was removed; open or create the one that has the name now")]
    Retired {
        /// Name of the pool.
        name: String,
    },
    /// The pool could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operating system refused a lock, or the table of members is full.
    #[error("cannot join pool '{name}'")]
    Io {
        /// Name of the pool.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Why a ticket was not redeemed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemError {
    /// The publication is over: released by all, taken back, or revoked.
    #[error(
        "ticket for slot {slot}, generation {generation} of pool '{name}' is stale: the slot is {state} \
         in generation {found}; the publication was released, dropped or revoked"
    )]
    Stale {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
        /// The generation of the ticket.
        generation: u64,
        /// What the slot is at now.
        state: SlotState,
        /// The generation of the slot now.
        found: u64,
    },
    /// The ticket is of another pool, or of an earlier one with the same name.
    #[error("ticket is of another pool than '{name}'; redeem it where it was issued")]
    Foreign {
        /// Name of the pool.
        name: String,
    },
    /// The ticket names a slot that the pool does not have.
    #[error(
        "ticket names slot {slot} of pool '{name}', which has {slots}; it was damaged on its way"
    )]
    NoSlot {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
        /// How many there are.
        slots: usize,
    },
    /// The publication is not for this consumer, or it has released it already.
    #[error("slot {slot} of pool '{name}' is not for seat {seat}, or was released by it already")]
    NotAddressed {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
        /// The consumer's seat.
        seat: usize,
    },
    /// This consumer holds the publication already.
    #[error(
        "slot {slot} of pool '{name}' is held by seat {seat} already; release it once, or clone the lease"
    )]
    AlreadyRedeemed {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
        /// The consumer's seat.
        seat: usize,
    },
    /// Another consumer was faster.
    #[error("slot {slot} of pool '{name}' was for one consumer, and another was faster")]
    Taken {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
    },
    /// The slot's own record makes no sense: somebody has damaged it.
    #[error(
        "slot {slot} of pool '{name}': {field} is {found}, expected {expected}; the pool's memory was damaged"
    )]
    Damaged {
        /// Name of the pool.
        name: String,
        /// The slot.
        slot: usize,
        /// Which part of the record.
        field: &'static str,
        /// What would make sense.
        expected: String,
        /// What was found.
        found: u64,
    },
    /// This process is a fork of the one that is the consumer.
    #[error(
        "seat {seat} of pool '{name}' belongs to the parent of this process; take one here with `consumer()`"
    )]
    Forked {
        /// Name of the pool.
        name: String,
        /// The seat.
        seat: usize,
    },
}

/// Why elements of a slot could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElementError {
    /// The slot's length is no multiple of the element's.
    #[error(
        "a slot of {bytes} bytes does not hold whole elements of {size} bytes; lend a multiple"
    )]
    Size {
        /// Bytes of the slot.
        bytes: usize,
        /// Bytes of an element.
        size: usize,
    },
    /// More or fewer elements than there are.
    #[error("a slot of {expected} elements, not {found}; give as many as were lent")]
    Length {
        /// How many there are.
        expected: usize,
        /// How many were given or asked for.
        found: usize,
    },
    /// No such element.
    #[error("element {index} of {elements}")]
    Index {
        /// The index as given.
        index: usize,
        /// How many there are.
        elements: usize,
    },
}

/// Why a publication could not be revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The ticket cannot be redeemed either.
    #[error(transparent)]
    Ticket(#[from] RedeemError),
}

/// Why a pool's name could not be taken away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The owner lives, and is another process or handle.
    #[error("pool '{name}' is owned by process {pid}, which lives; only the owner removes it")]
    Owned {
        /// The name as given.
        name: String,
        /// The owner.
        pid: u32,
    },
    /// The pool could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The name could not be taken away.
    #[error(transparent)]
    Unlink(#[from] shm_core::UnlinkError),
    /// The operating system refused a lock.
    #[error("cannot ask who owns pool '{name}'")]
    Io {
        /// The name as given.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}
