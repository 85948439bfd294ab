//! Endless putting into a queue and getting out of it, with every byte verified, and of each producer
//! in order.

use super::actor::{Done, PoolActor, Refusal, is_busy, verified};
use fastrand::Rng;
use shm_pool::{
    Audience, Consumer, Mode, Policy, Pool, PublishError, Queue, QueueError, Ticket, Wait,
};
use std::collections::HashMap;
use std::time::Duration;

/// Everything waits in turns of this length.
const TURN: Duration = Duration::from_millis(20);

impl PoolActor {
    pub(super) fn queue_create(&mut self, name: &str, maxsize: usize, mode: &str) -> Done {
        let mode = match mode {
            "work" => Mode::Work,
            _ => Mode::Broadcast,
        };
        self.queue = Some(Queue::create(name, &self.any_pool()?, maxsize, mode)?);
        Ok(String::new())
    }

    pub(super) fn queue_open(&mut self, name: &str) -> Done {
        self.queue = Some(Queue::open(name, &self.any_pool()?)?);
        Ok(String::new())
    }

    pub(super) fn queue_remove(&mut self) -> Done {
        self.queue()?.remove()?;
        Ok(String::new())
    }

    /// One publication, put; answers its ticket.
    pub(super) fn queue_put(&mut self, bytes: usize, ms: u64) -> Done {
        let (pool, queue) = (self.pool()?, self.queue()?);
        let Some(ticket) = self.publish_one(&pool, bytes, audience_of(&queue))? else {
            return Err(Refusal::of("Busy", "nothing to lend"));
        };
        queue.put(&ticket, Wait::from(Duration::from_millis(ms)))?;
        Ok(super::ticket_word(&ticket))
    }

    /// The next ticket, redeemed, verified and released; answers whose it was.
    pub(super) fn queue_get(&mut self, ms: u64) -> Done {
        let queue = self.queue()?;
        let consumer = self.consumers.first().ok_or_else(|| Refusal::of("Wrong", "no consumer"))?;
        let ticket = queue.get(consumer, Wait::from(Duration::from_millis(ms)))?;
        let mark = take(consumer, &ticket)?;
        Ok(format!("{} {}", mark.0, mark.1))
    }

    pub(super) fn put_all(&mut self, stop: &dyn Fn() -> bool) -> Done {
        let (pool, queue, mut rng) = (self.pool()?, self.queue()?, Rng::new());
        let mut put = 0_u64;
        'next: while !stop() {
            let bytes = 8 * rng.usize(3..=128);
            let Some(ticket) = self.publish_one(&pool, bytes, audience_of(&queue))? else {
                continue;
            };
            loop {
                match queue.put(&ticket, Wait::from(TURN)) {
                    Ok(()) => break,
                    Err(QueueError::Timeout { .. }) if stop() => {
                        // It stays where it is, for whoever looks at every slot.
                        break 'next;
                    }
                    Err(QueueError::Timeout { .. }) => {}
                    // Everybody it was for left.
                    Err(QueueError::Stale { .. }) => continue 'next,
                    Err(error) => return Err(error.into()),
                }
            }
            put += 1;
        }
        Ok(put.to_string())
    }

    pub(super) fn get_all(&mut self, stop: &dyn Fn() -> bool) -> Done {
        let (queue, mut taken) = (self.queue()?, 0_u64);
        while !stop() {
            taken += u64::from(self.get_one(&queue, Wait::from(TURN))?);
        }
        Ok(taken.to_string())
    }

    /// Gets until there is nothing; answers how many there were.
    pub(super) fn get_rest(&mut self) -> Done {
        let (queue, mut taken) = (self.queue()?, 0_u64);
        while self.get_one(&queue, Wait::Try)? {
            taken += 1;
        }
        Ok(taken.to_string())
    }

    fn get_one(&mut self, queue: &Queue, wait: Wait) -> Result<bool, Refusal> {
        let consumer = self.consumers.first().ok_or_else(|| Refusal::of("Wrong", "no consumer"))?;
        let ticket = match queue.get(consumer, wait) {
            Ok(ticket) => ticket,
            Err(QueueError::Timeout { .. } | QueueError::Empty { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let (pid, sequence) = take(consumer, &ticket)?;
        let before = self.last.insert(pid, sequence).unwrap_or(0);
        match before < sequence {
            true => Ok(true),
            false => {
                Err(Refusal::of("Order", format!("number {sequence} of {pid} after {before}")))
            }
        }
    }

    fn publish_one(
        &mut self,
        pool: &Pool,
        bytes: usize,
        audience: Audience,
    ) -> Result<Option<Ticket>, Refusal> {
        let mut slot = match pool.lend(bytes, Wait::from(TURN), Policy::Block) {
            Ok(slot) => slot,
            Err(error) if is_busy(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.mark_of(&slot).fill(slot.bytes_mut());
        match slot.publish(audience) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(PublishError::NoConsumers { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn queue(&self) -> Result<Queue, Refusal> {
        self.queue.clone().ok_or_else(|| Refusal::of("Wrong", "no queue"))
    }
}

/// What was got can be redeemed: it is this consumer's.
fn take(consumer: &Consumer, ticket: &Ticket) -> Result<(u32, u64), Refusal> {
    let lease = consumer.redeem(ticket)?;
    let mark = verified(&lease.to_vec(), lease.index(), Some(lease.generation()))?;
    Ok((mark.pid, mark.sequence))
}

fn audience_of(queue: &Queue) -> Audience {
    match queue.mode() {
        Mode::Work => Audience::Any,
        _ => Audience::Everyone,
    }
}

pub(super) type Last = HashMap<u32, u64>;
