//! Publish and read in one process, beside two bare copies over the same kinds of memory: from the
//! private heap into shared memory and out to the private heap.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytemuck::{cast_slice, cast_slice_mut};
use shm_core::{Reader, StreamConfig, Writer};

use super::Setting;
use crate::limits::{CopyKind, Mapping};
use crate::measure::{Plan, Samples, alternate, median, pin, repeat};
use crate::report::Row;
use crate::scratch::ScratchStream;

const SIDES: [usize; 3] = [100, 1000, 10_000];
const CELLS: usize = 3;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    SIDES.iter().map(|side| row(setting.plan, *side)).collect()
}

fn row(plan: Plan, side: usize) -> Result<Row> {
    let mut frame = Frame::new(side * side);
    let stream = ScratchStream::create("roundtrip", &StreamConfig::of::<f32>(&[side, side])?)?;
    let mut ours = Ours { writer: stream.writer(Duration::from_secs(1))?, reader: stream.reader() };
    let bare = bare_contenders();
    let cell_len = frame.len().next_multiple_of(4096);
    let mapping = Mapping::create("roundtrip", CELLS * cell_len)?;
    // A thousand cells of 40 kB or one of 400 MB: the clock is read this seldom.
    let batch = u32::try_from((4_000_000 / frame.len()).clamp(1, 64))?;

    // The first round brings every page and every cache into the state of those after it.
    let rounds = 1 + plan.rounds();
    let results = alternate(rounds, bare.len() + 1, |which| {
        repeat(plan.slice(), batch, || match bare.get(which) {
            Some(bare) => {
                let cell = frame.turn % bare.cells * cell_len;
                frame.copy_by(bare.kind, &mapping, cell)
            }
            None => frame.publish_and_read(&mut ours),
        })
    })?;
    let hertz = |which: usize| 1e9 / median(results[which].iter().skip(1).copied());
    let value = hertz(bare.len());
    let (limit, best) = bare
        .iter()
        .enumerate()
        .map(|(which, bare)| (hertz(which), bare))
        .fold((0.0, &bare[0]), |best, next| if next.0 > best.0 { next } else { best });
    let single = single(plan, &mut frame, &mut ours)?;
    ensure!(frame.source == frame.target, "what was read is not what was published");

    let all: Vec<String> = bare
        .iter()
        .enumerate()
        .map(|(which, bare)| format!("{} {:.1}", bare.words, hertz(which)))
        .collect();
    let goal = match side {
        100 => "0.95",
        1000 => "0.99",
        _ => "1.0",
    };
    Ok(Row::new(format!("roundtrip/{side}x{side}"), value, "Hz")
        .with_tail(1e9 / single.p99(), 1e9 / single.max())
        .with_limit(best.words, limit)
        .touching_payload()
        .with_note(format!("goal: at least {goal} of the limit"))
        .with_note("f32, one process; the limit is the fastest of the bare copies; p99 and max are the rates of the slowest turns")
        .with_note(format!("two bare copies in Hz: {}", all.join(", "))))
}

/// Turns of ours one by one, for the tail.
fn single(plan: Plan, frame: &mut Frame, ours: &mut Ours) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = Instant::now();
    let turns = plan.pick(5, 10);
    while samples.count() < turns || begun.elapsed() < 4 * plan.slice() {
        let begun = Instant::now();
        frame.publish_and_read(ours)?;
        samples.record(begun.elapsed().as_nanos() as u64);
    }
    Ok(samples)
}

/// Two bare copies.
struct Bare {
    kind: CopyKind,
    cells: usize,
    words: &'static str,
}

/// Every kind of copy over one shared cell, which stays warmer than any stream's can, and over as
/// many cells as the stream has.
fn bare_contenders() -> Vec<Bare> {
    CopyKind::available()
        .into_iter()
        .flat_map(|kind| [1, CELLS].map(|cells| Bare { kind, cells, words: words(kind, cells) }))
        .collect()
}

fn words(kind: CopyKind, cells: usize) -> &'static str {
    match (kind, cells) {
        (CopyKind::Libc, 1) => "two libc memcpy, one shared cell",
        (CopyKind::Libc, _) => "two libc memcpy, same rotation over 3 cells",
        (CopyKind::RepMovs, 1) => "two rep movsb, one shared cell",
        (CopyKind::RepMovs, _) => "two rep movsb, same rotation over 3 cells",
        (CopyKind::NonTemporal, 1) => "two AVX non-temporal copies, one shared cell",
        (CopyKind::NonTemporal, _) => "two AVX non-temporal copies, same rotation over 3 cells",
    }
}

struct Ours {
    writer: Writer,
    reader: Reader,
}

/// The private ends of all copies, ours and the bare ones.
struct Frame {
    source: Vec<f32>,
    target: Vec<f32>,
    turn: usize,
}

impl Frame {
    fn new(elements: usize) -> Frame {
        Frame {
            source: (0..elements).map(|index| (index % 8191) as f32).collect(),
            target: vec![-1.0; elements],
            turn: 0,
        }
    }

    fn len(&self) -> usize {
        self.source.len() * size_of::<f32>()
    }

    /// Puts a number that is new into both ends of the source.
    #[inline]
    fn stamp(&mut self) -> f32 {
        self.turn += 1;
        // Whole numbers up to 2^24 are exact.
        let stamp = (self.turn % (1 << 24)) as f32;
        if let [first, .., last] = self.source.as_mut_slice() {
            (*first, *last) = (stamp, stamp);
        }
        stamp
    }

    #[inline]
    fn expect(&self, stamp: f32) -> Result<()> {
        let ends = (self.target[0], self.target[self.target.len() - 1]);
        ensure!(ends == (stamp, stamp), "{ends:?} was read in place of {stamp}");
        Ok(())
    }

    #[inline]
    fn publish_and_read(&mut self, ours: &mut Ours) -> Result<()> {
        let stamp = self.stamp();
        ours.writer.publish(&self.source)?;
        ours.reader.read_into(&mut self.target)?;
        self.expect(stamp)
    }

    #[inline]
    fn copy_by(&mut self, kind: CopyKind, mapping: &Mapping, cell: usize) -> Result<()> {
        let stamp = self.stamp();
        mapping.copy_in(kind, cell, cast_slice(&self.source))?;
        mapping.copy_out(kind, cell, cast_slice_mut(&mut self.target))?;
        self.expect(stamp)
    }
}
