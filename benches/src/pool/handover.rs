//! Payloads of 8 MiB that one process writes and another reads, one after the other without a pause.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use shm_pool::{Audience, Policy, Pool, PoolConfig, Wait};

use super::PATIENCE;
use super::carrier::{Address, Carrier, Kind};
use super::modelled::{FlagLock, Recycled, SCAN_EVERY, acknowledge};
use crate::child::{self, Child, Role};
use crate::limits::{
    CopyKind, CopyRing, Mailbox, Mapping, RingShape, WORDS, check_stamp, spin_until, stamp,
};
use crate::measure::{Plan, alternate, median, pin};
use crate::report::Row;
use crate::scratch;
use crate::suites::Setting;

/// The child's part with our pool.
pub(super) const LEASING_READER: Role = Role { name: "leasing-reader", run: lease };
/// The child's part with the modelled pool.
pub(super) const FLAGGING_READER: Role = Role { name: "flagging-reader", run: flag };

const LEN: usize = 8 << 20;
const SLOTS: usize = 4;
/// Payloads before the clock runs: every page and every cache has been seen by then.
const WARM_UP: u32 = 2 * SLOTS as u32;
/// How many payloads were read, in memory that both map.
const READ: usize = 0;
/// The offset that tells the modelled pool's reader to stop.
const STOP: u64 = u64::MAX;

/// How the bare contenders copy in and out.
const BARE: [(CopyKind, CopyKind, &str); 4] = [
    (CopyKind::Libc, CopyKind::Libc, "libc memcpy in and out"),
    (CopyKind::RepMovs, CopyKind::RepMovs, "rep movsb in and out"),
    (CopyKind::NonTemporal, CopyKind::NonTemporal, "AVX non-temporal in and out"),
    (CopyKind::NonTemporal, CopyKind::Libc, "AVX non-temporal in, libc memcpy out"),
];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    let plan = setting.plan;
    let payloads = WARM_UP + plan.pick(24, 150);
    let mut source = vec![1_u8; LEN];
    let available = CopyKind::available();
    let bare: Vec<_> = BARE
        .into_iter()
        .filter(|(inward, outward, _)| available.contains(inward) && available.contains(outward))
        .flat_map(|(inward, outward, name)| {
            [false, true].map(|sleeps| {
                (RingShape { len: LEN, cells: SLOTS as u32, inward, outward, sleeps }, name)
            })
        })
        .collect();
    let mut refused = 0;
    let rates = alternate(plan.pick(3, 9), 1 + bare.len(), |which| {
        let took = match which.checked_sub(1) {
            None => {
                let (took, its_refused) = ours(far, payloads, &mut source)?;
                refused += its_refused;
                took
            }
            Some(which) => {
                CopyRing::start(far, bare[which].0, payloads)?.run(WARM_UP, &mut source)?
            }
        };
        Ok(gigabytes_per_second(u64::from(payloads - WARM_UP), took))
    })?;
    let middle = |which: usize| median(rates[which].iter().copied());
    let ours = middle(0);
    let (limit, limit_name) = (1..=bare.len())
        .map(|which| (middle(which), bare[which - 1].1))
        .fold((0.0, ""), |best, next| if next.0 > best.0 { next } else { best });
    let offered = Duration::from_secs_f64(LEN as f64 / 1e9 / ours);
    let theirs = modelled(far, plan, offered, &mut source)?;
    let all: Vec<String> = (1..=bare.len())
        .map(|which| {
            let (shape, name) = bare[which - 1];
            let waits = if shape.sleeps { "sleeping" } else { "spinning" };
            format!("{name}, {waits} {:.2}", middle(which))
        })
        .collect();
    Ok(vec![
        Row::new("handover-8MiB", ours, "GB/s")
            .with_limit(limit_name, limit)
            .with_peer("pymllm's pool of the same size, modelled", theirs.rate)
            .touching_payload()
            .with_note("goal: at least 0.9 of the limit, nothing refused")
            .with_note(format!(
                "{refused} refused of ours; of the model {} of {} chunks offered at our rate, as its \
                 pool can give at most its size per {SCAN_EVERY:?}",
                theirs.refused, theirs.offered
            ))
            .with_note(
                "two pinned processes, 4 slots, one copies in and blocks in lend and queue, the other \
                 copies out; the limit is the fastest of the same copies over 4 cells with two counters",
            )
            .with_note(format!("bare in GB/s: {}", all.join(", "))),
    ])
}

fn gigabytes_per_second(payloads: u64, took: Duration) -> f64 {
    payloads as f64 * LEN as f64 / 1e9 / took.as_secs_f64()
}

#[derive(Debug, Serialize, Deserialize)]
struct LeaseJob {
    pool: String,
    tickets: Address,
    read: String,
    payloads: u32,
}

/// How long the payloads after the warm-up took until the last was read, and what was refused.
fn ours(far: usize, payloads: u32, source: &mut [u8]) -> Result<(Duration, u64)> {
    let pool = Pool::create(&scratch::name("handover"), &PoolConfig::slots(SLOTS, LEN)?)?;
    let (mut tickets, address) = Carrier::create(Kind::Queue, &pool)?;
    let counts = Mapping::create("handover", 4096)?;
    let read = counts.word(READ)?;
    let job = LeaseJob {
        pool: pool.name().to_owned(),
        tickets: address,
        read: counts.name().to_owned(),
        payloads,
    };
    let child = Child::start(&LEASING_READER, far, &job)?;
    let mut begun = Instant::now();
    for payload in 0..payloads {
        if payload == WARM_UP {
            wait_for(read, u64::from(WARM_UP))?;
            begun = Instant::now();
        }
        let mut slot = pool.lend(LEN, Wait::from(PATIENCE), Policy::Block)?;
        stamp(source, u64::from(payload) + 1);
        slot.copy_from(source)?;
        tickets.send(&slot.publish(Audience::Everyone)?)?;
    }
    wait_for(read, u64::from(payloads))?;
    let took = begun.elapsed();
    child.end()?;
    Ok((took, pool.stats().refused))
}

fn lease(job: &str) -> Result<()> {
    let job: LeaseJob = child::job(job)?;
    let pool = Pool::open(&job.pool)?;
    let consumer = pool.consumer()?;
    let mut tickets = Carrier::open(&job.tickets, &pool)?;
    let counts = Mapping::open(&job.read)?;
    let read = counts.word(READ)?;
    let mut target = vec![0_u8; LEN];
    child::ready()?;
    for payload in 0..job.payloads {
        let lease = consumer.redeem(&tickets.receive(&consumer)?)?;
        lease.copy_to(&mut target)?;
        lease.release();
        check_stamp(&target, u64::from(payload) + 1)?;
        read.store(u64::from(payload) + 1, Ordering::Release);
    }
    Ok(())
}

fn wait_for(count: &AtomicU64, least: u64) -> Result<()> {
    spin_until("the reader", || (count.load(Ordering::Acquire) >= least).then_some(()))
}

#[derive(Debug, Serialize, Deserialize)]
struct FlagJob {
    memory: String,
    chunks: String,
    flags: Vec<String>,
    lock: PathBuf,
}

/// What the modelled pool did with chunks that were offered at a steady rate.
struct Modelled {
    rate: f64,
    offered: u64,
    refused: u64,
}

fn modelled(far: usize, plan: Plan, every: Duration, source: &mut [u8]) -> Result<Modelled> {
    let memory = Mapping::create("modelled", SLOTS * LEN)?;
    // Twice as many lines as chunks fit: a line is read long before its turn comes again.
    let chunks = Mailbox::create("chunks", 2 * SLOTS)?;
    let pool = Recycled::new(SLOTS * LEN, SLOTS)?;
    let lock = FlagLock::create()?;
    let job = FlagJob {
        memory: memory.name().to_owned(),
        chunks: chunks.name().to_owned(),
        flags: pool.flags().to_vec(),
        lock: lock.path().to_owned(),
    };
    let child = Child::start(&FLAGGING_READER, far, &job)?;
    let mut turn = 0;
    let mut send = |offset: u64, flag: u64| -> Result<()> {
        let mut words = [0; WORDS];
        (words[0], words[1]) = (offset, flag);
        chunks.send(turn, turn + 1, &words)?;
        turn += 1;
        Ok(())
    };
    let mut offer = |granted: &mut u64| -> Result<()> {
        if let Some(chunk) = pool.grant(LEN) {
            *granted += 1;
            stamp(source, *granted);
            memory.copy_in(CopyKind::Libc, chunk.offset, source)?;
            send(chunk.offset as u64, chunk.flag as u64)?;
        }
        Ok(())
    };
    // The first scans are not counted: an empty pool grants a few chunks without one.
    let mut granted = 0;
    pace(2 * SCAN_EVERY, every, || offer(&mut granted))?;
    let (granted_before, refused_before) = (granted, pool.refused());
    // Whole periods of the scan, so that none is counted by half.
    let span = plan.pick(5, 20) * SCAN_EVERY;
    let begun = Instant::now();
    let offered = pace(span, every, || offer(&mut granted))?;
    let took = begun.elapsed();
    let refused = pool.refused() - refused_before;
    send(STOP, 0)?;
    child.end()?;
    Ok(Modelled { rate: gigabytes_per_second(granted - granted_before, took), offered, refused })
}

/// Does something at a steady rate for a while, late turns included; how often.
fn pace(span: Duration, every: Duration, mut once: impl FnMut() -> Result<()>) -> Result<u64> {
    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < span {
        once()?;
        turns += 1;
        let due = begun + every * u32::try_from(turns).context("too many turns")?;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
    }
    Ok(turns)
}

fn flag(job: &str) -> Result<()> {
    let job: FlagJob = child::job(job)?;
    let memory = Mapping::open(&job.memory)?;
    let chunks = Mailbox::open(&job.chunks)?;
    let mut target = vec![0_u8; LEN];
    child::ready()?;
    for turn in 0.. {
        let before = (turn + 1_u64).saturating_sub(2 * SLOTS as u64);
        let (_, words) = chunks.receive(turn, before)?;
        if words[0] == STOP {
            break;
        }
        memory.copy_out(CopyKind::Libc, words[0] as usize, &mut target)?;
        check_stamp(&target, turn + 1)?;
        let flag = job.flags.get(words[1] as usize).context("there is no such flag")?;
        acknowledge(flag, &job.lock)?;
    }
    ensure!(target[0] != 0 || target[1] != 0, "the model granted no chunk");
    Ok(())
}
