//! A frame goes to another process, which spins for it, and another comes back: half of that.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::copy::CopyPath;
use shm_core::{Deadline, FrameInfo, Reader, Stream, StreamConfig, Writer};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::limits::{CopyKind, Hop, Mapping, Shape};
use crate::measure::{self, Exchange, Latency, Plan, Quantiles, alternate, pin, ping_pong, repeat};
use crate::report::{NS, Row};
use crate::scratch::ScratchStream;

/// Longer than any answer takes.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The child's part.
pub(super) const STREAM_ECHO: Role = Role { name: "stream-echo", run: echo };

/// What goes back and forth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Its size in words of 8 bytes, two at least.
    pub words: usize,
    /// Whether all of it is copied in from private memory and out to private memory. If not, only
    /// the first and the last word are written and read, in place.
    pub copied: bool,
    /// Whether the writer's copy passes the caches by. Ours only; a peer cannot be asked to.
    pub bypassing: bool,
}

struct Case {
    name: &'static str,
    payload: Payload,
    goal: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "oneway/64B",
        payload: Payload { words: 8, copied: true, bypassing: false },
        goal: "goal: at most 1.6 of the limit and 0.6 of the peer",
    },
    Case {
        name: "oneway/40kB",
        payload: Payload { words: 5000, copied: true, bypassing: false },
        goal: "goal: at most 1.3 of the limit",
    },
    Case {
        name: "oneway/40kB-non-temporal",
        payload: Payload { words: 5000, copied: true, bypassing: true },
        goal: "goal: at most 1.3 of the limit; the writer asks for CopyPath::NonTemporal",
    },
    Case {
        name: "oneway/40kB-in-place",
        payload: Payload { words: 5000, copied: false, bypassing: false },
        goal: "no goal; for the peer's own way of measuring, which leaves the payload untouched",
    },
];

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    CASES.iter().map(|case| row(setting, case)).collect()
}

/// What can be measured for a case, each by processes of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Hop,
    /// The same with the pause instruction between two looks.
    PausingHop,
    /// The same two copies, with a bare word in place of a stream.
    BareCopies(CopyKind),
    /// One copy within one process, warm.
    Memcpy,
    Ours,
    Peer,
}

fn row(setting: &Setting<'_>, case: &Case) -> Result<Row> {
    let payload = case.payload;
    let carries_much = payload.copied && payload.words > 8;
    let mut contenders = vec![Contender::Hop, Contender::PausingHop, Contender::Ours];
    if carries_much {
        contenders.push(Contender::Memcpy);
    }
    if payload.copied {
        contenders.extend(CopyKind::available().into_iter().map(Contender::BareCopies));
    }
    if setting.peer.is_some() {
        contenders.push(Contender::Peer);
    }
    let results = alternate(setting.plan.rounds(), contenders.len(), |which| {
        measure(setting, payload, contenders[which])
    })?;
    let of = |contender: Contender| -> Result<Option<Latency>> {
        let which = contenders.iter().position(|one| *one == contender);
        which.map(|which| Latency::of_rounds(&results[which])).transpose()
    };

    let mut row = Row::new(case.name, 0.0, "ns").with_note(case.goal);
    if let Some(ours) = of(Contender::Ours)? {
        row.value = ours.one_way;
        row = row.with_samples(&ours.single, NS);
    }
    let bare_of = |contender| of(contender)?.context("a bare hop was not measured");
    let (hot, pausing) = (bare_of(Contender::Hop)?, bare_of(Contender::PausingHop)?);
    let faster = if hot.one_way <= pausing.one_way { &hot } else { &pausing };
    let (hop, hot, pausing) = (faster.one_way, hot.one_way, pausing.one_way);
    row = row.with_note(format!(
        "a bare hop takes {hot:.0} ns, {pausing:.0} ns with the pause instruction"
    ));
    row = match of(Contender::Memcpy)? {
        None => row
            .with_limit("bare cache-line hop", hop)
            .with_limit_quantiles(Quantiles::of(&faster.single, NS)),
        Some(memcpy) => row
            .with_limit("bare cache-line hop + one warm libc memcpy", hop + memcpy.one_way)
            .with_note(format!("one warm memcpy {:.0} ns", memcpy.one_way)),
    };
    let mut bare = Vec::new();
    for kind in CopyKind::available() {
        if let Some(latency) = of(Contender::BareCopies(kind))? {
            bare.push((latency.one_way, kind));
        }
    }
    if let Some(note) = bare_copies(&bare, row.value) {
        row = row.with_note(note);
    }
    if let (Some(peer), Some(latency)) = (setting.peer, of(Contender::Peer)?) {
        row = row
            .with_peer(peer.name(), latency.one_way)
            .with_peer_quantiles(Quantiles::of(&latency.single, NS))
            .with_note(format!("the peer's p99 is {:.0} ns", latency.single.p99()));
    }
    if payload.copied {
        row = row.touching_payload();
    }
    Ok(row.with_note(
        "two pinned processes spin; value is half a turn, p50 of batches; tail of turns one by one",
    ))
}

/// What the copies cost that no way around a stream saves: a row may miss its goal by them alone.
fn bare_copies(bare: &[(f64, CopyKind)], ours: f64) -> Option<String> {
    let best = bare.iter().map(|(one_way, _)| *one_way).min_by(f64::total_cmp)?;
    let each: Vec<String> =
        bare.iter().map(|(one_way, kind)| format!("{} {one_way:.0} ns", kind.name())).collect();
    Some(format!(
        "a bare word with the same copies in and out over 3 cells: {}; ours is {:.2} of the best",
        each.join(", "),
        ours / best
    ))
}

fn measure(setting: &Setting<'_>, payload: Payload, contender: Contender) -> Result<Latency> {
    let far = setting.cores.far;
    let slice = setting.plan.slice();
    match contender {
        Contender::Hop => bare_hop(far, Shape::BARE, slice),
        Contender::PausingHop => bare_hop(far, Shape { pauses: true, ..Shape::BARE }, slice),
        Contender::BareCopies(kind) => {
            bare_hop(far, Shape { words: payload.words, cells: 3, kind, pauses: true }, slice)
        }
        Contender::Memcpy => warm_memcpy(setting.plan, payload.words * 8),
        Contender::Ours => {
            let mut ours = Ours::start(far, payload)?;
            let latency = ping_pong(&mut ours.side, slice)?;
            ours.child.end()?;
            Ok(latency)
        }
        Contender::Peer => match setting.peer {
            Some(peer) => peer.ping_pong(far, payload, slice),
            None => anyhow::bail!("there is no peer to measure"),
        },
    }
}

fn bare_hop(far: usize, shape: Shape, slice: Duration) -> Result<Latency> {
    let mut hop = Hop::start(far, shape)?;
    let latency = ping_pong(&mut hop, slice)?;
    hop.end()?;
    Ok(latency)
}

fn warm_memcpy(plan: Plan, len: usize) -> Result<Latency> {
    let mapping = Mapping::create("memcpy", len)?;
    let source = vec![1_u8; len];
    let mut once = || mapping.copy_in(CopyKind::Libc, 0, &source);
    repeat(plan.slice() / 10, 16, &mut once)?;
    let one_way = repeat(plan.slice(), 16, once)?;
    Ok(Latency { one_way, single: std::iter::once(one_way as u64).collect() })
}

#[derive(Debug, Serialize, Deserialize)]
struct EchoJob {
    ping: String,
    pong: String,
    payload: Payload,
}

struct Ours {
    side: Side,
    child: Child,
    /// Unlinked after the sides are gone.
    _streams: [ScratchStream; 2],
}

impl Ours {
    fn start(far: usize, payload: Payload) -> Result<Ours> {
        let config = StreamConfig::of::<u64>(&[payload.words])?;
        let ping = ScratchStream::create("ping", &config)?;
        let pong = ScratchStream::create("pong", &config)?;
        let job = EchoJob { ping: ping.name().to_owned(), pong: pong.name().to_owned(), payload };
        let child = Child::start(&STREAM_ECHO, far, &job)?;
        let side = Side::new(&ping, Reader::open(pong.name())?, payload)?;
        Ok(Ours { side, child, _streams: [ping, pong] })
    }
}

fn echo(job: &str) -> Result<()> {
    let job: EchoJob = child::job(job)?;
    let pong = Stream::open(&job.pong)?;
    let mut side = Side::new(&pong, Reader::open(&job.ping)?, job.payload)?;
    child::ready()?;
    measure::echo(&mut side)
}

/// What both processes do.
struct Side {
    writer: Writer,
    reader: Reader,
    outgoing: Vec<u64>,
    incoming: Vec<u64>,
    seen: u64,
    copied: bool,
    /// Made once: the clock that makes a deadline is no part of a turn.
    deadline: Deadline,
}

impl Side {
    fn new(out: &Stream, mut reader: Reader, payload: Payload) -> Result<Side> {
        reader.set_spin(DEADLINE);
        let mut writer = out.writer(DEADLINE)?;
        writer.set_copy_path(payload.bypassing.then_some(CopyPath::NonTemporal))?;
        Ok(Side {
            writer,
            reader,
            outgoing: vec![1; payload.words],
            incoming: vec![0; payload.words],
            seen: 0,
            copied: payload.copied,
            deadline: Deadline::after(6 * DEADLINE),
        })
    }
}

impl Exchange for Side {
    #[inline]
    fn send(&mut self, sequence: u64) -> Result<()> {
        if self.copied {
            mark(&mut self.outgoing, sequence);
            self.writer.publish(&self.outgoing)?;
        } else {
            let mut frame = self.writer.loan()?;
            mark(frame.as_mut_slice::<u64>()?, sequence);
            frame.commit();
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<u64> {
        let (info, ends): (FrameInfo, _) = if self.copied {
            let info = self.reader.read_after_into(self.seen, &mut self.incoming, self.deadline)?;
            (info, (self.incoming[0], self.incoming[self.incoming.len() - 1]))
        } else {
            self.reader.wait_after(self.seen, self.deadline)?;
            let view = self.reader.view()?;
            let ends = (view.get::<u64>(0)?, view.get::<u64>(view.len() - 1)?);
            view.validate()?;
            (*view.info(), ends)
        };
        ensure!(info.count == self.seen + 1, "frame {} came after {}", info.count, self.seen);
        ensure!(ends.0 == ends.1, "the ends of a frame are {ends:?}");
        self.seen = info.count;
        Ok(ends.0)
    }
}

/// The first and the last word carry the sequence, so that an old or torn frame is noticed.
#[inline]
fn mark(words: &mut [u64], sequence: u64) {
    if let [first, .., last] = words {
        (*first, *last) = (sequence, sequence);
    }
}
