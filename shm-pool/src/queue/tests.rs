//! Queues over whole pools, in this process.

mod broadcast;
mod damage;
mod directory;
mod model;
mod stress;
mod work;

use crate::{Audience, Consumer, Mode, Policy, Pool, PoolConfig, Queue, Ticket, Wait};
use std::time::Duration;

/// Long enough for everything that ends by itself.
const LONG: Duration = Duration::from_secs(60);

fn pool_of(slots: usize, consumers: usize) -> Pool {
    let config = PoolConfig::slots(slots, 256).unwrap().consumers(consumers).unwrap();
    Pool::process_local("queues", &config).unwrap()
}

/// A pool with a name, which other handles can open.
fn named_pool(name: &str, slots: usize, consumers: usize) -> (String, Pool) {
    let name = format!("test-queue-{name}-{}", std::process::id());
    let config = PoolConfig::slots(slots, 256).unwrap().consumers(consumers).unwrap();
    let pool = Pool::create(&name, &config).unwrap();
    (name, pool)
}

fn publish(pool: &Pool, value: u64, audience: Audience) -> Ticket {
    let mut slot = pool.lend(8, Wait::from(LONG), Policy::Block).unwrap();
    slot.copy_from(&[value]).unwrap();
    slot.publish(audience).unwrap()
}

fn put(queue: &Queue, value: u64, audience: Audience) -> Ticket {
    let ticket = publish(&queue.pool(), value, audience);
    queue.put(&ticket, Wait::Try).unwrap();
    ticket
}

/// The value of what comes next, which is released.
fn get(queue: &Queue, consumer: &Consumer) -> Option<u64> {
    let ticket = queue.get(consumer, Wait::Try).ok()?;
    Some(consumer.redeem(&ticket).unwrap().get(0).unwrap())
}

/// Everything that is there.
fn drain(queue: &Queue, consumer: &Consumer) -> Vec<u64> {
    core::iter::from_fn(|| get(queue, consumer)).collect()
}

fn work(pool: &Pool, maxsize: usize) -> Queue {
    Queue::create("work", pool, maxsize, Mode::Work).unwrap()
}

fn broadcast(pool: &Pool, maxsize: usize) -> Queue {
    Queue::create("broadcast", pool, maxsize, Mode::Broadcast).unwrap()
}
