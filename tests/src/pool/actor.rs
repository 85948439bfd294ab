//! What a peer holds of a pool, and does with it, one command at a time.

use super::mark::Mark;
use super::queueing::Last;
use super::{ticket_of, ticket_word};
use core::fmt::Debug;
use shm_pool::{
    Audience, Batch, BatchLease, Consumer, Lease, LendError, Policy, Pool, PoolConfig, Queue,
    Recycler, Request, Reservation, Retrieved, Slot, Store, Ticket, Wait,
};
use std::time::Duration;

/// Why a command was refused: the error's variant, and what it says.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        let debug = format!("{error:?}");
        let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
        Refusal { kind: debug[..end].to_owned(), text: error.to_string() }
    }
}

impl Refusal {
    pub(crate) fn of(kind: &str, text: impl Into<String>) -> Refusal {
        Refusal { kind: kind.to_owned(), text: text.into() }
    }
}

pub(crate) type Done = Result<String, Refusal>;

/// A peer's part in one pool.
#[derive(Debug, Default)]
pub(crate) struct PoolActor {
    leases: Vec<(Ticket, Lease)>,
    batches: Vec<(Ticket, BatchLease)>,
    slots: Vec<(Slot, Mark)>,
    request: Option<Request>,
    pub(super) consumers: Vec<Consumer>,
    recycler: Option<Recycler>,
    pub(super) queue: Option<Queue>,
    /// The last number that was got of each producer.
    pub(super) last: Last,
    pub(super) retrieved: Vec<(u32, Retrieved)>,
    pub(super) reservation: Option<Reservation>,
    pub(super) store: Option<Store>,
    pub(super) pool: Option<Pool>,
    pub(super) sequence: u64,
}

impl PoolActor {
    pub(super) fn create(&mut self, name: &str, config: PoolConfig) -> Done {
        self.pool = Some(Pool::create(name, &config)?);
        Ok(String::new())
    }

    pub(super) fn open(&mut self, name: &str) -> Done {
        self.pool = Some(Pool::open(name)?);
        Ok(String::new())
    }

    /// A consumer that maps the payload read-only.
    pub(super) fn consume(&mut self, name: &str) -> Done {
        self.consumers.push(Consumer::open(name)?);
        self.seats()
    }

    pub(super) fn join(&mut self, seat: Option<usize>) -> Done {
        let pool = self.pool()?;
        self.consumers.push(match seat {
            Some(seat) => pool.consumer_at(seat)?,
            None => pool.consumer()?,
        });
        self.seats()
    }

    fn seats(&self) -> Done {
        let seats: Vec<String> = self.consumers.iter().map(|one| one.seat().to_string()).collect();
        Ok(seats.join(" "))
    }

    pub(super) fn leave(&mut self) -> Done {
        self.consumers.clear();
        Ok(String::new())
    }

    pub(super) fn lend(&mut self, bytes: usize, wait: Wait, policy: Policy) -> Done {
        let slot = self.pool()?.lend(bytes, wait, policy)?;
        Ok(self.keep(slot))
    }

    fn keep(&mut self, slot: Slot) -> String {
        let mark = self.mark_of(&slot);
        let told = format!("{} {}", slot.index(), slot.generation());
        self.slots.push((slot, mark));
        told
    }

    pub(super) fn fill(&mut self, half: bool) -> Done {
        for (slot, mark) in &mut self.slots {
            let mut bytes = vec![0; slot.byte_len()];
            mark.fill(&mut bytes);
            match half {
                false => slot.copy_from(&bytes)?,
                true => {
                    let half = bytes.len() / 2;
                    slot.bytes_mut()[..half].copy_from_slice(&bytes[..half]);
                }
            }
        }
        Ok(self.slots.len().to_string())
    }

    /// What this peer has lent and filled has to be untouched.
    pub(super) fn check(&mut self) -> Done {
        for (slot, mark) in &mut self.slots {
            untouched(slot, mark)?;
        }
        Ok(self.slots.len().to_string())
    }

    pub(super) fn publish(&mut self, audience: Audience) -> Done {
        if self.slots.is_empty() {
            return Err(Refusal::of("Wrong", "no slot"));
        }
        let (slot, _) = self.slots.remove(0);
        Ok(ticket_word(&slot.publish(audience)?))
    }

    pub(super) fn abort(&mut self) -> Done {
        self.slots.clear();
        Ok(String::new())
    }

    pub(super) fn send(&mut self, bytes: usize, audience: Audience) -> Done {
        let wait = Wait::from(Duration::from_secs(60));
        let mut slot = self.pool()?.lend(bytes, wait, Policy::Block)?;
        self.mark_of(&slot).fill(slot.bytes_mut());
        Ok(ticket_word(&slot.publish(audience)?))
    }

    pub(super) fn batch(&mut self, bytes: &[usize], audience: Audience) -> Done {
        let wait = Wait::from(Duration::from_secs(60));
        let mut batch = self.pool()?.lend_many(bytes, wait, Policy::Block)?;
        self.mark_batch(&mut batch);
        Ok(ticket_word(&batch.publish(audience)?))
    }

    pub(super) fn mark_batch(&mut self, batch: &mut Batch) {
        for slot in batch.slots() {
            let mark = self.mark_of(slot);
            mark.fill(slot.bytes_mut());
        }
    }

    pub(super) fn redeem(&mut self, ticket: &str) -> Done {
        let ticket = ticket_of(ticket)?;
        let lease = self.consumer()?.redeem(&ticket)?;
        let mark = verified(&lease.to_vec(), lease.index(), Some(lease.generation()))?;
        let told = format!("{} {} {}", mark.pid, mark.sequence, lease.byte_len());
        self.leases.push((ticket, lease));
        Ok(told)
    }

    pub(super) fn redeem_batch(&mut self, ticket: &str) -> Done {
        let ticket = ticket_of(ticket)?;
        let lease = self.consumer()?.redeem_batch(&ticket)?;
        verified_batch(&lease)?;
        let told = lease.parts().len().to_string();
        self.batches.push((ticket, lease));
        Ok(told)
    }

    /// What this peer holds has to be what it redeemed.
    pub(super) fn verify(&mut self) -> Done {
        for (ticket, lease) in &self.leases {
            verified(&lease.to_vec(), lease.index(), Some(ticket.generation))?;
        }
        for (_, lease) in &self.batches {
            verified_batch(lease)?;
        }
        Ok((self.leases.len() + self.batches.len()).to_string())
    }

    /// Releases one, and keeps the others.
    pub(super) fn release_one(&mut self, ticket: &str) -> Done {
        let ticket = ticket_of(ticket)?;
        let held = self.leases.iter().position(|(held, _)| *held == ticket);
        let held = held.ok_or_else(|| Refusal::of("Wrong", "not held"))?;
        self.leases.remove(held).1.release();
        Ok(String::new())
    }

    pub(super) fn release(&mut self) -> Done {
        let count = self.leases.len() + self.batches.len();
        self.leases.clear();
        self.batches.clear();
        Ok(count.to_string())
    }

    /// A place in the line, kept between naps.
    pub(super) fn request(&mut self, bytes: usize) -> Done {
        self.request = Some(self.pool()?.request(bytes)?);
        Ok(String::new())
    }

    pub(super) fn nap(&mut self, longest: Duration) -> Done {
        let request = self.request.as_mut().ok_or_else(|| Refusal::of("Wrong", "no request"))?;
        match request.nap(longest)? {
            Some(slot) => {
                self.request = None;
                Ok(self.keep(slot))
            }
            None => Ok("nothing".to_owned()),
        }
    }

    pub(super) fn give_up(&mut self) -> Done {
        self.request = None;
        Ok(String::new())
    }

    pub(super) fn reap(&self) -> Done {
        let reaped = self.any_pool()?.reap();
        Ok(format!("{} {} {}", reaped.members, reaped.consumers, reaped.slots))
    }

    pub(super) fn stats(&self) -> Done {
        let stats = self.any_pool()?.stats();
        Ok(format!(
            "slots={} free={} filling={} shared={} linked={} draining={} quarantined={}",
            stats.slots,
            stats.free,
            stats.filling,
            stats.shared,
            stats.linked,
            stats.draining,
            stats.quarantined
        ))
    }

    pub(super) fn fsck(&self) -> Done {
        match self.any_pool()?.fsck().problems.as_slice() {
            [] => Ok("clean".to_owned()),
            problems => Err(Refusal::of("Problems", problems.join("; "))),
        }
    }

    pub(super) fn describe(&self) -> Done {
        let info = self.any_pool()?.describe();
        Ok(format!("owner={} has_owner={}", info.owner_pid, info.has_owner))
    }

    pub(super) fn revoke(&self, ticket: &str) -> Done {
        let revoked = self.any_pool()?.revoke(&ticket_of(ticket)?)?;
        Ok(format!("{revoked:?}"))
    }

    pub(super) fn unlink(&self) -> Done {
        self.any_pool()?.unlink()?;
        Ok(String::new())
    }

    pub(super) fn recycle(&mut self) -> Done {
        self.recycler = Some(self.any_pool()?.recycler()?);
        Ok(String::new())
    }

    pub(super) fn pool(&self) -> Result<Pool, Refusal> {
        self.pool.clone().ok_or_else(|| Refusal::of("Wrong", "no pool"))
    }

    /// The pool of a peer that only consumes, too.
    pub(super) fn any_pool(&self) -> Result<Pool, Refusal> {
        self.pool().or_else(|_| Ok(self.consumer()?.pool()))
    }

    fn consumer(&self) -> Result<&Consumer, Refusal> {
        self.consumers.first().ok_or_else(|| Refusal::of("Wrong", "no consumer"))
    }

    pub(super) fn mark_of(&mut self, slot: &Slot) -> Mark {
        self.sequence += 1;
        Mark::on(slot, self.sequence)
    }
}

/// Whether lending failed only because there was nothing to be had.
pub(super) fn is_busy(error: &LendError) -> bool {
    matches!(error, LendError::Full { .. } | LendError::Timeout { .. })
}

pub(super) fn untouched(slot: &mut Slot, mark: &Mark) -> Result<(), Refusal> {
    match Mark::of(slot.bytes_mut()) {
        Ok(found) if found == *mark => Ok(()),
        Ok(found) => Err(Refusal::of("Torn", format!("{mark:?} became {found:?}"))),
        Err(mixed) => Err(Refusal::of("Torn", format!("{mark:?}: {mixed}"))),
    }
}

pub(super) fn verified(
    bytes: &[u8],
    slot: usize,
    generation: Option<u64>,
) -> Result<Mark, Refusal> {
    let mark = Mark::of(bytes).map_err(|mixed| Refusal::of("Torn", mixed.to_string()))?;
    let right =
        mark.slot as usize == slot && generation.is_none_or(|right| right == mark.generation);
    match right {
        true => Ok(mark),
        false => {
            let text = format!("slot {slot}, generation {generation:?} has bytes of {mark:?}");
            Err(Refusal::of("Torn", text))
        }
    }
}

/// The parts are one producer's, in a row.
pub(super) fn verified_batch(lease: &BatchLease) -> Result<Mark, Refusal> {
    let mut first: Option<Mark> = None;
    for (at, part) in lease.parts().iter().enumerate() {
        let bytes = lease.to_vec(at).unwrap_or_default();
        let mark = verified(&bytes, part.index, None)?;
        let first = first.get_or_insert(mark);
        if (mark.pid, mark.sequence) != (first.pid, first.sequence + at as u64) {
            return Err(Refusal::of("Torn", format!("part {at} is {mark:?}, after {first:?}")));
        }
    }
    first.ok_or_else(|| Refusal::of("Torn", "a batch without parts"))
}
