//! Finds the edges of pictures that another process publishes, and publishes them in turn.
//!
//! Whoever publishes the pictures is written in any language: a stream says what its frames are.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use shm_core::{Dtype, Frame, FrameTag, OpenError, ReadError, Reader, StreamConfig};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Turns pictures into edges
#[derive(Parser)]
#[command(name = "sobel")]
struct Args {
    /// The stream of the pictures: u8, rows times columns
    #[arg(default_value = "examples/picture")]
    picture: String,
    /// The stream of the edges: u16, of the same shape
    #[arg(default_value = "examples/edges")]
    edges: String,
    /// End after so many pictures
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

/// How long one wait takes at most, so that Ctrl-C is heard.
const BREATH: Duration = Duration::from_millis(100);

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let ends = Instant::now() + Duration::from_secs(args.seconds.into());
    let goes_on = || Instant::now() < ends && !STOP.load(Ordering::Relaxed);
    let mut done = 0;
    println!("sobel: waiting for pictures in {}", args.picture);
    while done < args.frames && goes_on() {
        match Reader::open_within(&args.picture, BREATH) {
            Ok(reader) => done += answer(reader, &args, args.frames - done, &goes_on)?,
            // Nobody publishes pictures yet.
            Err(OpenError::NotFound { .. } | OpenError::NotReady { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    println!("sobel: {done} pictures");
    Ok(())
}

/// Answers the pictures of one stream until it is replaced or removed; how many.
fn answer(
    mut pictures: Reader,
    args: &Args,
    most: u64,
    goes_on: &impl Fn() -> bool,
) -> Result<u64> {
    let desc = pictures.desc().clone();
    let [height, width] = *desc.shape() else {
        anyhow::bail!("a picture is rows times columns, {} is {desc}", args.picture)
    };
    ensure!(desc.dtype() == Dtype::U8, "a picture has u8 pixels, {} is {desc}", args.picture);
    let edges = StreamConfig::of::<u16>(&[height, width])?
        .replace_existing(true)
        .temporary(true)
        .create(&args.edges)
        .context("the stream of the edges cannot be created")?;
    let mut writer = edges.writer(Duration::from_secs(1))?;
    let mut done = 0;
    while done < most && goes_on() {
        let Frame { info, data } = match pictures.read_after::<u8>(pictures.seen(), BREATH) {
            Ok(frame) => frame,
            Err(ReadError::Timeout { .. }) => continue,
            Err(ReadError::Stale { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        // Straight into shared memory, under the number of the picture that was answered.
        let mut frame = writer.loan()?;
        sobel(&data, width, frame.as_mut_slice()?);
        frame.commit_tagged(FrameTag::id(info.frame_id).acquired_ns(info.acquired_wall_ns));
        done += 1;
    }
    // Who waits for an answer is told that none will come; the last one stays readable for those
    // who have the stream open.
    edges.unlink().context("the stream of the edges cannot be removed")?;
    Ok(done)
}

/// How steep the picture is at each pixel: the sum of the sizes of both Sobel gradients. The
/// border, which lacks neighbours, is 0.
fn sobel(pixels: &[u8], width: usize, edges: &mut [u16]) {
    // What was lent has the pixels of an old frame.
    edges.fill(0);
    let height = pixels.len() / width;
    for row in 1..height.saturating_sub(1) {
        for column in 1..width.saturating_sub(1) {
            let at = |down: usize, right: usize| {
                i32::from(pixels[(row + down - 1) * width + column + right - 1])
            };
            let across = at(0, 2) + 2 * at(1, 2) + at(2, 2) - at(0, 0) - 2 * at(1, 0) - at(2, 0);
            let down = at(2, 0) + 2 * at(2, 1) + at(2, 2) - at(0, 0) - 2 * at(0, 1) - at(0, 2);
            // At most 8 times 255.
            edges[row * width + column] = (across.abs() + down.abs()) as u16;
        }
    }
}
