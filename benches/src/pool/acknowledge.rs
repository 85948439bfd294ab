//! What it costs a consumer to say that it is done with a slot.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use shm_pool::{Audience, Consumer, Lease, Policy, Pool, PoolConfig, Wait};

use super::modelled::{Flag, FlagLock, acknowledge};
use crate::limits::PendingBits;
use crate::measure::{Plan, Quantiles, Samples, alternate, median, pin, repeat};
use crate::report::{NS, Row};
use crate::scratch;
use crate::suites::Setting;

const CONSUMERS: usize = 8;
/// Slots that are released between two readings of the clock.
const SLOTS: usize = 64;
const SLOT_SIZE: usize = 4096;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let plan = setting.plan;
    let config = PoolConfig::slots(SLOTS, SLOT_SIZE)?.consumers(CONSUMERS)?;
    let pool = Pool::create(&scratch::name("acknowledge"), &config)?;
    let consumers = (0..CONSUMERS).map(|_| pool.consumer()).collect::<Result<Vec<_>, _>>()?;
    let bits = PendingBits::new(SLOTS);
    let lock = FlagLock::create()?;
    let flags = (0..SLOTS).map(|_| Flag::create()).collect::<Result<Vec<_>>>()?;

    let results = alternate(1 + plan.rounds(), 3, |which| match which {
        0 => ours(&pool, &consumers, plan.slice(), Timed::InBatches),
        1 => bare(&bits, plan.slice()),
        _ => modelled(&flags, lock.path(), plan.slice()),
    })?;
    let middle = |which: usize, of: fn(&Releases) -> &Samples| {
        median(results[which].iter().skip(1).map(|round| of(round).p50() / SLOTS as f64))
    };
    let single = ours(&pool, &consumers, 2 * plan.slice(), Timed::OneByOne)?;
    let theirs = single_flags(plan, &flags, lock.path())?;
    let row = |name: &str, of: fn(&Releases) -> &Samples| {
        Row::new(name, middle(0, of), "ns")
            .with_samples(of(&single), NS)
            .with_limit("one atomic bit clear", middle(1, of))
            .with_peer("pymllm's acknowledgement, modelled", middle(2, of))
            .with_peer_quantiles(Quantiles::of(&theirs, NS))
            .with_note(format!(
                "the model's p99 is {:.0} ns, its max {:.0} ns",
                theirs.p99(),
                theirs.max()
            ))
            .with_note(format!(
                "{SLOTS} releases between two readings of the clock; payload untouched"
            ))
    };
    Ok(vec![
        row("acknowledge", |releases| &releases.others).with_note("goal: at most 15 ns").with_note(
            format!("the release of one of {CONSUMERS} consumers while others are pending"),
        ),
        row("acknowledge-last", |releases| &releases.last)
            .with_note("no goal")
            .with_note("the release that frees the slot"),
    ])
}

/// What releases took: batches of [`SLOTS`] or single ones.
#[derive(Default)]
struct Releases {
    others: Samples,
    last: Samples,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timed {
    InBatches,
    OneByOne,
}

/// Fills all slots, has all consumers redeem them, then releases them consumer by consumer.
fn ours(pool: &Pool, consumers: &[Consumer], slice: Duration, timed: Timed) -> Result<Releases> {
    let mut releases = Releases::default();
    let mut leases: Vec<Vec<Lease>> = consumers.iter().map(|_| Vec::with_capacity(SLOTS)).collect();
    let begun = Instant::now();
    while begun.elapsed() < slice {
        for _ in 0..SLOTS {
            let slot = pool.lend(SLOT_SIZE, Wait::Try, Policy::Fail)?;
            let ticket = slot.publish(Audience::Everyone)?;
            for (consumer, leases) in consumers.iter().zip(&mut leases) {
                leases.push(consumer.redeem(&ticket)?);
            }
        }
        let last = leases.len() - 1;
        for (which, leases) in leases.iter_mut().enumerate() {
            let samples = if which < last { &mut releases.others } else { &mut releases.last };
            match timed {
                Timed::InBatches => {
                    let before = Instant::now();
                    leases.drain(..).for_each(Lease::release);
                    samples.record(before.elapsed().as_nanos() as u64);
                }
                Timed::OneByOne => {
                    for lease in leases.drain(..) {
                        let before = Instant::now();
                        lease.release();
                        samples.record(before.elapsed().as_nanos() as u64);
                    }
                }
            }
        }
    }
    Ok(releases)
}

fn bare(bits: &PendingBits, slice: Duration) -> Result<Releases> {
    let mut bit = 0;
    batches(slice, || {
        bit = (bit + 1) % CONSUMERS as u32;
        bits.clear(bit);
        Ok(())
    })
}

fn modelled(flags: &[Flag], lock: &Path, slice: Duration) -> Result<Releases> {
    batches(slice, || flags.iter().try_for_each(|flag| acknowledge(flag.name(), lock)))
}

/// For contenders that do the same whoever is last.
fn batches(slice: Duration, batch: impl FnMut() -> Result<()>) -> Result<Releases> {
    let each = Samples::from_iter([repeat(slice, 1, batch)? as u64]);
    Ok(Releases { others: each.clone(), last: each })
}

fn single_flags(plan: Plan, flags: &[Flag], lock: &Path) -> Result<Samples> {
    let mut turn = 0;
    super::one_by_one(plan, || {
        turn += 1;
        acknowledge(flags[turn % flags.len()].name(), lock)
    })
}
