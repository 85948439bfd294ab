//! What can go wrong with a queue. Each message names the field, what was expected, what was found, and
//! what to do next.

use crate::queue::directory::MAX_NAME;
use std::io;
use std::time::Duration;

/// Why a queue could not be made, found or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// A name that is empty or too long.
    #[error("a queue's name has 1 to {MAX_NAME} bytes, '{queue}' has {found}; choose another name")]
    Name {
        /// The name as given.
        queue: String,
        /// Its length in bytes.
        found: usize,
    },
    /// No tickets at all, or more than the pool has room for.
    #[error(
        "maxsize of queue '{queue}' is {found}; this pool has room for 1 to {most}, see \
         `PoolConfig::queue_cells`"
    )]
    MaxSize {
        /// Name of the queue.
        queue: String,
        /// The number as given.
        found: usize,
        /// The most there can be in all queues together.
        most: usize,
    },
    /// The room for queues is taken by others.
    #[error(
        "no room for queue '{queue}' of {found} tickets, {most} are the most in one piece; remove a \
         queue, or give the pool more with `PoolConfig::queue_cells`"
    )]
    NoRoom {
        /// Name of the queue.
        queue: String,
        /// The number as given.
        found: usize,
        /// What would fit now.
        most: usize,
    },
    /// The pool has as many queues as it can have.
    #[error("no entry for queue '{queue}': the pool has {most} queues already; remove one")]
    TooMany {
        /// Name of the queue.
        queue: String,
        /// The most queues of a pool.
        most: usize,
    },
    /// The pool has a queue of that name.
    #[error("queue '{queue}' exists in pool '{name}'; open it, or choose another name")]
    Exists {
        /// Name of the pool.
        name: String,
        /// Name of the queue.
        queue: String,
    },
    /// The pool has no queue of that name.
    #[error("pool '{name}' has no queue '{queue}'; there is {}", listed(.found))]
    NotFound {
        /// Name of the pool.
        name: String,
        /// Name of the queue.
        queue: String,
        /// The queues that there are.
        found: Vec<String>,
    },
    /// There is no room right now.
    #[error("queue '{queue}' is full with {maxsize} tickets{}; get some, or wait", late(*.behind))]
    Full {
        /// Name of the queue.
        queue: String,
        /// The most tickets in it.
        maxsize: usize,
        /// In a broadcast queue, the seats that have not got the oldest ticket, one bit each.
        behind: u64,
    },
    /// There is nothing for this consumer right now.
    #[error("queue '{queue}' has nothing for seat {seat}; wait for a ticket")]
    Empty {
        /// Name of the queue.
        queue: String,
        /// Seat of the consumer.
        seat: usize,
    },
    /// Nothing came, or no room, before the deadline.
    #[error(
        "queue '{queue}': {} within {waited:.1?}{}",
        if *.putting { "no room" } else { "nothing came" },
        late(*.behind)
    )]
    Timeout {
        /// Name of the queue.
        queue: String,
        /// True if it was waited for room, false if for a ticket.
        putting: bool,
        /// How long was waited.
        waited: Duration,
        /// In a full broadcast queue, the seats that have not got the oldest ticket, one bit each.
        behind: u64,
    },
    /// A ticket that nobody can redeem, or that a consumer has claimed.
    #[error(
        "the ticket for slot {slot}, generation {generation}, is not open any more; put tickets before \
         they are redeemed"
    )]
    Stale {
        /// The slot that the ticket names.
        slot: usize,
        /// The generation that the ticket names.
        generation: u64,
    },
    /// A ticket or a consumer of another pool.
    #[error("the {what} is not one of pool '{name}', to which queue '{queue}' belongs")]
    Foreign {
        /// Name of the pool.
        name: String,
        /// Name of the queue.
        queue: String,
        /// `ticket` or `consumer`.
        what: &'static str,
    },
    /// The consumer is the parent's of this forked process.
    #[error(
        "seat {seat} of pool '{name}' belongs to the parent of this process; open the pool anew"
    )]
    Forked {
        /// Name of the pool.
        name: String,
        /// Seat of the consumer.
        seat: usize,
    },
    /// The queue was removed.
    #[error("queue '{queue}' was removed; open or create the one that has the name now")]
    Removed {
        /// Name of the queue.
        queue: String,
    },
    /// The pool was unlinked, and nothing is left to get.
    #[error("pool '{name}' was removed; open or create the one that has the name now")]
    Retired {
        /// Name of the pool.
        name: String,
    },
    /// The queue's bookkeeping was overwritten.
    #[error("{field} of queue '{queue}' is {found:#x}, expected {expected}; remove the queue")]
    Damaged {
        /// Name of the queue.
        queue: String,
        /// Which word.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: u64,
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

fn listed(names: &[String]) -> String {
    match names {
        [] => "none; create it".to_owned(),
        names => format!("'{}'", names.join("', '")),
    }
}

fn late(seats: u64) -> String {
    if seats == 0 {
        return String::new();
    }
    let seats: Vec<String> =
        (0..64).filter(|seat| seats & 1 << seat != 0).map(|seat| seat.to_string()).collect();
    format!(", not got by seat {}", seats.join(", "))
}
