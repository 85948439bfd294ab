//! A camera: exposes RGB frames in place in shared memory, at its own pace, whoever looks on.
//!
//! It may be killed at any instruction and started again. Displays keep the last complete frame
//! meanwhile, and the frames go on where they stopped.

use anyhow::{Context, Result};
use clap::Parser;
use shm_core::{Dtype, FrameTag, Stream, StreamConfig, clock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Publishes RGB frames until it is stopped
#[derive(Parser)]
#[command(name = "camera")]
struct Args {
    /// The stream to publish to
    #[arg(default_value = "examples/camera")]
    name: String,
    /// Pixels in a row
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u16).range(1..))]
    width: u16,
    /// Rows of a frame
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u16).range(1..))]
    height: u16,
    /// Frames per second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// End after so many frames
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let stream = attach(&args)?;
    // There is one writer at a time. The kernel frees the lock at the very moment its holder dies.
    let mut writer = stream.writer(Duration::from_secs(1))?;
    println!("camera: frame {} is next in {}", stream.count() + 1, stream.name());

    let begun = Instant::now();
    let ends = args.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    for frame in 0..args.frames {
        // Due times are counted from the beginning, so that a late frame does not delay the rest.
        let due = begun + Duration::from_secs(frame) / args.rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if STOP.load(Ordering::Relaxed) || ends.is_some_and(|ends| Instant::now() >= ends) {
            break;
        }
        let number = stream.count() + 1;
        let exposed = clock::wall_ns();
        // The pixels are written where the display reads them. Until `commit` nobody sees them.
        let mut frame = writer.loan()?;
        expose(frame.as_mut_slice()?, args.width.into(), number);
        frame.commit_tagged(FrameTag::id(number).acquired_ns(exposed));
    }
    println!("camera: {} frames", stream.count());
    stream.unlink().context("the stream cannot be removed")
}

/// The stream of a camera that was killed, if there is one: displays that look at it go on.
fn attach(args: &Args) -> Result<Stream> {
    let shape = [args.height.into(), args.width.into(), 3];
    if let Ok(left) = Stream::open(&args.name) {
        if left.desc().dtype() == Dtype::U8 && left.desc().shape() == shape {
            return Ok(left);
        }
        // Frames of another size need another stream. The old one is nobody's if its lock is free.
        left.writer(Duration::from_secs(1)).context("another camera is running")?;
    }
    StreamConfig::of::<u8>(&shape)?
        .replace_existing(true)
        // Where neither camera nor display is left, the memory may be used for something else.
        .temporary(true)
        .create(&args.name)
        .context("the stream cannot be created")
}

/// A moving pattern. All blue values of a frame are its number, which shows whether it is whole.
fn expose(pixels: &mut [u8], width: usize, number: u64) {
    let blue = number as u8;
    for (row, line) in pixels.chunks_exact_mut(3 * width).enumerate() {
        for (column, pixel) in line.chunks_exact_mut(3).enumerate() {
            pixel[0] = (column as u8).wrapping_add(blue);
            pixel[1] = row as u8;
            pixel[2] = blue;
        }
    }
}
