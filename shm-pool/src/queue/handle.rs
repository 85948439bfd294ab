//! A queue as its users see it.
//!
//! Upholds invariants 2 (the shape is copied once and checked; every word is checked against it), 5, 6
//! (the handle owns the mapping) and 9 (dropping a handle removes nothing).

use crate::consumer::Consumer;
use crate::layout::QUEUES;
use crate::ledger::Ledger;
use crate::policy::Wait;
use crate::pool::{Core, Pool};
use crate::queue::cell::Entry;
use crate::queue::directory::{Grant, MAX_NAME, field};
use crate::queue::found::{Mode, QueueInfo};
use crate::queue::ring::Trouble;
use crate::queue::transfer::Got;
use crate::queue::upkeep::QueueShape;
use crate::queue::{QueueError, verdict};
use crate::storage::{Host, Storage};
use crate::sync::Ordering;
use crate::ticket::Ticket;
use shm_core::fork_generation;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bounded, ordered channel of tickets between the processes that are attached to a pool.
///
/// It lives in the pool's own memory under a name of its own, and stays there until somebody
/// [removes](Queue::remove) it or the pool goes; handles may come and go. Putting and getting take no
/// lock, and no system call unless somebody sleeps: a process that is killed or stopped at any point
/// keeps nobody else from going on.
///
/// In [`Mode::Work`] each ticket is got by one consumer. Publish with
/// [`Audience::Any`](crate::Audience::Any) for that: the ticket is claimed for the consumer before it
/// leaves the queue, so if the consumer dies with it, the slot is free again. A ticket that is for certain
/// seats stays at the head, and keeps what is behind it waiting, until a consumer on one of them gets it.
///
/// In [`Mode::Broadcast`] each consumer gets every ticket that it may redeem, in the same order. The
/// queue is full until all of those who are present, or expected and not there yet, have got the
/// oldest; those who leave or die are not waited for. Who comes later begins at the end.
///
/// Tickets that nobody can redeem any more, because the publication was taken back or revoked, are
/// passed over and counted.
///
/// ```
/// use shm_pool::{Audience, Mode, Policy, Pool, PoolConfig, Queue, Wait};
/// use std::time::Duration;
/// let pool = Pool::process_local("doc", &PoolConfig::slots(8, 4096)?)?;
/// Queue::create("requests", &pool, 4, Mode::Work)?;
///
/// // The tokenizer's process.
/// let queue = Queue::open("requests", &pool)?;
/// let mut slot = pool.lend(16, Wait::Try, Policy::Fail)?;
/// slot.as_mut_slice::<i32>()?.copy_from_slice(&[101, 7592, 2088, 102]);
/// queue.put(&slot.publish(Audience::Any)?, Wait::from(Duration::from_secs(1)))?;
///
/// // A worker's process.
/// let worker = pool.consumer()?;
/// let ticket = queue.get(&worker, Wait::from(Duration::from_secs(1)))?;
/// assert_eq!(worker.redeem(&ticket)?.get::<i32>(1)?, 7592);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Queue<S: Storage = Host> {
    core: Arc<Core<S>>,
    shape: QueueShape,
    instance: [u8; 16],
    name: Arc<str>,
}

impl<S: Storage> Clone for Queue<S> {
    fn clone(&self) -> Queue<S> {
        let Queue { core, shape, instance, name } = self;
        Queue { core: core.clone(), shape: *shape, instance: *instance, name: name.clone() }
    }
}

/// How an attempt to get something ended.
enum Attempt {
    Ticket(Ticket),
    Empty,
    /// There is something, for somebody else.
    Elsewhere,
}

impl<S: Storage> Queue<S> {
    /// Makes a queue of up to `maxsize` tickets, under a name of 1 to 128 bytes that is the pool's own.
    ///
    /// # Errors
    /// [`QueueError::Exists`], [`QueueError::Name`], [`QueueError::MaxSize`], [`QueueError::NoRoom`],
    /// [`QueueError::TooMany`].
    pub fn create(
        name: &str,
        pool: &Pool<S>,
        maxsize: usize,
        mode: Mode,
    ) -> Result<Queue<S>, QueueError> {
        let (ledger, queue) = (pool.ledger(), || name.to_owned());
        if !(1..=MAX_NAME).contains(&name.len()) {
            return Err(QueueError::Name { queue: queue(), found: name.len() });
        }
        let most = ledger.layout.queue_cells;
        if !(1..=most).contains(&maxsize) {
            return Err(QueueError::MaxSize { queue: queue(), found: maxsize, most });
        }
        if ledger.is_retired() {
            return Err(QueueError::Retired { name: pool.name().to_owned() });
        }
        let owner = ledger
            .own()
            .map_err(|source| QueueError::Io { name: pool.name().to_owned(), source })?;
        match Queue::create_as(name, pool, maxsize, mode, owner) {
            Err(
                QueueError::Exists { .. } | QueueError::NoRoom { .. } | QueueError::TooMany { .. },
            ) => {
                // Perhaps because of those who died in here.
                ledger.reap();
                ledger.finish_all_closing();
                Queue::create_as(name, pool, maxsize, mode, owner)
            }
            outcome => outcome,
        }
    }

    fn create_as(
        name: &str,
        pool: &Pool<S>,
        maxsize: usize,
        mode: Mode,
        owner: u16,
    ) -> Result<Queue<S>, QueueError> {
        let (ledger, queue) = (pool.ledger(), || name.to_owned());
        let directory = ledger.directory();
        let exists = || QueueError::Exists { name: pool.name().to_owned(), queue: queue() };
        if directory.find(name.as_bytes()).is_some() {
            return Err(exists());
        }
        let claimed = directory
            .claim(owner)
            .ok_or_else(|| QueueError::TooMany { queue: queue(), most: QUEUES })?;
        let granted = match directory.grant(claimed, name.as_bytes(), maxsize) {
            Grant::First(first) => Ok(first),
            Grant::Exists => Err(exists()),
            Grant::NoRoom(most) => Err(QueueError::NoRoom { queue: queue(), found: maxsize, most }),
        };
        let shape = granted.and_then(|first| {
            ledger.prepare_queue(claimed, first, maxsize, mode).ok_or(QueueError::NoRoom {
                queue: queue(),
                found: maxsize,
                most: 0,
            })
        });
        match shape {
            Ok(shape) => Ok(Queue::of(pool, shape, name)),
            Err(error) => {
                directory.abandon(claimed);
                Err(error)
            }
        }
    }

    /// The queue of that name.
    ///
    /// # Errors
    /// [`QueueError::NotFound`] names those that there are; [`QueueError::Damaged`].
    pub fn open(name: &str, pool: &Pool<S>) -> Result<Queue<S>, QueueError> {
        let ledger = pool.ledger();
        let Some((entry, word)) = ledger.directory().find(name.as_bytes()) else {
            return Err(QueueError::NotFound {
                name: pool.name().to_owned(),
                queue: name.to_owned(),
                found: ledger.queues().into_iter().map(|queue| queue.name).collect(),
            });
        };
        let shape = ledger.shape_of(entry, word).ok_or_else(|| QueueError::Damaged {
            queue: name.to_owned(),
            field: "run of cells",
            expected: "one inside the pool's",
            found: ledger.queue(entry)[field::RUN].load(Ordering::Relaxed),
        })?;
        Ok(Queue::of(pool, shape, name))
    }

    fn of(pool: &Pool<S>, shape: QueueShape, name: &str) -> Queue<S> {
        Queue { core: pool.core().clone(), shape, instance: pool.instance(), name: name.into() }
    }

    /// The queues of a pool.
    pub fn list(pool: &Pool<S>) -> Vec<QueueInfo> {
        pool.ledger().queues()
    }

    /// Puts a ticket at the end, waiting for room as `wait` says. Putting it does not use it up; put a
    /// ticket into one queue, once.
    ///
    /// # Errors
    /// [`QueueError::Full`] if `wait` is [`Wait::Try`], else [`QueueError::Timeout`];
    /// [`QueueError::Stale`] if the ticket cannot be redeemed, or was claimed; [`QueueError::Foreign`];
    /// [`QueueError::Removed`], in which case the publication may have been taken back;
    /// [`QueueError::Retired`] if there is no room and the pool was removed; [`QueueError::Damaged`].
    #[inline]
    pub fn put(&self, ticket: &Ticket, wait: Wait) -> Result<(), QueueError> {
        match self.try_put(ticket)? {
            Some(()) => Ok(()),
            None => self.put_slowly(ticket, wait),
        }
    }

    /// Puts a ticket, waiting for at most `longest`, asleep at most once and no longer than 50 ms:
    /// whatever ends the sleep, a signal too, ends the call. `None` if there is no room yet.
    ///
    /// # Errors
    /// As for [`Queue::put`], but for full queues.
    pub fn put_nap(&self, ticket: &Ticket, longest: Duration) -> Result<Option<()>, QueueError> {
        let bell = self.ledger().not_full(self.shape.entry);
        let put = self.ledger().nap_on(bell, longest, || self.try_put(ticket))?;
        if put.is_none() {
            self.check_pool()?;
        }
        Ok(put)
    }

    /// Gets the next ticket for that consumer, waiting for one as `wait` says.
    ///
    /// # Errors
    /// [`QueueError::Empty`] if `wait` is [`Wait::Try`], else [`QueueError::Timeout`];
    /// [`QueueError::Foreign`] for a consumer of another pool; [`QueueError::Forked`];
    /// [`QueueError::Removed`]; [`QueueError::Retired`] if there is nothing left and the pool was
    /// removed; [`QueueError::Damaged`].
    #[inline]
    pub fn get(&self, consumer: &Consumer<S>, wait: Wait) -> Result<Ticket, QueueError> {
        match self.try_get(consumer)? {
            Attempt::Ticket(ticket) => Ok(ticket),
            _ => self.get_slowly(consumer, wait),
        }
    }

    /// Gets the next ticket, waiting for at most `longest`, asleep at most once and no longer than 50
    /// ms: whatever ends the sleep, a signal too, ends the call. `None` if there is nothing yet.
    ///
    /// # Errors
    /// As for [`Queue::get`], but for empty queues.
    pub fn get_nap(
        &self,
        consumer: &Consumer<S>,
        longest: Duration,
    ) -> Result<Option<Ticket>, QueueError> {
        let bell = self.ledger().not_empty(self.shape.entry);
        let got = self.ledger().nap_on(bell, longest, || {
            self.try_get(consumer).map(|got| match got {
                Attempt::Ticket(ticket) => Some(ticket),
                Attempt::Empty | Attempt::Elsewhere => None,
            })
        })?;
        if got.is_none() {
            self.check_pool()?;
        }
        Ok(got)
    }

    /// Ends the queue for everybody, also for those who wait. What nobody has got from it is given
    /// back: publications in a work queue are taken back if nobody has begun to read them; in a
    /// broadcast queue they do not wait any more for consumers that have not got them.
    ///
    /// # Errors
    /// [`QueueError::Removed`] if somebody was faster.
    pub fn remove(&self) -> Result<(), QueueError> {
        match self.ledger().close_queue(self.shape.entry, self.shape.word) {
            true => Ok(()),
            false => Err(self.troubled(Trouble::Removed)),
        }
    }

    /// Tickets in it; in a broadcast queue, those that somebody has not got.
    pub fn len(&self) -> usize {
        self.ledger().queue_len(&self.shape)
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most tickets in it.
    pub fn maxsize(&self) -> usize {
        self.shape.cells.cells() as usize
    }

    /// Who gets a ticket.
    pub fn mode(&self) -> Mode {
        self.shape.mode
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool.
    pub fn pool(&self) -> Pool<S> {
        Pool::of(self.core.clone())
    }

    #[inline]
    fn ledger(&self) -> &Ledger {
        &self.core.ledger
    }

    #[inline]
    fn try_put(&self, ticket: &Ticket) -> Result<Option<()>, QueueError> {
        let for_anybody = self.admit(ticket)?;
        let named = Entry::new(ticket.index as usize, ticket.generation);
        match self.ledger().put(&self.shape, named, for_anybody) {
            Ok(put) => Ok(put.then_some(())),
            Err(trouble) => Err(self.troubled(trouble)),
        }
    }

    /// Whether the ticket is worth putting; and if it is, whether it is for anybody.
    #[inline]
    fn admit(&self, ticket: &Ticket) -> Result<bool, QueueError> {
        if ticket.instance != self.instance {
            return Err(self.foreign("ticket"));
        }
        let (slot, generation) = (ticket.index as usize, ticket.generation);
        let known = slot < self.ledger().layout.slots;
        known
            .then(|| verdict::is_open(self.ledger().slot(slot), generation))
            .flatten()
            .ok_or(QueueError::Stale { slot, generation })
    }

    #[inline]
    fn try_get(&self, consumer: &Consumer<S>) -> Result<Attempt, QueueError> {
        let seated = consumer.seated();
        if !Arc::ptr_eq(&seated.core, &self.core)
            && seated.core.ledger.segment.instance() != self.instance
        {
            return Err(self.foreign("consumer"));
        }
        if seated.born != fork_generation() {
            return Err(QueueError::Forked { name: self.core.name(), seat: seated.seat });
        }
        match self.ledger().get(&self.shape, seated.seat) {
            Ok(Got::Entry(slot, generation)) => Ok(Attempt::Ticket(self.ticket(slot, generation))),
            Ok(Got::Empty) => Ok(Attempt::Empty),
            Ok(Got::Elsewhere) => Ok(Attempt::Elsewhere),
            Err(trouble) => Err(self.troubled(trouble)),
        }
    }

    #[inline]
    fn ticket(&self, slot: usize, generation: u64) -> Ticket {
        let ledger = self.ledger();
        Ticket {
            instance: self.instance,
            generation,
            index: slot as u32,
            parts: ledger.parts_of(slot),
            byte_len: ledger.byte_len_of(slot) as u64,
        }
    }

    #[cold]
    fn put_slowly(&self, ticket: &Ticket, wait: Wait) -> Result<(), QueueError> {
        let begun = Instant::now();
        // Perhaps it is full because of a consumer that is dead.
        self.ledger().reap_paced();
        if self.try_put(ticket)?.is_some() {
            return Ok(());
        }
        self.check_pool()?;
        let Wait::Until(deadline) = wait else {
            let (queue, maxsize, behind) = (self.name.to_string(), self.maxsize(), self.behind());
            return Err(QueueError::Full { queue, maxsize, behind });
        };
        while self.put_nap(ticket, deadline.remaining().unwrap_or(Duration::MAX))?.is_none() {
            if deadline.has_passed() {
                let (queue, behind) = (self.name.to_string(), self.behind());
                let waited = begun.elapsed();
                return Err(QueueError::Timeout { queue, putting: true, waited, behind });
            }
        }
        Ok(())
    }

    #[cold]
    fn get_slowly(&self, consumer: &Consumer<S>, wait: Wait) -> Result<Ticket, QueueError> {
        let begun = Instant::now();
        let mut got = self.try_get(consumer)?;
        if let Attempt::Elsewhere = got {
            // Perhaps for a consumer that is dead.
            self.ledger().reap_paced();
            got = self.try_get(consumer)?;
        }
        if let Attempt::Ticket(ticket) = got {
            return Ok(ticket);
        }
        self.check_pool()?;
        let Wait::Until(deadline) = wait else {
            return Err(QueueError::Empty { queue: self.name.to_string(), seat: consumer.seat() });
        };
        loop {
            let left = deadline.remaining().unwrap_or(Duration::MAX);
            if let Some(ticket) = self.get_nap(consumer, left)? {
                return Ok(ticket);
            }
            if deadline.has_passed() {
                let (queue, waited) = (self.name.to_string(), begun.elapsed());
                return Err(QueueError::Timeout { queue, putting: false, waited, behind: 0 });
            }
        }
    }

    fn behind(&self) -> u64 {
        match self.shape.mode {
            Mode::Work => 0,
            Mode::Broadcast => self.ledger().behind(self.shape.entry),
        }
    }

    fn check_pool(&self) -> Result<(), QueueError> {
        match self.ledger().is_retired() {
            true => Err(QueueError::Retired { name: self.core.name() }),
            false => Ok(()),
        }
    }

    #[cold]
    fn foreign(&self, what: &'static str) -> QueueError {
        QueueError::Foreign { name: self.core.name(), queue: self.name.to_string(), what }
    }

    #[cold]
    fn troubled(&self, trouble: Trouble) -> QueueError {
        let queue = self.name.to_string();
        match trouble {
            Trouble::Removed => QueueError::Removed { queue },
            Trouble::Damaged(field, found) => {
                let expected = "a word of this queue";
                QueueError::Damaged { queue, field, expected, found }
            }
        }
    }
}
