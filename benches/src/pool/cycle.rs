//! One slot, all the way round, with nobody else about.

use anyhow::Result;
use shm_pool::{Audience, Consumer, Policy, Pool, PoolConfig, Wait};

use super::one_by_one;
use crate::limits::{FreeList, Locked};
use crate::measure::{alternate, median, pin, repeat};
use crate::report::{NS, Row};
use crate::scratch;
use crate::suites::Setting;

const SLOTS: u32 = 8;
const SLOT_SIZE: usize = 4096;
/// Locked exchanges of one cycle that lose or tear something if they are left out: take the hint,
/// claim the slot, count it; publish it; hold it; let go of it, free it, count it, give the hint back.
const STEPS: u64 = 9;
const BATCH: u32 = 64;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let plan = setting.plan;
    let config = PoolConfig::slots(SLOTS as usize, SLOT_SIZE)?;
    let pool = Pool::create(&scratch::name("cycle"), &config)?;
    let consumer = pool.consumer()?;
    let (mut locked, list) = (Locked::default(), FreeList::new(SLOTS));
    // The first round warms up.
    let results = alternate(1 + plan.rounds(), 3, |which| match which {
        0 => repeat(plan.slice(), BATCH, || cycle(&pool, &consumer)),
        1 => repeat(plan.slice(), BATCH, || {
            locked.steps(STEPS);
            Ok(())
        }),
        _ => repeat(plan.slice(), BATCH, || {
            if let Some(index) = list.pop() {
                list.push(index);
            }
            Ok(())
        }),
    })?;
    let middle = |which: usize| median(results[which].iter().skip(1).copied());
    let single = one_by_one(plan, || cycle(&pool, &consumer))?;
    Ok(vec![
        Row::new("cycle", middle(0), "ns")
            .with_samples(&single, NS)
            .with_limit("nine uncontended locked exchanges, as many as a cycle needs", middle(1))
            .with_peer("bare tagged free list, pop + push", middle(2))
            .with_note("goal: at most 120 ns")
            .with_note(
                "lend + publish + redeem + release, one process, one consumer, payload untouched; \
                 the bare list knows no owner, no reader and no generation",
            ),
    ])
}

#[inline]
fn cycle(pool: &Pool, consumer: &Consumer) -> Result<()> {
    let slot = pool.lend(SLOT_SIZE, Wait::Try, Policy::Fail)?;
    let ticket = slot.publish(Audience::Everyone)?;
    consumer.redeem(&ticket)?.release();
    Ok(())
}
