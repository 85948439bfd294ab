//! A producer sleeps in the kernel because the pool is full; a release in another process gives it
//! the slot.

use std::sync::atomic::Ordering;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;
use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};

use super::PATIENCE;
use super::carrier::{Address, Carrier, Kind};
use crate::child::{self, Child, Role};
use crate::limits::Mapping;
use crate::report::Row;
use crate::suites::Setting;
use crate::{scratch, sleepers};

/// The child's part.
pub(super) const BLOCKED_PRODUCER: Role = Role { name: "blocked-producer", run: produce };

const SLOT_SIZE: usize = 64;
/// When the release began, in the memory that both map.
const RELEASED: usize = 0;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let goal = "no goal but to be near the limit";
    Ok(vec![sleepers::row(setting, "release-to-grant", goal, ours)?.with_note(
        "from before the last release to the return of lend, in another process on another \
         processor that slept in the kernel; 0.2 to 1 ms of rest between; payload untouched",
    )])
}

#[derive(Debug, Serialize, Deserialize)]
struct ProduceJob {
    pool: String,
    tickets: Address,
    clock: String,
    grants: u32,
}

fn ours(far: usize, grants: u32) -> Result<Vec<u64>> {
    let pool = Pool::create(&scratch::name("grant"), &PoolConfig::slots(1, SLOT_SIZE)?)?;
    let consumer: Consumer = pool.consumer()?;
    let (mut tickets, address) = Carrier::create(Kind::Line, &pool)?;
    let clock = Mapping::create("grant", 4096)?;
    let job = ProduceJob {
        pool: pool.name().to_owned(),
        tickets: address,
        clock: clock.name().to_owned(),
        grants,
    };
    let child = Child::start(&BLOCKED_PRODUCER, far, &job)?;
    for grant in 0..u64::from(grants) {
        let lease = consumer.redeem(&tickets.receive(&consumer)?)?;
        sleepers::rest(grant);
        clock.word(RELEASED)?.store(monotonic_ns(), Ordering::Relaxed);
        lease.release();
    }
    consumer.redeem(&tickets.receive(&consumer)?)?.release();
    child.report()
}

/// Publishes the one slot again and again; how long each grant but the first took.
fn produce(job: &str) -> Result<()> {
    let job: ProduceJob = child::job(job)?;
    let pool = Pool::open(&job.pool)?;
    let mut tickets = Carrier::open(&job.tickets, &pool)?;
    let clock = Mapping::open(&job.clock)?;
    let released = clock.word(RELEASED)?;
    let mut latencies = Vec::with_capacity(job.grants as usize);
    child::ready()?;
    for grant in 0..=job.grants {
        let slot = pool.lend(SLOT_SIZE, Wait::from(PATIENCE), Policy::Block)?;
        let now = monotonic_ns();
        // The first is granted at once: the pool is still empty.
        if grant > 0 {
            latencies.push(now.saturating_sub(released.load(Ordering::Relaxed)));
        }
        tickets.send(&slot.publish(Audience::Everyone)?)?;
    }
    child::tell(&latencies)
}
