//! Slots of a pool and entries of a store.

use super::bare::{Copies, Exchanges};
use super::report::{NS, Row, US};
use super::role::{Job, key};
use super::rounds::repeat;
use super::samples::Samples;
use super::{Bench, broke};
use crate::cli::exit::Failure;
use crate::{Audience, Consumer, Policy, Pool, PoolConfig, Store, StoreConfig, Wait};
use std::time::Duration;

/// A reading of the clock costs a tenth of such an operation, so several are timed together.
const BATCH: u32 = 16;

/// One slot all the way round, with nobody else about.
pub(super) fn cycle(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    /// Take the hint, claim the slot, count it; publish it; hold it; let go of it, free it, count it, give
    /// the hint back: the steps that lose or tear something if they are left out.
    const STEPS: u32 = 9;
    let interrupt = bench.interrupt;
    let config = PoolConfig::slots(8, 4096).map_err(|error| broke("describe a pool", error))?;
    let pool = bench.scratch.pool("pool", &config)?;
    let consumer = pool.consumer().map_err(|error| broke("join the pool", error))?;
    let mut took = Samples::of(BATCH);
    let mut exchanges = Exchanges::new(BATCH, STEPS, interrupt);
    bench.plan.alternate(&mut [&mut exchanges, &mut |slice: Duration| {
        repeat(slice, &mut took, interrupt, || {
            (0..BATCH).try_for_each(|_| once_round(&pool, &consumer))
        })
    }])?;
    let limit = exchanges.samples.p50();
    Ok(vec![
        Row::new("pool/cycle", NS, &took, ("nine uncontended locked exchanges", limit)).with_note(
            format!(
                "lend, publish, redeem and release of a slot in one process, {BATCH} at a time; one \
                 exchange takes {:.1} ns",
                limit / f64::from(STEPS)
            ),
        ),
    ])
}

#[inline]
fn once_round(pool: &Pool, consumer: &Consumer) -> Result<(), Failure> {
    let slot = pool.lend(4096, Wait::Try, Policy::Fail).map_err(|e| broke("lend a slot", e))?;
    let ticket = slot.publish(Audience::Everyone).map_err(|e| broke("publish a slot", e))?;
    consumer.redeem(&ticket).map_err(|error| broke("redeem a ticket", error))?.release();
    Ok(())
}

/// Tensors that the other process stored, by key.
pub(super) fn retrieve(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    const TENSORS: usize = 8;
    const WORDS: usize = 1_000_000 / 8;
    /// To pin an entry, and to let go of it.
    const STEPS: u32 = 2;
    let interrupt = bench.interrupt;
    let config = StoreConfig::new(16 << 20).map_err(|error| broke("describe a store", error))?;
    let store = bench.scratch.store("store", &config)?;
    let name = store.name().to_owned();
    bench.peer.begin(&Job::Fill { store: name, tensors: TENSORS, words: WORDS })?;
    bench.peer.finish()?;

    let (mut copied, mut found) = (Samples::of(1), Samples::of(BATCH));
    let mut copies = Copies::out_of(TENSORS, WORDS, interrupt);
    let mut exchanges = Exchanges::new(BATCH, STEPS, interrupt);
    let mut target = vec![0_u64; WORDS];
    let mut turn = 0;
    bench.plan.alternate(&mut [
        &mut copies,
        &mut |slice: Duration| {
            repeat(slice, &mut copied, interrupt, || {
                turn = (turn + 1) % TENSORS;
                copy_of(&store, turn, &mut target)
            })
        },
        &mut exchanges,
        &mut |slice: Duration| {
            repeat(slice, &mut found, interrupt, || {
                (0..BATCH as usize).try_for_each(|tensor| look_up(&store, tensor % TENSORS))
            })
        },
    ])?;
    let limits = (copies.samples.p50(), exchanges.samples.p50());
    Ok(vec![
        Row::new("store/retrieve/1MB", US, &copied, ("one memcpy of the same bytes", limits.0))
            .touching_payload()
            .with_note(
                "found by its key, copied to private memory, let go; stored by the other process",
            ),
        Row::new("store/retrieve", NS, &found, ("two uncontended locked exchanges", limits.1))
            .with_note(format!("found by its key and let go, {BATCH} at a time")),
    ])
}

fn copy_of(store: &Store, tensor: usize, target: &mut [u64]) -> Result<(), Failure> {
    let retrieved = store
        .prepare_retrieve(&[&key(tensor)], Wait::Try)
        .map_err(|error| broke("retrieve a tensor", error))?;
    let copied = retrieved.tensor(0, 0).and_then(|found| found.copy_to(target));
    copied.map_err(|error| broke("copy a tensor", error))?;
    match target {
        [first, .., last] if (*first, *last) == (tensor as u64, tensor as u64) => Ok(()),
        _ => Err(broke("copy a tensor", "it is another than the one that was stored")),
    }
}

#[inline]
fn look_up(store: &Store, tensor: usize) -> Result<(), Failure> {
    let retrieved = store.prepare_retrieve(&[&key(tensor)], Wait::Try);
    retrieved.map_err(|error| broke("retrieve a tensor", error))?.release();
    Ok(())
}
