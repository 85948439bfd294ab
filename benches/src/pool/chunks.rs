//! Pieces of very different sizes out of one arena that is nearly full: how often it has to refuse
//! because what is free does not lie together.

mod runs;
mod trace;

pub use runs::{Fit, FreeRuns, Rounding, Run};

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use shm_pool::{Audience, Consumer, Lease, LendError, Policy, Pool, PoolConfig, Wait};

use crate::measure::{Samples, pin};
use crate::report::{NS, Row};
use crate::scratch;
use crate::suites::Setting;
use trace::{Arena, Outcome, Shape, drive, trace};

const MIB: usize = 1 << 20;
/// The arena and the requests on a machine with enough memory; smaller ones keep the proportions.
const FULL: Shape =
    Shape { capacity: 1024 * MIB, smallest: 2 * MIB, largest: 130 * MIB, fill: 0.9 };

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let shape = shape(setting.plan.pick(4, 1))?;
    let (traces, requests) = setting.plan.pick((4, 500), (20, 2000));
    let config = PoolConfig::chunks(shape.capacity)?;
    let pool = Pool::create(&scratch::name("chunks"), &config)?;
    let mut ours = Chunks { consumer: pool.consumer()?, pool, took: Samples::default() };
    let mut outcome = Outcome::default();
    let mut others = OTHERS.map(|other| (other, Outcome::default()));
    for seed in 0..traces {
        let steps = trace(&shape, requests, seed);
        outcome = outcome.plus(drive(&mut ours, &shape, &steps)?);
        for ((_, fit, rounding), its_outcome) in &mut others {
            let mut arena = FreeRuns::new(shape.capacity, *fit, *rounding);
            *its_outcome = its_outcome.plus(drive(&mut arena, &shape, &steps)?);
        }
    }
    let (_, peer) = others[0];
    let all: Vec<String> =
        others.iter().map(|((name, ..), its)| format!("{name} {}", describe(its))).collect();
    let method = format!(
        "{traces} traces of {requests} requests of {:.1} to {:.1} MiB, log-uniform, out of {} MiB; \
         pieces chosen by chance are given back so that an ideal arena stays just below 90 % full; \
         payload untouched",
        shape.smallest as f64 / MIB as f64,
        shape.largest as f64 / MIB as f64,
        shape.capacity / MIB
    );
    Ok(vec![
        Row::new("chunks-90/refused", outcome.refused_percent(), "%")
            .with_limit("nothing, as enough bytes are always free", 0.0)
            .with_peer(PEER, peer.refused_percent())
            .with_note("goal: at most the peer's")
            .with_note(format!("ours {}", describe(&outcome)))
            .with_note(format!("other placements of the same requests: {}", all.join("; ")))
            .with_note(method),
        Row::new("chunks-90/waste", outcome.waste_percent(), "%")
            .with_limit("nothing", 0.0)
            .with_note(
                "what rounding adds to the bytes that were asked for; the peer rounds nothing",
            ),
        Row::new("chunks-90/fill", outcome.fill_percent(), "%")
            .with_limit("an arena that refuses nothing", ideal_fill(&shape, traces, requests)?)
            .with_peer(PEER, peer.fill_percent())
            .with_note("of the arena in use after a request, by bytes asked for: more is better"),
        Row::new("chunks-90/lend", ours.took.p50(), "ns")
            .with_samples(&ours.took, NS)
            .with_note("one lend out of the nearly full arena, refusals included"),
    ])
}

const PEER: &str = "pymllm's best fit over exact bytes, modelled";

/// The peer's placement first.
const OTHERS: [(&str, Fit, Rounding); 5] = [
    ("best fit, exact bytes", Fit::Best, Rounding::Multiple(1)),
    ("best fit, 64 KiB", Fit::Best, Rounding::Multiple(64 << 10)),
    ("best fit, four steps per octave", Fit::Best, Rounding::FourSteps),
    ("first fit, exact bytes", Fit::First, Rounding::Multiple(1)),
    (
        "large from the low end and small from the high",
        Fit::Ends { large: 32 * MIB },
        Rounding::Multiple(1),
    ),
];

fn describe(outcome: &Outcome) -> String {
    format!(
        "refused {:.2} % ({} of {} while enough bytes were free), waste {:.1} %, {}",
        outcome.refused_percent(),
        outcome.fragmented,
        outcome.refused,
        outcome.waste_percent(),
        outcome.fill_at_refusal_percent().map_or_else(
            || "never at refusal".to_owned(),
            |fill| format!("{fill:.0} % full at refusal")
        )
    )
}

/// The arena that memory allows: a quarter of what is free at most.
fn shape(divisor: usize) -> Result<Shape> {
    let memory = fs::read_to_string("/proc/meminfo").context("could not ask for free memory")?;
    let line = memory.lines().find(|line| line.starts_with("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    let free = kibibytes.context("the kernel does not say how much memory is free")? << 10;
    let mut divisor = divisor;
    while FULL.capacity / divisor > free / 4 {
        divisor *= 2;
    }
    Ok(Shape {
        capacity: FULL.capacity / divisor,
        smallest: FULL.smallest / divisor,
        largest: FULL.largest / divisor,
        fill: FULL.fill,
    })
}

/// How full an arena stays that joins whatever is free.
fn ideal_fill(shape: &Shape, traces: u64, requests: usize) -> Result<f64> {
    let mut outcome = Outcome::default();
    for seed in 0..traces {
        outcome = outcome.plus(drive(&mut Ideal, shape, &trace(shape, requests, seed))?);
    }
    Ok(outcome.fill_percent())
}

struct Ideal;

impl Arena for Ideal {
    type Piece = usize;

    fn take(&mut self, bytes: usize) -> Result<Option<usize>> {
        Ok(Some(bytes))
    }

    fn occupied(&self, piece: &usize) -> usize {
        *piece
    }

    fn give_back(&mut self, _piece: usize) -> Result<()> {
        Ok(())
    }
}

/// Our pool, through lend, publish, redeem and release.
struct Chunks {
    pool: Pool,
    consumer: Consumer,
    took: Samples,
}

/// A lease, and what it occupies.
struct Held {
    lease: Lease,
    capacity: usize,
}

impl Arena for Chunks {
    type Piece = Held;

    fn take(&mut self, bytes: usize) -> Result<Option<Held>> {
        let before = Instant::now();
        let lent = self.pool.lend(bytes, Wait::Try, Policy::Fail);
        self.took.record(before.elapsed().as_nanos() as u64);
        let slot = match lent {
            Ok(slot) => slot,
            Err(LendError::Full { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let capacity = slot.capacity();
        let lease = self.consumer.redeem(&slot.publish(Audience::Everyone)?)?;
        Ok(Some(Held { lease, capacity }))
    }

    fn occupied(&self, piece: &Held) -> usize {
        piece.capacity
    }

    fn give_back(&mut self, piece: Held) -> Result<()> {
        piece.lease.release();
        Ok(())
    }
}
