//! A display: shows the newest frame whenever there is one, and counts what it had to skip.
//!
//! It never makes the camera wait, and outlives it: while the camera is gone the last frame stays.

use anyhow::Result;
use clap::Parser;
use hdrhistogram::Histogram;
use shm_core::{OpenError, ReadError, Reader, clock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Shows the newest frames of a camera
#[derive(Parser)]
#[command(name = "display")]
struct Args {
    /// The stream to show
    #[arg(default_value = "examples/camera")]
    name: String,
    /// End after so many frames
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

/// How long one wait takes at most, so that Ctrl-C is heard.
const BREATH: Duration = Duration::from_millis(100);

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let mut display = Display {
        ends: args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        frames: args.frames,
        shown: 0,
        missed: 0,
        torn: 0,
        latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        screen: Vec::new(),
        reported: Instant::now(),
    };
    while !display.is_done() {
        match Reader::open_within(&args.name, BREATH) {
            Ok(reader) => display.show(reader)?,
            // No camera has been started yet, or one with frames of another size is on its way.
            Err(OpenError::NotFound { .. } | OpenError::NotReady { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    display.report("in the end");
    // A camera that was killed for good has left its stream; nobody else would take it away.
    if shm_core::unlink_unused(&args.name).unwrap_or(false) {
        println!("display: the stream of a dead camera was removed");
    }
    Ok(())
}

struct Display {
    ends: Option<Instant>,
    frames: u64,
    shown: u64,
    missed: u64,
    torn: u64,
    /// Nanoseconds from exposure to screen.
    latency: Histogram<u64>,
    screen: Vec<u8>,
    reported: Instant,
}

impl Display {
    fn is_done(&self) -> bool {
        STOP.load(Ordering::Relaxed)
            || self.shown >= self.frames
            || self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// Shows one stream until it is replaced or removed.
    fn show(&mut self, mut reader: Reader) -> Result<()> {
        self.screen.resize(reader.desc().byte_len(), 0);
        let mut alone = false;
        while !self.is_done() {
            // The newest frame that is newer than the last one shown; never half of one.
            let frame = match reader.read_after_into(reader.seen(), &mut self.screen, BREATH) {
                Ok(frame) => frame,
                Err(ReadError::Timeout { writer_alive, .. }) => {
                    // The kernel's word, not a guess by the clock: a slow camera is not a dead one.
                    if writer_alive == Some(false) && !alone {
                        println!("display: the camera is gone, frame {} stays", reader.seen());
                        alone = true;
                    }
                    continue;
                }
                Err(ReadError::Stale { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if std::mem::take(&mut alone) {
                println!("display: the camera is back with frame {}", frame.count);
            }
            let late = clock::wall_ns().saturating_sub(frame.acquired_wall_ns);
            self.latency.saturating_record(late);
            self.shown += 1;
            self.missed += frame.missed;
            let is_whole = self.screen.chunks_exact(3).all(|rgb| rgb[2] == frame.frame_id as u8);
            self.torn += u64::from(!is_whole);
            if self.reported.elapsed() >= Duration::from_secs(1) {
                self.report(&format!("at frame {}", frame.count));
                self.reported = Instant::now();
            }
        }
        Ok(())
    }

    fn report(&self, when: &str) {
        println!(
            "display: {when} {} shown, {} missed, {} torn, {:.0} us from exposure to screen \
             (median), {:.0} us (99 %)",
            self.shown,
            self.missed,
            self.torn,
            self.latency.value_at_quantile(0.5) as f64 / 1e3,
            self.latency.value_at_quantile(0.99) as f64 / 1e3,
        );
    }
}
