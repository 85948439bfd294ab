//! Pools under test: bytes that betray a slot granted twice, a peer's pool commands, endless traffic,
//! and a stage on which processes die and everything must still add up.

mod actor;
mod commands;
mod mark;
mod queue_stage;
mod queueing;
mod raw;
mod scribble;
mod shared_file;
mod stage;
mod store_stage;
mod storing;
mod traffic;

pub(crate) use actor::PoolActor;
pub(crate) use commands::act;

pub use mark::{Mark, Mixed};
pub use queue_stage::QueueStage;
pub use raw::{Part, RawPool};
pub use shared_file::SharedFile;
pub use stage::{Kind, Stage};
pub use store_stage::StoreStage;

use shm_pool::{Fsck, Ticket, TicketError};

/// A ticket as a word of a command.
pub fn ticket_word(ticket: &Ticket) -> String {
    ticket.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The ticket of a word.
///
/// # Errors
/// [`TicketError`] if it is no ticket.
pub fn ticket_of(word: &str) -> Result<Ticket, TicketError> {
    let digits = |at| word.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes: Vec<u8> = (0..word.len()).step_by(2).map_while(digits).collect();
    Ticket::from_bytes(&bytes)
}

/// The slots that are in use, and why.
fn not_free(fsck: &Fsck) -> String {
    let used = fsck.slots.iter().filter(|slot| slot.explanation != "free");
    let told: Vec<String> =
        used.map(|slot| format!("slot {}: {}", slot.index, slot.explanation)).collect();
    told.join("; ")
}
