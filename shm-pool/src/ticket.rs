//! What travels between processes instead of the data.
//!
//! Upholds invariant 2: a ticket is forty bytes that anybody may have made up; what it says is
//! compared with the pool before anything is touched.

use bytemuck::{Pod, Zeroable};

/// Names one publication: forty bytes that travel by any channel.
///
/// ```text
///   0           16           24       28      32        40
///   │ pool       │ generation │ index │ parts │ byte_len │   little-endian
/// ```
///
/// A ticket is worth nothing by itself: redeeming it compares pool, slot and generation exactly, so
/// one that is late, forged or of another pool is refused. It may be copied; each consumer redeems it
/// once.
///
/// ```
/// use shm_pool::{Audience, Pool, PoolConfig, Policy, Ticket, Wait};
/// let pool = Pool::process_local("doc", &PoolConfig::slots(4, 1024)?)?;
/// let ticket = pool.lend(1024, Wait::Try, Policy::Fail)?.publish(Audience::Everyone)?;
///
/// let bytes = ticket.to_bytes();                       // into any message
/// assert_eq!(Ticket::from_bytes(&bytes)?, ticket);
/// let error = Ticket::from_bytes(&bytes[..39]).unwrap_err();
/// assert_eq!(error.to_string(), "a ticket has 40 bytes, these are 39; pass them on unchanged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Ticket {
    /// Random id of the pool.
    pub instance: [u8; 16],
    /// Which use of the slot; never the same again.
    pub generation: u64,
    /// The slot; of a batch, its first.
    pub index: u32,
    /// How many slots the publication has: 1, or more for a batch.
    pub parts: u32,
    /// Bytes of the publication (of a batch, of its first slot).
    pub byte_len: u64,
}

const _: () = assert!(size_of::<Ticket>() == 40);

/// Why bytes are no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket has 40 bytes, these are {found}; pass them on unchanged")]
pub struct TicketError {
    /// How many there were.
    pub found: usize,
}

impl Ticket {
    /// Length of a ticket in bytes.
    pub const LEN: usize = 40;

    /// The ticket as bytes.
    pub fn to_bytes(&self) -> [u8; 40] {
        bytemuck::cast(*self)
    }

    /// The ticket that bytes stand for.
    ///
    /// # Errors
    /// [`TicketError`] unless there are exactly forty.
    pub fn from_bytes(bytes: &[u8]) -> Result<Ticket, TicketError> {
        bytemuck::try_pod_read_unaligned(bytes).map_err(|_| TicketError { found: bytes.len() })
    }
}
