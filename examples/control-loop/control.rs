//! A control loop: at each tick it averages the last readings of every sensor and answers with a
//! command, and it knows at each tick which sensors it can believe.
//!
//! Nothing in a tick waits for a sensor, so no sensor can make the loop miss its deadline.

use anyhow::{Context, Result};
use clap::Parser;
use hdrhistogram::Histogram;
use shm_core::{FrameTag, OpenError, Reader, StreamConfig, clock};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Answers what sensors say with commands, tick by tick
#[derive(Parser)]
#[command(name = "control")]
struct Args {
    /// The streams of the sensors
    #[arg(default_values = ["examples/sensor-0", "examples/sensor-1"])]
    sensors: Vec<String>,
    /// The stream of the commands
    #[arg(long, default_value = "examples/command")]
    command: String,
    /// Readings of each sensor that are averaged
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    last: u16,
    /// Milliseconds from tick to tick; a tick that takes longer is late
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    period: u32,
    /// Milliseconds without a reading after which a sensor is silent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// The command is the mean times minus this
    #[arg(long, default_value_t = 0.5)]
    gain: f32,
    /// End after so many ticks
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    frames: u64,
    /// End after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

const AXES: usize = 3;
type Axes = [f32; AXES];

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args = Args::parse();
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))?;

    let commands = StreamConfig::of::<f32>(&[AXES])?
        .temporary(true)
        .replace_existing(true)
        .create(&args.command)
        .context("the stream of the commands cannot be created")?;
    let mut writer = commands.writer(Duration::from_secs(1))?;
    let mut sensors: Vec<Sensor> = args.sensors.iter().map(|name| Sensor::new(name)).collect();

    let period = Duration::from_millis(args.period.into());
    let begun = Instant::now();
    let ends = args.seconds.map(|seconds| begun + Duration::from_secs(seconds));
    let mut late = 0;
    let mut took = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    for tick in 0..args.frames {
        let due = begun + Duration::from_nanos(period.as_nanos() as u64 * tick);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if STOP.load(Ordering::Relaxed) || ends.is_some_and(|ends| Instant::now() >= ends) {
            break;
        }
        let woken = Instant::now();
        let command = decide(&mut sensors, &args)?;
        writer.publish_tagged(&command, FrameTag::id(tick))?;
        took.saturating_record(woken.elapsed().as_nanos() as u64);
        late += u64::from(Instant::now() > due + period);
    }
    println!(
        "control: {} ticks, {late} late, {:.0} us from wake-up to command (median)",
        commands.count(),
        took.value_at_quantile(0.5) as f64 / 1e3
    );
    commands.unlink().context("the stream of the commands cannot be removed")
}

/// The command of one tick: against the mean of all sensors, or nothing if one cannot be believed.
fn decide(sensors: &mut [Sensor], args: &Args) -> Result<Axes> {
    let mut sum = Axes::default();
    let mut all_fresh = true;
    for sensor in &mut *sensors {
        let (health, mean) = sensor.look(args)?;
        sensor.note(health);
        all_fresh &= health == Health::Fresh;
        sum.iter_mut().zip(mean).for_each(|(sum, mean)| *sum += mean);
    }
    Ok(match all_fresh {
        true => sum.map(|sum| -args.gain * sum / sensors.len() as f32),
        false => Axes::default(),
    })
}

/// What the loop knows about a sensor. The clock tells silent from fresh, the kernel dead from
/// silent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Absent,
    Dead,
    Silent,
    Fresh,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Absent => "absent: it has not begun, or has ended",
            Health::Dead => "dead: its process is gone",
            Health::Silent => "silent: its process lives and says nothing",
            Health::Fresh => "fresh",
        })
    }
}

struct Sensor {
    name: String,
    reader: Option<Reader>,
    health: Option<Health>,
}

impl Sensor {
    fn new(name: &str) -> Sensor {
        Sensor { name: name.to_owned(), reader: None, health: None }
    }

    /// How it is, and the mean of its last readings.
    fn look(&mut self, args: &Args) -> Result<(Health, Axes)> {
        // A stream without its name gets no more readings; there may be another one.
        if self.reader.as_ref().is_some_and(|reader| reader.stream().is_retired()) {
            self.reader = None;
        }
        if self.reader.is_none() {
            self.reader = match Reader::open(&self.name) {
                Ok(reader) => Some(reader),
                Err(OpenError::NotFound { .. } | OpenError::NotReady { .. }) => None,
                Err(error) => return Err(error.into()),
            };
        }
        let Some(reader) = &mut self.reader else {
            return Ok((Health::Absent, Axes::default()));
        };
        let patience = Duration::from_millis(args.patience.into());
        let health = match reader.writer_alive() {
            Some(false) => Health::Dead,
            _ if reader.is_stale(patience) => Health::Silent,
            _ => Health::Fresh,
        };
        match health {
            Health::Fresh => Ok((health, mean(reader, args.last.into(), patience)?)),
            _ => Ok((health, Axes::default())),
        }
    }

    fn note(&mut self, health: Health) {
        if self.health != Some(health) {
            println!("control: {} is {health}", self.name);
            self.health = Some(health);
        }
    }
}

/// The mean of the newest readings; not of those that a sensor took before it was killed and
/// started again.
fn mean(reader: &mut Reader, last: usize, patience: Duration) -> Result<Axes> {
    let oldest = clock::monotonic_ns().saturating_sub(patience.as_nanos() as u64);
    let mut frames = reader.history::<f32>(last)?;
    // The newest one was fresh a moment ago, and stays.
    let newest = frames.len().saturating_sub(1);
    let first = frames.iter().position(|frame| frame.info.written_mono_ns >= oldest);
    frames.drain(..first.unwrap_or(newest));
    let mut sum = Axes::default();
    for frame in &frames {
        sum.iter_mut().zip(&frame.data).for_each(|(sum, axis)| *sum += axis);
    }
    Ok(sum.map(|sum| sum / frames.len() as f32))
}
