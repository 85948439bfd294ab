//! A consumer: a seat, and what can be redeemed from it.
//!
//! Upholds invariants 2 (nothing of a ticket or a record is believed) and 3 (a consumer lives as long
//! as the kernel says that its process does).

use crate::error::{JoinError, OpenError, RedeemError};
use crate::fault;
use crate::layout::at;
use crate::lease::Lease;
use crate::pool::{Core, Pool};
use crate::seat::{Phase, SeatWord};
use crate::slot::Redeem;
use crate::storage::{Host, Storage};
use crate::ticket::Ticket;
use crate::word::SlotState;
use shm_core::segment::Access;
use shm_core::{Deadline, fork_generation};
use std::sync::Arc;

/// A consumer of a pool: redeems tickets for leases.
///
/// It has a seat, the number under which publications wait for it. The seat is given up when the
/// consumer and all its leases are dropped, or when the process dies; publications do not wait for it
/// then.
#[derive(Debug)]
pub struct Consumer<S: Storage = Host> {
    seated: Arc<Seated<S>>,
}

impl<S: Storage> Clone for Consumer<S> {
    fn clone(&self) -> Consumer<S> {
        Consumer { seated: self.seated.clone() }
    }
}

/// The seat, shared by the consumer and its leases.
#[derive(Debug)]
pub(crate) struct Seated<S: Storage> {
    pub(crate) core: Arc<Core<S>>,
    pub(crate) seat: usize,
    pub(crate) word: SeatWord,
    pub(crate) born: u64,
}

impl<S: Storage> Drop for Seated<S> {
    fn drop(&mut self) {
        // In a forked child the seat is still the parent's.
        if self.born == fork_generation() {
            self.core.ledger.leave_seat(self.seat, self.word);
        }
    }
}

impl Consumer {
    /// Opens a pool for consuming only, its memory read-only in this process, and takes a seat.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn open(name: &str) -> Result<Consumer, JoinError> {
        Consumer::open_within(name, Deadline::NOW)
    }

    /// As [`Consumer::open`], waiting until `deadline` for somebody to create the pool.
    ///
    /// # Errors
    /// As for [`Consumer::open`], once the deadline has passed.
    pub fn open_within(name: &str, deadline: impl Into<Deadline>) -> Result<Consumer, JoinError> {
        Pool::open_for(name, Access::Attached, deadline.into(), false)?.consumer()
    }
}

impl<S: Storage> Pool<S> {
    /// Takes a seat: the lowest that is vacant and expected, else the lowest vacant one.
    ///
    /// # Errors
    /// [`JoinError::Full`] if there is none, also after the dead were reaped.
    pub fn consumer(&self) -> Result<Consumer<S>, JoinError> {
        let (seats, expected) = (self.seats(), self.ledger().layout.expected);
        let first_vacant =
            |seats| (0..seats).find_map(|seat| self.sit_down(seat).transpose()).transpose();
        if let Some(consumer) = first_vacant(expected)? {
            return Ok(consumer);
        }
        // The dead may sit on seats that are expected to be taken again.
        self.reap();
        for seats in [expected, seats] {
            if let Some(consumer) = first_vacant(seats)? {
                return Ok(consumer);
            }
        }
        Err(JoinError::Full { name: self.name().to_owned(), seats })
    }

    /// Takes that seat, such as the rank of a worker.
    ///
    /// # Errors
    /// [`JoinError::Taken`] names who has it.
    pub fn consumer_at(&self, seat: usize) -> Result<Consumer<S>, JoinError> {
        let (name, seats) = (|| self.name().to_owned(), self.seats());
        if seat >= seats {
            return Err(JoinError::NoSeat { name: name(), seat, seats });
        }
        if let Some(consumer) = self.sit_down(seat)? {
            return Ok(consumer);
        }
        self.reap();
        match self.sit_down(seat)? {
            Some(consumer) => Ok(consumer),
            None => {
                let ledger = self.ledger();
                let pid = ledger.member_pid(ledger.seat_word(seat).member() % 256);
                Err(JoinError::Taken { name: name(), seat, pid })
            }
        }
    }

    fn sit_down(&self, seat: usize) -> Result<Option<Consumer<S>>, JoinError> {
        let ledger = self.ledger();
        let name = || self.name().to_owned();
        if ledger.is_retired() {
            return Err(JoinError::Retired { name: name() });
        }
        if ledger.seat_word(seat).phase() != Phase::Vacant {
            return Ok(None);
        }
        let member = ledger.own().map_err(|source| JoinError::Io { name: name(), source })?;
        Ok(ledger.take_seat(seat, member).map(|word| Consumer {
            seated: Arc::new(Seated {
                core: self.core().clone(),
                seat,
                word,
                born: fork_generation(),
            }),
        }))
    }
}

impl<S: Storage> Consumer<S> {
    /// The number under which publications wait for this consumer.
    pub fn seat(&self) -> usize {
        self.seated.seat
    }

    /// The pool.
    pub fn pool(&self) -> Pool<S> {
        Pool::of(self.seated.core.clone())
    }

    /// Takes hold of a publication. The slot is not used again before the lease is released.
    ///
    /// # Errors
    /// [`RedeemError`]; nothing was changed then.
    #[inline]
    pub fn redeem(&self, ticket: &Ticket) -> Result<Lease<S>, RedeemError> {
        self.check(ticket)?;
        let (slot, generation) = (ticket.index as usize, ticket.generation);
        let ledger = &self.seated.core.ledger;
        match ledger.slot(slot).redeem(self.seated.seat, generation) {
            Redeem::Granted => {}
            Redeem::Withdrawn => {
                let _ = ledger.release(slot, generation, self.seated.seat);
                return Err(self.refused(slot, generation, Redeem::Stale));
            }
            refused => return Err(self.refused(slot, generation, refused)),
        }
        fault::hit("redeem.held");
        Lease::new(&self.seated, slot, generation)
    }

    /// Redeems a ticket for somebody who only wants to say that it is not needed.
    ///
    /// # Errors
    /// As for [`Consumer::redeem`].
    pub fn skip(&self, ticket: &Ticket) -> Result<(), RedeemError> {
        self.redeem(ticket).map(Lease::release)
    }

    /// Gives the seat up. It is vacant when the last lease is released.
    pub fn leave(self) {}

    pub(crate) fn seated(&self) -> &Arc<Seated<S>> {
        &self.seated
    }

    /// Whether the ticket is one of this pool, and this process the consumer.
    #[inline]
    pub(crate) fn check(&self, ticket: &Ticket) -> Result<(), RedeemError> {
        let ledger = &self.seated.core.ledger;
        let name = || self.seated.core.name();
        if ticket.instance != ledger.segment.instance() {
            return Err(RedeemError::Foreign { name: name() });
        }
        let (slot, slots) = (ticket.index as usize, ledger.layout.slots);
        if slot >= slots {
            return Err(RedeemError::NoSlot { name: name(), slot, slots });
        }
        if self.seated.born != fork_generation() {
            return Err(RedeemError::Forked { name: name(), seat: self.seated.seat });
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn refused(&self, slot: usize, generation: u64, refused: Redeem) -> RedeemError {
        let ledger = &self.seated.core.ledger;
        let (name, seat) = (self.seated.core.name(), self.seated.seat);
        match refused {
            Redeem::AlreadyHeld => RedeemError::AlreadyRedeemed { name, slot, seat },
            Redeem::NotAddressed => RedeemError::NotAddressed { name, slot, seat },
            Redeem::Taken => RedeemError::Taken { name, slot },
            Redeem::Stale | Redeem::Granted | Redeem::Withdrawn => {
                ledger.count(at::STALE, 1);
                let found = ledger.slot(slot).load();
                let state = found.state().unwrap_or(SlotState::Quarantined);
                let found = found.generation();
                RedeemError::Stale { name, slot, generation, state, found }
            }
        }
    }
}

impl From<shm_core::OpenError> for JoinError {
    fn from(error: shm_core::OpenError) -> JoinError {
        JoinError::Open(OpenError::from(error))
    }
}
