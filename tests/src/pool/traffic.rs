//! Endless producing and consuming, with every byte verified.
//!
//! A consumer finds what waits for it by looking at every slot, so no message is lost with a process
//! that dies. A batch tells how many parts it has by the length of its first: `8 n + parts`.

use super::actor::{Done, PoolActor, Refusal, is_busy, untouched, verified, verified_batch};
use super::commands::audience;
use fastrand::Rng;
use shm_pool::{
    Audience, Consumer, Policy, Pool, PublishError, RedeemError, SlotReport, SlotState, Ticket,
    Wait,
};
use std::collections::HashMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Lending waits in turns of this length.
const TURN: Duration = Duration::from_millis(20);

impl PoolActor {
    /// Lends, fills, checks and publishes in every way there is; answers how often it published.
    pub(super) fn produce(&mut self, to: &str, stop: &dyn Fn() -> bool) -> Done {
        let (pool, mut rng) = (self.pool()?, Rng::new());
        let mut published = 0_u64;
        while !stop() {
            let audience = match to {
                "mixed" => any_audience(&pool, &mut rng),
                word => audience(word)?,
            };
            published += u64::from(self.produce_one(&pool, audience, &mut rng)?);
        }
        Ok(published.to_string())
    }

    fn produce_one(
        &mut self,
        pool: &Pool,
        audience: Audience,
        rng: &mut Rng,
    ) -> Result<bool, Refusal> {
        let most = match pool.describe().chunks {
            true => pool.capacity() / 5,
            false => pool.slot_size(),
        };
        let bytes = 8 * rng.usize(3..=most / 8);
        let how = rng.u8(..16);
        if how < 3 {
            return self.produce_batch(pool, audience, bytes, rng);
        }
        let lent = match how {
            3 => pool.lend(bytes, Wait::from(TURN), Policy::DropOldestUnread),
            4 => pool.lend(bytes, Wait::Try, Policy::Fail),
            5 => match pool.request(bytes)?.nap(TURN)? {
                Some(slot) => Ok(slot),
                None => return Ok(false),
            },
            _ => pool.lend(bytes, Wait::from(TURN), Policy::Block),
        };
        let mut slot = match lent {
            Ok(slot) => slot,
            Err(error) if is_busy(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let mark = self.mark_of(&slot);
        match rng.bool() {
            true => mark.fill(slot.bytes_mut()),
            false => {
                let mut whole = vec![0; bytes];
                mark.fill(&mut whole);
                slot.copy_from(&whole)?;
            }
        }
        if rng.u8(..4) == 0 {
            std::thread::yield_now();
        }
        untouched(&mut slot, &mark)?;
        if how == 6 {
            slot.abort();
            return Ok(false);
        }
        shared(slot.publish(audience))
    }

    fn produce_batch(
        &mut self,
        pool: &Pool,
        audience: Audience,
        bytes: usize,
        rng: &mut Rng,
    ) -> Result<bool, Refusal> {
        let parts = rng.usize(2..=3);
        let mut sizes = vec![bytes.max(32) - 8 + parts];
        sizes.resize_with(parts, || 8 * rng.usize(3..=bytes / 8));
        let mut batch = match pool.lend_many(&sizes, Wait::from(TURN), Policy::Block) {
            Ok(batch) => batch,
            Err(error) if is_busy(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.mark_batch(&mut batch);
        shared(batch.publish(audience))
    }

    /// Redeems, verifies and releases whatever waits for its seats, and now and then takes a seat
    /// anew; answers how many publications it verified.
    pub(super) fn consume_all(&mut self, stop: &dyn Fn() -> bool) -> Done {
        let mut rng = Rng::new();
        let mut taken = 0;
        while !stop() {
            let found = self.take_waiting(&mut rng)?;
            taken += found;
            if rng.u8(..32) == 0 && !self.consumers.is_empty() {
                self.take_a_seat_anew(rng.usize(..self.consumers.len()))?;
            }
            if found == 0 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(taken.to_string())
    }

    /// Verifies and releases until nothing waits; answers how many there were.
    pub(super) fn drain(&mut self) -> Done {
        let (mut rng, mut taken) = (Rng::new(), 0);
        loop {
            match self.take_waiting(&mut rng)? {
                0 => return Ok(taken.to_string()),
                more => taken += more,
            }
        }
    }

    fn take_waiting(&mut self, rng: &mut Rng) -> Result<u64, Refusal> {
        let mut taken = 0;
        for consumer in &self.consumers {
            let pool = consumer.pool();
            for report in pool.fsck().slots {
                if report.state == Some(SlotState::Shared) && is_for(&report, consumer) {
                    taken += u64::from(take(consumer, &ticket_for(&pool, &report), rng)?);
                }
            }
        }
        Ok(taken)
    }

    fn take_a_seat_anew(&mut self, at: usize) -> Result<(), Refusal> {
        let consumer = self.consumers.remove(at);
        let (pool, seat) = (consumer.pool(), consumer.seat());
        consumer.leave();
        self.consumers.push(pool.consumer_at(seat).or_else(|_| pool.consumer())?);
        Ok(())
    }

    /// Revokes publications at random.
    pub(super) fn revoke_any(&mut self, stop: &dyn Fn() -> bool) -> Done {
        let (pool, mut rng, mut revoked) = (self.any_pool()?, Rng::new(), 0_u64);
        while !stop() {
            for report in pool.fsck().slots {
                if report.state == Some(SlotState::Shared) && rng.u8(..4) == 0 {
                    revoked += u64::from(pool.revoke(&ticket_for(&pool, &report)).is_ok());
                }
            }
            std::thread::sleep(Duration::from_micros(rng.u64(..500)));
        }
        Ok(revoked.to_string())
    }

    /// Publishes and sends the tickets to everybody by name; answers how many.
    pub(super) fn mail_to(&mut self, names: &[&str], to: &str, stop: &dyn Fn() -> bool) -> Done {
        let (pool, audience, mut rng) = (self.pool()?, audience(to)?, Rng::new());
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(Duration::from_secs(60)))?;
        let addresses: Result<Vec<SocketAddr>, std::io::Error> =
            names.iter().map(SocketAddr::from_abstract_name).collect();
        let (addresses, mut sent) = (addresses?, 0_u64);
        while !stop() {
            let bytes = rng.usize(24..=pool.slot_size());
            let mut slot = match pool.lend(bytes, Wait::from(TURN), Policy::Block) {
                Ok(slot) => slot,
                Err(error) if is_busy(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            self.mark_of(&slot).fill(slot.bytes_mut());
            let ticket = slot.publish(audience)?.to_bytes();
            for address in &addresses {
                socket.send_to_addr(&ticket, address)?;
            }
            sent += 1;
        }
        Ok(sent.to_string())
    }

    /// Redeems the tickets that come; answers how many it got and from how many producers, after the
    /// last one was read. Of each producer they come in order.
    pub(super) fn mail_from(
        &mut self,
        name: &str,
        begun: &dyn Fn(),
        stop: &dyn Fn() -> bool,
    ) -> Done {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
        socket.set_read_timeout(Some(TURN))?;
        begun();
        let consumer = self.consumers.first().ok_or_else(|| Refusal::of("Wrong", "no consumer"))?;
        let (mut last, mut verified_tickets) = (HashMap::new(), 0_u64);
        loop {
            let mut ticket = [0; Ticket::LEN];
            match socket.recv(&mut ticket) {
                Ok(_) => {}
                // Nothing more comes once the producers have said that they are done.
                Err(_) if stop() => break,
                Err(_) => continue,
            }
            let lease = match consumer.redeem(&Ticket::from_bytes(&ticket)?) {
                Ok(lease) => lease,
                Err(RedeemError::Taken { .. } | RedeemError::Stale { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let mark = verified(&lease.to_vec(), lease.index(), Some(lease.generation()))?;
            let before = last.insert(mark.pid, mark.sequence).unwrap_or(0);
            if before >= mark.sequence {
                return Err(Refusal::of("Order", format!("{mark:?} came after {before}")));
            }
            verified_tickets += 1;
        }
        Ok(format!("{verified_tickets} {}", last.len()))
    }
}

/// Takes one publication, if it is still there; whether it was.
fn take(consumer: &Consumer, ticket: &Ticket, rng: &mut Rng) -> Result<bool, Refusal> {
    if ticket.parts > 1 {
        let Some(lease) = unless_gone(consumer.redeem_batch(ticket))? else { return Ok(false) };
        let first = verified_batch(&lease)?;
        linger(rng);
        let again = verified_batch(&lease)?;
        lease.release();
        return unchanged(first == again, ticket);
    }
    let Some(lease) = unless_gone(consumer.redeem(ticket))? else { return Ok(false) };
    let first = verified(&lease.to_vec(), lease.index(), Some(lease.generation()))?;
    linger(rng);
    let again = verified(&lease.to_vec(), lease.index(), Some(lease.generation()))?;
    lease.release();
    unchanged(first == again, ticket)
}

fn unchanged(same: bool, ticket: &Ticket) -> Result<bool, Refusal> {
    match same {
        true => Ok(true),
        false => Err(Refusal::of("Torn", format!("{ticket:?} changed while it was held"))),
    }
}

fn linger(rng: &mut Rng) {
    match rng.u8(..16) {
        0 => std::thread::sleep(Duration::from_micros(rng.u64(..300))),
        1..4 => std::thread::yield_now(),
        _ => {}
    }
}

fn unless_gone<T>(redeemed: Result<T, RedeemError>) -> Result<Option<T>, Refusal> {
    match redeemed {
        Ok(lease) => Ok(Some(lease)),
        Err(
            RedeemError::Stale { .. }
            | RedeemError::Taken { .. }
            | RedeemError::NotAddressed { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn shared(published: Result<Ticket, PublishError>) -> Result<bool, Refusal> {
    match published {
        Ok(_) => Ok(true),
        // Everybody is taking a seat anew.
        Err(PublishError::NoConsumers { .. } | PublishError::Absent { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The ticket of what is in a slot.
pub(super) fn ticket_for(pool: &Pool, report: &SlotReport) -> Ticket {
    ticket_in(pool.instance(), report)
}

/// The same for a pool over any storage.
pub(super) fn ticket_in(instance: [u8; 16], report: &SlotReport) -> Ticket {
    Ticket {
        instance,
        generation: report.generation,
        index: report.index as u32,
        parts: (report.byte_len % 8).max(1) as u32,
        byte_len: report.byte_len as u64,
    }
}

/// Whether a consumer is waited for; nobody in particular is of what is for anybody.
fn is_for(report: &SlotReport, consumer: &Consumer) -> bool {
    report.waiting_for == 0 || report.waiting_for & !report.held_by & 1 << consumer.seat() != 0
}

fn any_audience(pool: &Pool, rng: &mut Rng) -> Audience {
    match rng.u8(..8) {
        0..3 => Audience::Everyone,
        3..5 => Audience::Any,
        _ => match pool.describe().consumers.as_slice() {
            [] => Audience::Everyone,
            present => Audience::Seats(1 << present[rng.usize(..present.len())].seat),
        },
    }
}
