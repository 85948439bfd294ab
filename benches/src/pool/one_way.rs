//! A slot goes to another process, which spins for it, and another comes back: half of that.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_pool::{Audience, Consumer, Lease, Policy, Pool, PoolConfig, Wait};

use super::carrier::{Address, Carrier, Kind};
use crate::child::{self, Child, Role};
use crate::limits::{Hop, Shape};
use crate::measure::{self, Exchange, LAST, Latency, Quantiles, alternate, pin, ping_pong};
use crate::report::{NS, Row};
use crate::scratch;
use crate::suites::Setting;

/// The child's part.
pub(super) const POOL_ECHO: Role = Role { name: "pool-echo", run: echo };

const SLOTS: usize = 4;
const WORDS: usize = 8;
/// What a slot of the last turn is lent for: the length tells the other side to stop.
const LAST_LEN: usize = 8;

/// One row.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Case {
    carrier: Kind,
    /// Whether 64 bytes are copied in and out.
    copied: bool,
}

const CASES: [(&str, Case, &str); 3] = [
    (
        "lend-to-redeem",
        Case { carrier: Kind::Line, copied: false },
        "goal: at most 2.5 of the limit; the ticket travels in a bare cache line, payload untouched",
    ),
    (
        "lend-to-redeem/64B",
        Case { carrier: Kind::Line, copied: true },
        "no goal; the ticket travels in a bare cache line, 64 B copied in and out",
    ),
    (
        "lend-to-redeem/queue",
        Case { carrier: Kind::Queue, copied: false },
        "no goal; the ticket travels through a queue of the pool, payload untouched",
    ),
];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let far = setting.cores.far;
    let slice = setting.plan.slice();
    let results =
        alternate(setting.plan.rounds(), CASES.len() + 2, |which| match which.checked_sub(2) {
            None => bare(far, which == 1, slice),
            Some(case) => ours(far, CASES[case].1, slice),
        })?;
    let of = |which: usize| Latency::of_rounds(&results[which]);
    let (hop, pausing_hop) = (of(0)?, of(1)?);
    let (hot, pausing) = (hop.one_way, pausing_hop.one_way);
    let faster = if hot <= pausing { &hop } else { &pausing_hop };
    let mut rows = Vec::new();
    for (which, (name, case, note)) in CASES.into_iter().enumerate() {
        let latency = of(which + 2)?;
        let row = Row::new(name, latency.one_way, "ns")
            .with_samples(&latency.single, NS)
            .with_limit("bare cache-line hop", faster.one_way)
            .with_limit_quantiles(Quantiles::of(&faster.single, NS))
            .with_note(note)
            .with_note(format!(
                "a bare hop takes {hot:.0} ns, {pausing:.0} ns with the pause instruction"
            ))
            .with_note(
                "lend + publish + redeem, two pinned processes; the lease before is released after \
                 the answer was sent; value is half a turn, p50 of batches; tail of turns one by one",
            );
        rows.push(if case.copied { row.touching_payload() } else { row });
    }
    Ok(rows)
}

fn bare(far: usize, pauses: bool, slice: Duration) -> Result<Latency> {
    let mut hop = Hop::start(far, Shape { pauses, ..Shape::BARE })?;
    let latency = ping_pong(&mut hop, slice)?;
    hop.end()?;
    Ok(latency)
}

#[derive(Debug, Serialize, Deserialize)]
struct EchoJob {
    ping: String,
    pong: String,
    there: Address,
    back: Address,
    case: Case,
}

fn ours(far: usize, case: Case, slice: Duration) -> Result<Latency> {
    let config = PoolConfig::slots(SLOTS, WORDS * 8)?;
    let ping = Pool::create(&scratch::name("ping"), &config)?;
    let pong = Pool::create(&scratch::name("pong"), &config)?;
    let (there, there_at) = Carrier::create(case.carrier, &ping)?;
    let (back, back_at) = Carrier::create(case.carrier, &pong)?;
    let job = EchoJob {
        ping: ping.name().to_owned(),
        pong: pong.name().to_owned(),
        there: there_at,
        back: back_at,
        case,
    };
    let consumer = pong.consumer()?;
    let child = Child::start(&POOL_ECHO, far, &job)?;
    let mut side = Side::new(ping, consumer, there, back, case);
    let latency = ping_pong(&mut side, slice)?;
    drop(side);
    child.end()?;
    Ok(latency)
}

fn echo(job: &str) -> Result<()> {
    let job: EchoJob = child::job(job)?;
    let (ping, pong) = (Pool::open(&job.ping)?, Pool::open(&job.pong)?);
    let back = Carrier::open(&job.back, &pong)?;
    let there = Carrier::open(&job.there, &ping)?;
    let mut side = Side::new(pong, ping.consumer()?, back, there, job.case);
    child::ready()?;
    measure::echo(&mut side)
}

/// What both processes do.
struct Side {
    out: Pool,
    consumer: Consumer,
    outgoing: Carrier,
    incoming: Carrier,
    received: u64,
    held: Option<Lease>,
    case: Case,
    payload: [u64; WORDS],
}

impl Side {
    fn new(
        out: Pool,
        consumer: Consumer,
        outgoing: Carrier,
        incoming: Carrier,
        case: Case,
    ) -> Side {
        let payload = [0; WORDS];
        Side { out, consumer, outgoing, incoming, received: 0, held: None, case, payload }
    }
}

impl Exchange for Side {
    #[inline]
    fn send(&mut self, sequence: u64) -> Result<()> {
        let len = if sequence == LAST { LAST_LEN } else { WORDS * 8 };
        let mut slot = self.out.lend(len, Wait::Try, Policy::Fail)?;
        if self.case.copied && sequence != LAST {
            self.payload.fill(sequence);
            slot.copy_from(&self.payload)?;
        }
        self.outgoing.send(&slot.publish(Audience::Everyone)?)?;
        // What was held until now is let go while the other side is busy.
        self.held = None;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<u64> {
        let ticket = self.incoming.receive(&self.consumer)?;
        let lease = self.consumer.redeem(&ticket)?;
        let is_last = lease.byte_len() == LAST_LEN;
        if self.case.copied && !is_last {
            lease.copy_to(&mut self.payload)?;
            let expected = self.received + 1;
            ensure!(self.payload == [expected; WORDS], "{:?} is not {expected}", self.payload);
        }
        self.held = Some(lease);
        self.received = if is_last { LAST } else { self.received + 1 };
        Ok(self.received)
    }
}
