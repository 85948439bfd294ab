//! A sensor: three axes, many times a second. The newest readings stay readable for whoever wants
//! to filter them.

use anyhow::{Context, Result};
use clap::Parser;
use shm_core::{Dtype, FrameTag, Stream, StreamConfig, clock};
use std::f32::consts::TAU;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Measures three axes until it is stopped
#[derive(Parser)]
#[command(name = "sensor")]
struct Args {
    /// The stream to publish to
    #[arg(default_value = "examples/sensor-0")]
    name: String,
    /// Readings per second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// What it measures on the average
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    level: f32,
    /// How far it swings around that
    #[arg(long, default_value_t = 0.25)]
    swing: f32,
    /// End after so many readings
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

/// Readings that stay readable at any moment.
const HISTORY: usize = 32;
const AXES: usize = 3;

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let stream = attach(&args.name)?;
    let mut writer = stream.writer(Duration::from_secs(1))?;
    println!("sensor: reading {} is next in {}", stream.count() + 1, stream.name());

    let begun = Instant::now();
    let ends = args.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    for reading in 0..args.frames {
        let due = begun + Duration::from_secs(reading) / args.rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if STOP.load(Ordering::Relaxed) || ends.is_some_and(|ends| Instant::now() >= ends) {
            break;
        }
        let phase = begun.elapsed().as_secs_f32() * TAU;
        let axes: [f32; AXES] = std::array::from_fn(|axis| {
            args.level + args.swing * (phase + axis as f32 * TAU / AXES as f32).sin()
        });
        let tag = FrameTag::default().acquired_ns(clock::wall_ns());
        writer.publish_tagged(&axes, tag)?;
    }
    println!("sensor: {} readings", stream.count());
    // A sensor that ends in good order is absent, not dead.
    stream.unlink().context("the stream cannot be removed")
}

/// The stream that a killed sensor left, so that who reads it need not open another one.
fn attach(name: &str) -> Result<Stream> {
    let config = StreamConfig::of::<f32>(&[AXES])?.history(HISTORY)?.temporary(true);
    match Stream::open(name) {
        Ok(left) if left.desc().dtype() == Dtype::F32 && left.desc().shape() == [AXES] => Ok(left),
        _ => config.create(name).context("the stream cannot be created"),
    }
}
