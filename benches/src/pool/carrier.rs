//! How a ticket gets from the process that publishes to the one that redeems.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use shm_pool::{Consumer, Mode, Pool, Queue, Ticket, Wait};

use super::PATIENCE;
use crate::limits::{Mailbox, WORDS};
use crate::scratch;

/// What a ticket travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A bare cache line that the receiver looks at all the time.
    Line,
    /// A queue of the pool.
    Queue,
}

/// One direction between two processes.
#[derive(Debug)]
pub enum Carrier {
    /// See [`Kind::Line`].
    Line {
        /// The lines.
        mailbox: Mailbox,
        /// How many tickets went through this end.
        turn: u64,
    },
    /// See [`Kind::Queue`].
    Queue(Queue),
}

/// Names by which the other process finds a carrier.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Address {
    kind: Kind,
    name: String,
}

/// Tickets that may be under way at once.
const ROOM: usize = 8;

impl Carrier {
    /// Makes one for the tickets of a pool.
    pub fn create(kind: Kind, pool: &Pool) -> Result<(Carrier, Address)> {
        let (carrier, name) = match kind {
            Kind::Line => {
                let mailbox = Mailbox::create("mailbox", ROOM)?;
                let name = mailbox.name().to_owned();
                (Carrier::Line { mailbox, turn: 0 }, name)
            }
            Kind::Queue => {
                let name = scratch::name("queue");
                (Carrier::Queue(Queue::create(&name, pool, ROOM, Mode::Work)?), name)
            }
        };
        Ok((carrier, Address { kind, name }))
    }

    /// Opens what another process made.
    pub fn open(address: &Address, pool: &Pool) -> Result<Carrier> {
        Ok(match address.kind {
            Kind::Line => Carrier::Line { mailbox: Mailbox::open(&address.name)?, turn: 0 },
            Kind::Queue => Carrier::Queue(Queue::open(&address.name, pool)?),
        })
    }

    /// Sends a ticket. No more than eight may be under way.
    #[inline]
    pub fn send(&mut self, ticket: &Ticket) -> Result<()> {
        match self {
            Carrier::Line { mailbox, turn } => {
                let mut words = [0; WORDS];
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
                bytes[..size_of::<Ticket>()].copy_from_slice(bytemuck::bytes_of(ticket));
                mailbox.send(*turn, *turn + 1, &words)?;
                *turn += 1;
                Ok(())
            }
            Carrier::Queue(queue) => Ok(queue.put(ticket, Wait::from(PATIENCE))?),
        }
    }

    /// Waits for the next ticket.
    #[inline]
    pub fn receive(&mut self, consumer: &Consumer) -> Result<Ticket> {
        match self {
            Carrier::Line { mailbox, turn } => {
                let before = (*turn + 1).saturating_sub(ROOM as u64);
                let (_, words) = mailbox.receive(*turn, before)?;
                *turn += 1;
                let bytes = &bytemuck::bytes_of(&words)[..size_of::<Ticket>()];
                Ticket::from_bytes(bytes).context("a line carried no ticket")
            }
            Carrier::Queue(queue) => Ok(queue.get(consumer, Wait::from(PATIENCE))?),
        }
    }
}
