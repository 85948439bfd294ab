//! The publishing process: pictures into the stream, as fast as they go or as fast as told.

use std::io::Read;
use std::process::ExitCode;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use shm_core::{Dtype, FrameTag, ReadError, Stream, StreamConfig, Writer};

use super::cpu::CpuMeter;
use super::frame::{self, BYTES, CHANNELS, HEIGHT, Stamp, WIDTH};
use super::message::{self, Command, PublisherSays, PublisherTick};
use crate::flags::DemoPublisherArgs;

const TICK: Duration = Duration::from_millis(250);
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Publishes until it is told to stop, or to die.
pub fn task(args: &DemoPublisherArgs) -> Result<ExitCode> {
    // The conductor may be killed too, and nobody else knows this process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut pictures = vec![0; args.pictures * BYTES];
    std::io::stdin()
        .lock()
        .read_exact(&mut pictures)
        .context("the pictures did not arrive on standard input")?;
    let pictures: Vec<&[u8]> = pictures.chunks_exact(BYTES).collect();
    let stream = if args.take_over {
        Stream::open(&args.stream).context("the stream to take over cannot be opened")?
    } else {
        let config = StreamConfig::new(Dtype::U8, &[HEIGHT, WIDTH, CHANNELS])?.temporary(true);
        Stream::create(&args.stream, &config).context("the stream cannot be created")?
    };
    let writer = stream.writer(LOCK_WITHIN).context("another publisher holds the stream")?;
    let next = newest_number(&stream)? + 1;
    publish(writer, &pictures, next, args.frames_per_second)
}

/// The number of the newest frame, read from the stream itself: all that a successor needs to go
/// on where a killed publisher left off.
fn newest_number(stream: &Stream) -> Result<u64> {
    let mut newest = vec![0; BYTES];
    match stream.reader().read_into(&mut newest) {
        Ok(info) => frame::verify(&newest, info.frame_id)
            .map(|stamp| stamp.number)
            .context("the newest frame of the stream is torn"),
        Err(ReadError::Empty { .. }) => Ok(0),
        Err(error) => Err(error).context("the newest frame of the stream cannot be read"),
    }
}

fn publish(
    mut writer: Writer,
    pictures: &[&[u8]],
    first: u64,
    frames_per_second: Option<u32>,
) -> Result<ExitCode> {
    let commands = message::commands();
    let period = frames_per_second.map(|rate| Duration::from_secs(1) / rate.max(1));
    let mut number = first;
    let mut ticker = Ticker::start(first);
    loop {
        let picture = pictures[(number % pictures.len() as u64) as usize];
        match commands.try_recv() {
            Ok(Command::Die) => return die_in_the_middle(&mut writer, picture, number, first),
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break,
            Ok(Command::Probe) => bail!("a publisher was told to probe"),
            Err(TryRecvError::Empty) => {}
        }
        let mut loan = writer.loan()?;
        let cell = loan.as_mut_slice::<u8>()?;
        cell.copy_from_slice(picture);
        stamp(number).write(cell);
        let checksum = frame::checksum(cell);
        loan.commit_tagged(FrameTag::id(checksum));
        if number == first {
            message::say(&PublisherSays::First {
                number,
                at_mono_ns: shm_core::clock::monotonic_ns(),
            })?;
        }
        ticker.published(number)?;
        number += 1;
        if let Some(period) = period {
            std::thread::sleep(period);
        }
    }
    message::say(&PublisherSays::Done { published: number - first, newest: number - 1 })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes half a frame into the cell and takes the most abrupt end there is. No destructor, no
/// signal handler and no `commit` runs.
fn die_in_the_middle(
    writer: &mut Writer,
    picture: &[u8],
    number: u64,
    first: u64,
) -> Result<ExitCode> {
    let mut loan = writer.loan()?;
    let half = BYTES / 2;
    let cell = loan.as_mut_slice::<u8>()?;
    cell[..half].copy_from_slice(&picture[..half]);
    stamp(number).write(cell);
    message::say(&PublisherSays::Dying {
        half_written: number,
        bytes_written: half as u64,
        published: number - first,
    })?;
    kill_process(getpid(), Signal::KILL)?;
    bail!("this process outlived SIGKILL")
}

fn stamp(number: u64) -> Stamp {
    Stamp { number, publisher: std::process::id() }
}

/// Reports every quarter of a second.
struct Ticker {
    first: u64,
    at: Instant,
    number_then: u64,
    cpu: CpuMeter,
}

impl Ticker {
    fn start(first: u64) -> Self {
        Self { first, at: Instant::now(), number_then: first, cpu: CpuMeter::start() }
    }

    fn published(&mut self, number: u64) -> Result<()> {
        let elapsed = self.at.elapsed();
        if elapsed < TICK {
            return Ok(());
        }
        message::say(&PublisherSays::Tick(PublisherTick {
            published: number + 1 - self.first,
            newest: number,
            frames_per_second: (number - self.number_then) as f64 / elapsed.as_secs_f64(),
            cpu_percent: self.cpu.percent(),
        }))?;
        self.at = Instant::now();
        self.number_then = number;
        Ok(())
    }
}
