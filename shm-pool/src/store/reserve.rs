//! Getting the sole right to store a key, and the memory for it.
//!
//! Upholds invariants 1 (a worker that is killed leaves a slot that is reaped, and an index cell that
//! is garbage by it), 3 (a key that another worker has reserved stays reserved while that worker
//! lives) and 5.

use super::error::StoreError;
use super::header::{MAX_TENSORS, Plan};
use super::index::{Found, Hash, Outcome, buckets};
use super::key;
use super::pins::Evict;
use super::reservation::Reservation;
use super::worker::{Worker, field};
use crate::fault;
use crate::grant::{Grant, Waiting};
use crate::line::RECHECK;
use crate::policy::Wait;
use crate::sync::Ordering;
use crate::word::SlotState;
use shm_core::{TensorDesc, fork_generation};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So often a worker may be beaten by one that then gives up, or meet what has just changed; more
/// often in a row, and somebody scribbles.
const TRIES: usize = 1024;

/// What is to be stored.
#[derive(Debug)]
pub(super) struct Order {
    key: Vec<u8>,
    hash: Hash,
    plan: Plan,
    need: usize,
    member: u16,
}

/// A place in the line for the memory of an entry, for those who wait in turns. Made by
/// [`Store::request_store`](super::Store::request_store); dropping it gives the place up.
#[derive(Debug)]
pub struct StoreRequest {
    worker: Arc<Worker>,
    /// `None` once it was served.
    order: Option<Order>,
    waiting: Waiting,
    since: Instant,
    born: u64,
}

impl StoreRequest {
    /// Waits for at most `longest`, asleep at most once: whatever ends the sleep, a signal too, ends
    /// the call. `None` if there is no room yet, and after the reservation was handed out.
    ///
    /// # Errors
    /// As for [`Store::prepare_store`](super::Store::prepare_store), but for
    /// [`Timeout`](StoreError::Timeout).
    pub fn nap(&mut self, longest: Duration) -> Result<Option<Reservation>, StoreError> {
        let worker = &self.worker;
        worker.admit()?;
        let Some(order) = &self.order else { return Ok(None) };
        if worker.ledger().is_retired() {
            return Err(StoreError::Retired { name: worker.name() });
        }
        worker.look(order)?;
        worker.make_room(order.need, order.member);
        let Some(grant) = worker.ledger().nap(&mut self.waiting, longest) else { return Ok(None) };
        let Some(order) = self.order.take() else { return Ok(None) };
        worker.reserve(order, grant).map(Some)
    }

    /// How long this place has been kept.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    fn timed_out(&self) -> StoreError {
        let bytes = self.order.as_ref().map_or(0, |order| order.plan.total);
        let (name, waited) = (self.worker.name(), self.waited());
        let free = self.worker.ledger().note_refusal(self.waiting.need);
        StoreError::Timeout { name, bytes, waited, free, holders: self.worker.holders() }
    }
}

impl Drop for StoreRequest {
    fn drop(&mut self) {
        // In a forked child the place is still the parent's.
        if self.born == fork_generation() {
            self.worker.ledger().stop_waiting(&mut self.waiting);
        }
    }
}

/// Reserves a key, see [`Store::prepare_store`](super::Store::prepare_store).
pub(super) fn prepare(
    worker: &Arc<Worker>,
    key: &[u8],
    layout: &[TensorDesc],
    wait: Wait,
) -> Result<Reservation, StoreError> {
    let order = worker.order(key, layout)?;
    worker.look(&order)?;
    let mut grant = worker.find_room(order.need, order.member);
    if grant.is_none() {
        // Perhaps the dead have it.
        worker.ledger().reap_paced();
        grant = worker.find_room(order.need, order.member);
    }
    if let Some(grant) = grant {
        return worker.reserve(order, grant);
    }
    let Wait::Until(deadline) = wait else { return Err(worker.full(&order)) };
    let mut request = ask(worker, order);
    loop {
        let left = deadline.remaining().map_or(RECHECK, |left| left.min(RECHECK));
        if let Some(reservation) = request.nap(left)? {
            return Ok(reservation);
        }
        if deadline.has_passed() {
            return Err(request.timed_out());
        }
    }
}

/// A place in the line, see [`Store::request_store`](super::Store::request_store).
pub(super) fn request(
    worker: &Arc<Worker>,
    key: &[u8],
    layout: &[TensorDesc],
) -> Result<StoreRequest, StoreError> {
    let order = worker.order(key, layout)?;
    worker.look(&order)?;
    Ok(ask(worker, order))
}

fn ask(worker: &Arc<Worker>, order: Order) -> StoreRequest {
    let waiting = worker.ledger().wait_for(order.need, order.member);
    let (since, born) = (Instant::now(), fork_generation());
    StoreRequest { worker: worker.clone(), order: Some(order), waiting, since, born }
}

impl Worker {
    /// Checks what is to be stored.
    fn order(&self, key: &[u8], layout: &[TensorDesc]) -> Result<Order, StoreError> {
        self.admit()?;
        let ledger = self.ledger();
        key::check(ledger.segment.name(), key)?;
        if ledger.is_retired() {
            return Err(StoreError::Retired { name: self.name() });
        }
        if !(1..=MAX_TENSORS).contains(&layout.len()) {
            return Err(StoreError::Tensors { name: self.name(), found: layout.len() });
        }
        let most = ledger.layout.capacity;
        let too_large = |found| StoreError::TooLarge { name: self.name(), most, found };
        let plan = Plan::new(key.len(), layout).ok_or_else(|| too_large(usize::MAX))?;
        if plan.total > most {
            return Err(too_large(plan.total));
        }
        // Not rounded to a class: entries of one store are of a few sizes, and the header of one that
        // is a power of two would cost a fifth of it.
        let need = plan.total.div_ceil(ledger.layout.granule.max(1));
        let (hash, member) = (self.hasher.hash(key), self.member()?);
        Ok(Order { key: key.to_vec(), hash, plan, need, member })
    }

    /// Says so if the key is in the store, or about to be. An entry that is too old is taken out.
    fn look(&self, order: &Order) -> Result<(), StoreError> {
        let ledger = self.ledger();
        for _ in 0..TRIES {
            let Some(found) = ledger.keys().find(order.hash) else { return Ok(()) };
            let (slot, generation) = (found.slot, found.state.generation());
            if found.state.is(SlotState::Filling) {
                self.look_at_storer(order, found)?;
                continue;
            }
            if !ledger.is_expired(slot) {
                // Unless it was taken out, or changed its key, since it was looked at.
                if ledger.slot(slot).load().generation() != generation {
                    continue;
                }
                return Err(StoreError::Exists { name: self.name(), key: key::shown(&order.key) });
            }
            let mut candidates = self.candidates.lock();
            let stored = found.state.with(SlotState::Stored, 0);
            if found.state.is(SlotState::Evicting) {
                // Whoever is taking it out may be stopped: begin again.
                ledger.slot(slot).exchange(found.state, stored);
            }
            match self.take_out(&mut candidates, slot, stored, order.member) {
                Evict::Pinned => return Err(self.leased(&order.key, slot, generation)),
                Evict::Draining => ledger.count(crate::layout::at::EVICTED, 1),
                Evict::Gone => {}
            }
        }
        Err(self.unsettled(order))
    }

    /// Says so if whoever has reserved the key lives; else its reservation is given back.
    fn look_at_storer(&self, order: &Order, found: Found) -> Result<(), StoreError> {
        let ledger = self.ledger();
        let storer = usize::from(found.state.party()) % crate::member::MEMBERS;
        if ledger.is_alive(storer) {
            let (pid, key) = (ledger.member_pid(storer), key::shown(&order.key));
            return Err(StoreError::InProgress { name: self.name(), key, pid });
        }
        ledger.reap();
        // Whatever that slot is from now on, it is not what the cell led to.
        ledger.keys().clear(found.spot);
        Ok(())
    }

    /// Puts the key into the index for memory that was granted.
    fn reserve(self: &Arc<Self>, order: Order, grant: Grant) -> Result<Reservation, StoreError> {
        let ledger = self.ledger();
        ledger.sign(grant, order.plan.total, ledger.segment.pid());
        let (plan, order) = (order.plan, Order { plan: Plan::default(), ..order });
        let mut reservation = Reservation::new(self, grant, plan, &order.key);
        let (keys, slot) = (ledger.keys(), grant.slot);
        keys.name(slot, order.hash);
        for _ in 0..TRIES {
            let Some(spot) = keys.place(slot, grant.generation, order.hash) else {
                if self.evict_neighbour(order.hash, order.member) {
                    continue;
                }
                let (name, key) = (self.name(), key::shown(&order.key));
                return Err(StoreError::IndexFull { name, key });
            };
            fault::hit("store.tentative");
            if keys.establish(spot, order.hash) == Outcome::Established {
                ledger.entry(slot)[field::CELL].store(spot.at as u64, Ordering::Relaxed);
                reservation.established(spot);
                fault::hit("store.established");
                return Ok(reservation);
            }
            self.look(&order)?;
        }
        Err(self.unsettled(&order))
    }

    #[cold]
    fn unsettled(&self, order: &Order) -> StoreError {
        let [first, _] = buckets(self.ledger().layout.index_cells, order.hash);
        let (expected, found) = ("an index that settles".to_owned(), first.start as u64);
        StoreError::Damaged { name: self.name(), slot: 0, field: "index cell", expected, found }
    }

    fn full(&self, order: &Order) -> StoreError {
        let free = self.ledger().note_refusal(order.need);
        let (name, bytes) = (self.name(), order.plan.total);
        StoreError::Full { name, bytes, free, holders: self.holders() }
    }
}
