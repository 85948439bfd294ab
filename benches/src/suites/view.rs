//! Looking at a frame where it lies, and asking whether it still is the same.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use shm_core::{Reader, StreamConfig};

use super::Setting;
use crate::measure::{Samples, alternate, median, pin, repeat};
use crate::report::{NS, Row};
use crate::scratch::ScratchStream;

const SIZES: [(&str, usize); 3] = [("4kB", 4096), ("4MB", 4_000_000), ("64MB", 64_000_000)];
const BUDGET_NS: f64 = 100.0;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut streams = Vec::new();
    for (_, len) in SIZES {
        let stream = ScratchStream::create("view", &StreamConfig::of::<u8>(&[len])?)?;
        stream.writer(Duration::from_secs(1))?.publish(&vec![7_u8; len])?;
        streams.push(stream);
    }
    let mut readers: Vec<Reader> = streams.iter().map(|stream| stream.reader()).collect();
    let results = alternate(1 + setting.plan.rounds(), SIZES.len(), |which| {
        repeat(setting.plan.slice() / 4, 1000, || look(&mut readers[which]))
    })?;
    let smallest = median(results[0].iter().skip(1).copied());
    let mut rows = Vec::new();
    for (which, (words, _)) in SIZES.into_iter().enumerate() {
        let mut single = Samples::default();
        for _ in 0..setting.plan.pick(10_000, 100_000) {
            let begun = Instant::now();
            look(&mut readers[which])?;
            single.record(begun.elapsed().as_nanos() as u64);
        }
        let value = median(results[which].iter().skip(1).copied());
        rows.push(
            Row::new(format!("view/{words}"), value, "ns")
                .with_samples(&single, NS)
                .with_limit("budget of 100 ns", BUDGET_NS)
                .with_note("goal: under 100 ns, whatever the size")
                .with_note(format!("{:.2} of the smallest size", value / smallest))
                .with_note("view, one element, validate; the tail has a clock reading in it"),
        );
    }
    Ok(rows)
}

#[inline]
fn look(reader: &mut Reader) -> Result<()> {
    let view = reader.view()?;
    black_box(view.get::<u8>(0)?);
    view.validate()?;
    Ok(())
}
