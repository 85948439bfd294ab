//! Frames that go to the other process.

use super::bare::{Copies, Hop, Wake};
use super::peer::{LOOK, PATIENCE, Silence};
use super::report::{MS, NS, Row, US, Unit};
use super::role::Job;
use super::rounds::{Contender, SAMPLES_MIN, repeat};
use super::samples::Samples;
use super::scratch::ScratchStream;
use super::{Bench, broke};
use crate::cli::exit::Failure;
use shm_core::clock::monotonic_ns;
use shm_core::{Deadline, ReadError, Reader, Stream, Writer};
use std::thread;
use std::time::{Duration, Instant};

/// What the last frame of a slice carries: the other side is done after it.
pub(super) const LAST: u64 = u64::MAX;
/// 64 bytes.
const SMALL: usize = 8;
const BARE_HOP: &str = "bare cache-line hop";

/// How long a frame is under way that goes to a spinning process: half of there and back.
pub(super) fn one_way(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    const LARGE: usize = 100_000 / 8;
    let (cores, interrupt, plan) = (bench.cores, bench.interrupt, bench.plan);
    let mut small = Exchange::new(bench, SMALL, SMALL)?;
    let mut large = Exchange::new(bench, LARGE, LARGE)?;
    let (mut small_took, mut large_took) = (Samples::of(2), Samples::of(2));
    let mut hop = Hop::new(cores, interrupt, false);
    let mut pausing = Hop::new(cores, interrupt, true);
    let mut copies = Copies::there_and_back(LARGE, interrupt);
    {
        let peer = std::cell::RefCell::new(bench);
        plan.alternate(&mut [
            &mut |slice| hop.slice(slice / 2),
            &mut |slice| pausing.slice(slice / 2),
            &mut |slice| small.slice(&mut peer.borrow_mut(), slice, &mut small_took),
            &mut copies,
            &mut |slice| large.slice(&mut peer.borrow_mut(), slice, &mut large_took),
        ])?;
    }
    let (hot, pausing) = (hop.samples.p50(), pausing.samples.p50());
    let hop = hot.min(pausing);
    let sides = if cores.are_two() { "two spinning processes" } else { "two processes in turn" };
    Ok(vec![
        Row::new("oneway/64B", NS, &small_took, (BARE_HOP, hop)).touching_payload().with_note(
            format!(
                "{sides}, half of there and back, one reading of the clock in each; a bare hop takes \
                 {hot:.0} ns, {pausing:.0} ns with the pause instruction"
            ),
        ),
        Row::new(
            "oneway/100kB",
            US,
            &large_took,
            ("bare cache-line hop + two memcpy of the same bytes", hop + copies.samples.p50()),
        )
        .touching_payload()
        .with_note(format!(
            "{sides}, half of there and back; two copies within one processor take {:.1} us",
            copies.samples.p50() / 1e3
        )),
    ])
}

/// How long a reader that sleeps in the kernel takes to have a frame.
pub(super) fn wake(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    let (cores, interrupt, plan) = (bench.cores, bench.interrupt, bench.plan);
    let there = bench.scratch.stream("wake", SMALL)?;
    let back = bench.scratch.stream("woken", SMALL)?;
    let mut took = Samples::of(1);
    let mut bare = Wake::new(cores, interrupt);
    plan.alternate(&mut [&mut bare, &mut |slice| {
        wake_for(bench, &there, &back, slice, &mut took)
    }])?;
    Ok(vec![
        Row::new("wake/64B", US, &took, ("bare futex wake", bare.samples.p50()))
            .touching_payload()
            .with_note(format!(
                "from before the publish to the return of a reader that slept in the kernel, {} wakes; \
                 the limit's p99 is {:.1} us",
                took.count(),
                bare.samples.p99() / 1e3
            )),
    ])
}

fn wake_for(
    bench: &mut Bench<'_>,
    there: &ScratchStream,
    back: &ScratchStream,
    slice: Duration,
    took: &mut Samples,
) -> Result<(), Failure> {
    let job = Job::Sleep { there: there.name().to_owned(), back: back.name().to_owned() };
    bench.peer.begin(&job)?;
    let mut side = Side::new(there, back.reader(), bench.cores.are_two())?;
    let end = Instant::now() + slice;
    for (woken, pause) in (0..).zip(pauses()) {
        thread::sleep(pause);
        let sent = if woken < SAMPLES_MIN || Instant::now() < end { monotonic_ns() } else { LAST };
        side.send(sent)?;
        side.receive("waking a reader", || bench.peer.check())?;
        if sent == LAST {
            break;
        }
    }
    drop(side);
    bench.peer.finish()?.into_iter().for_each(|ns| took.record_ns(ns));
    Ok(())
}

/// Between two wakes: so long that the sleeper and its processor are at rest, and not so regular that
/// anything could guess the next.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    [200, 900, 350, 1000, 500, 275, 700].into_iter().cycle().map(Duration::from_micros)
}

/// From the private memory of one process into the private memory of the other, 1 MB.
pub(super) fn frames_of_1mb(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    frames(bench, "frame/1MB", 1_000_000, US)
}

/// As [`frames_of_1mb`], 64 MB.
pub(super) fn frames_of_64mb(bench: &mut Bench<'_>) -> Result<Vec<Row>, Failure> {
    frames(bench, "frame/64MB", 64_000_000, MS)
}

fn frames(
    bench: &mut Bench<'_>,
    name: &'static str,
    len: usize,
    unit: Unit,
) -> Result<Vec<Row>, Failure> {
    let (interrupt, plan) = (bench.interrupt, bench.plan);
    let mut exchange = Exchange::new(bench, len / 8, SMALL)?;
    let mut took = Samples::of(1);
    let mut copies = Copies::there_and_back(len / 8, interrupt);
    plan.alternate(&mut [&mut copies, &mut |slice| exchange.slice(bench, slice, &mut took)])?;
    let rate = |ns: f64| len as f64 / ns;
    let limit = copies.samples.p50();
    Ok(vec![
        Row::new(name, unit, &took, ("two memcpy of the same bytes", limit))
            .touching_payload()
            .with_note(format!(
                "publish, read in the other process, and 64 B back: {:.1} GB/s; two bare copies: {:.1} \
                 GB/s",
                rate(took.p50()),
                rate(limit)
            )),
    ])
}

/// Two streams, there and back.
struct Exchange {
    ping: ScratchStream,
    pong: ScratchStream,
}

impl Exchange {
    fn new(bench: &mut Bench<'_>, there: usize, back: usize) -> Result<Exchange, Failure> {
        let ping = bench.scratch.stream("ping", there)?;
        let pong = bench.scratch.stream("pong", back)?;
        Ok(Exchange { ping, pong })
    }

    fn slice(
        &mut self,
        bench: &mut Bench<'_>,
        slice: Duration,
        took: &mut Samples,
    ) -> Result<(), Failure> {
        let spins = bench.cores.are_two();
        let (ping, pong) = (self.ping.name().to_owned(), self.pong.name().to_owned());
        bench.peer.begin(&Job::Echo { ping, pong, spins })?;
        let mut side = Side::new(&self.ping, self.pong.reader(), spins)?;
        let mut sequence = 0;
        let peer = &mut bench.peer;
        repeat(slice, took, bench.interrupt, || {
            sequence += 1;
            side.turn(sequence, || peer.check())
        })?;
        side.turn(LAST, || peer.check())?;
        peer.finish().map(drop)
    }
}

/// What both processes do with frames.
pub(super) struct Side {
    writer: Writer,
    reader: Reader,
    outgoing: Vec<u64>,
    incoming: Vec<u64>,
    seen: u64,
    /// Made anew when it has passed: the clock that makes a deadline is no part of a turn.
    deadline: Deadline,
}

impl Side {
    /// Sends frames by `out`, and takes those that `reader` has from now on.
    pub(super) fn new(out: &Stream, mut reader: Reader, spins: bool) -> Result<Side, Failure> {
        if spins {
            reader.set_spin(PATIENCE);
        }
        let writer = out.writer(PATIENCE).map_err(|error| broke("lock a stream", error))?;
        let words = |bytes: usize| bytes / size_of::<u64>();
        Ok(Side {
            outgoing: vec![1; words(writer.desc().byte_len())],
            incoming: vec![0; words(reader.desc().byte_len())],
            seen: reader.count(),
            deadline: Deadline::after(LOOK),
            writer,
            reader,
        })
    }

    /// Waits in the kernel from the first moment on.
    pub(super) fn sleep_at_once(&mut self) {
        self.reader.set_spin(Duration::ZERO);
    }

    /// Sends a frame. Its first and its last word carry the value, so that an old or torn one is noticed.
    #[inline]
    pub(super) fn send(&mut self, value: u64) -> Result<(), Failure> {
        if let [first, .., last] = self.outgoing.as_mut_slice() {
            (*first, *last) = (value, value);
        }
        let published = self.writer.publish(&self.outgoing);
        published.map(drop).map_err(|error| broke("publish a frame", error))
    }

    /// Waits for the next frame and gives the value that it carries. Looks at `still_there` now and then.
    #[inline]
    pub(super) fn receive(
        &mut self,
        doing: &str,
        mut still_there: impl FnMut() -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut silence = Silence::default();
        loop {
            match self.reader.read_after_into(self.seen, &mut self.incoming, self.deadline) {
                Ok(info) => {
                    self.seen = info.count;
                    return self.value();
                }
                Err(ReadError::Timeout { .. }) => {
                    still_there()?;
                    silence.goes_on(doing)?;
                    self.deadline = Deadline::after(LOOK);
                }
                Err(error) => return Err(broke("read a frame", error)),
            }
        }
    }

    #[inline]
    fn turn(
        &mut self,
        value: u64,
        still_there: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.send(value)?;
        match self.receive("exchanging frames", still_there)? {
            back if back == value => Ok(()),
            back => Err(broke("exchange frames", format!("{back} came back for {value}"))),
        }
    }

    #[inline]
    fn value(&self) -> Result<u64, Failure> {
        match self.incoming.as_slice() {
            [first, .., last] if first == last => Ok(*first),
            _ => Err(broke("read a frame", "its ends are of different frames")),
        }
    }
}
