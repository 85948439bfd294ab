//! A producer sleeps in the kernel because the pool is full; a release in another process gives it
//! the slot.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::clock::monotonic_ns;
use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};

use super::PATIENCE;
use super::carrier::{Address, Carrier, Kind};
use crate::child::{self, Child, Role};
use crate::limits::{FutexHop, Mapping};
use crate::measure::{Quantiles, Samples, alternate, median, pin};
use crate::report::{Row, US};
use crate::scratch;
use crate::suites::Setting;

/// The child's part.
pub(super) const BLOCKED_PRODUCER: Role = Role { name: "blocked-producer", run: produce };

const SLOT_SIZE: usize = 64;
/// When the release began, in the memory that both map.
const RELEASED: usize = 0;
/// Between two releases, in turn: so long that the producer and its processor are at rest, and not
/// so regular that anything could guess the next.
const PAUSES_US: [u64; 7] = [200, 900, 350, 1000, 500, 275, 700];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    let grants = setting.plan.pick(30, 100);
    // Many short rounds: a processor that something else keeps awake answers three times as fast,
    // and that may last for some of them.
    let results = alternate(3 * setting.plan.rounds(), 2, |which| {
        let latencies = match which {
            0 => bare(far, grants)?,
            _ => ours(far, grants)?,
        };
        ensure!(latencies.len() == grants as usize, "{} of {grants} came", latencies.len());
        Ok(Samples::from_iter(latencies))
    })?;
    let middle = |which: usize| median(results[which].iter().map(Samples::p50)) / 1000.0;
    let all = |which: usize| -> Result<Samples> {
        let mut all = Samples::default();
        results[which].iter().try_for_each(|round| all.add(round))?;
        Ok(all)
    };
    let (bare, ours) = (all(0)?, all(1)?);
    Ok(vec![
        Row::new("release-to-grant", middle(1), "us")
            .with_samples(&ours, US)
            .with_limit("bare futex hop, p50", middle(0))
            .with_limit_quantiles(Quantiles::of(&bare, US))
            .with_note("no goal but to be near the limit")
            .with_note(format!("the limit's p99 is {:.1} us", bare.p99() / 1000.0))
            .with_note(
                "from before the last release to the return of lend, in another process on another \
                 processor that slept in the kernel; 0.2 to 1 ms of rest between; payload untouched",
            ),
    ])
}

fn bare(far: usize, grants: u32) -> Result<Vec<u64>> {
    let mut hop = FutexHop::start(far, grants, 0)?;
    for sent in 0..u64::from(grants) {
        let begun = Instant::now();
        while hop.received()? < sent {
            ensure!(begun.elapsed() < PATIENCE, "wake {sent} was not received");
            std::hint::spin_loop();
        }
        rest(sent);
        hop.wake()?;
    }
    hop.latencies()
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
        rest(grant);
        clock.word(RELEASED)?.store(monotonic_ns(), Ordering::Relaxed);
        lease.release();
    }
    consumer.redeem(&tickets.receive(&consumer)?)?.release();
    child.report()
}

/// Some time in which the other side falls asleep.
fn rest(turn: u64) {
    let pause = PAUSES_US[(turn % PAUSES_US.len() as u64) as usize];
    thread::sleep(Duration::from_micros(pause));
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
