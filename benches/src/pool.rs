//! The rows of the suite `pool`, a file for each group.
//!
//! The peer of these rows is the pool of pymllm and sglang, modelled: its package needs
//! a GPU, so what stands beside ours is its rules without whatever slows it down besides.

mod acknowledge;
mod allocation;
mod carrier;
mod chunks;
mod cycle;
mod grant;
mod handover;
mod idle;
mod modelled;
mod one_way;
mod store;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::child::Role;
use crate::limits;
use crate::measure::{Plan, Samples};
use crate::suites::Group;

/// All groups, in the order of the table.
pub const GROUPS: [Group; 9] = [
    Group { name: "cycle", run: cycle::run },
    Group { name: "acknowledge", run: acknowledge::run },
    Group { name: "lend-to-redeem", run: one_way::run },
    Group { name: "release-to-grant", run: grant::run },
    Group { name: "handover", run: handover::run },
    Group { name: "allocation", run: allocation::run },
    Group { name: "chunks", run: chunks::run },
    Group { name: "store", run: store::run },
    Group { name: "idle", run: idle::run },
];

/// What the children of these groups can be told to do.
pub const ROLES: [Role; 8] = [
    limits::HOP_ECHO,
    limits::FUTEX_SLEEPER,
    limits::COPY_RING_READER,
    one_way::POOL_ECHO,
    grant::BLOCKED_PRODUCER,
    handover::LEASING_READER,
    handover::FLAGGING_READER,
    idle::IDLE_WAITERS,
];

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Single operations, with one reading of the clock in each: for the tail.
fn one_by_one(plan: Plan, mut once: impl FnMut() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    let mut before = begun;
    while before - begun < 2 * plan.slice() {
        once()?;
        let now = Instant::now();
        samples.record((now - before).as_nanos() as u64);
        before = now;
    }
    Ok(samples)
}
