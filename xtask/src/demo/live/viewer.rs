//! A viewing process: reads the newest frame again and again, and verifies every one.

use std::process::ExitCode;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use shm_core::{ReadError, Reader};

use super::frame::{self, BYTES};
use super::message::{self, Command, Probe, ViewerSays};
use super::tally::Tally;
use super::thumbnail;
use crate::flags::DemoViewerArgs;

const TICK: Duration = Duration::from_millis(250);
const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Short, so that commands are heard also while nobody publishes.
const READ_WITHIN: Duration = Duration::from_millis(50);

/// Reads until it is told to stop.
pub fn task(args: &DemoViewerArgs) -> Result<ExitCode> {
    // The conductor may be killed too, and nobody else knows this process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut viewer = Viewer {
        reader: Reader::open_within(&args.stream, OPEN_WITHIN)
            .context("the stream did not appear")?,
        frame: vec![0; BYTES],
        tally: Tally::start()?,
    };
    message::say(&ViewerSays::Ready)?;
    viewer.watch(args.frames_per_second)?;
    message::say(&ViewerSays::Done(viewer.tally.totals()))?;
    Ok(ExitCode::SUCCESS)
}

struct Viewer {
    reader: Reader,
    frame: Vec<u8>,
    tally: Tally,
}

impl Viewer {
    fn watch(&mut self, frames_per_second: Option<u32>) -> Result<()> {
        let commands = message::commands();
        let period = frames_per_second.map(|rate| Duration::from_secs(1) / rate.max(1));
        let mut next_tick = Instant::now() + TICK;
        loop {
            match commands.try_recv() {
                Ok(Command::Probe) => {
                    let probe = self.probe();
                    message::say(&ViewerSays::Probe(probe))?;
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Ok(Command::Die) => bail!("a viewer was told to die"),
                Err(TryRecvError::Empty) => {}
            }
            let begun = Instant::now();
            self.read_new()?;
            if let Some(period) = period {
                std::thread::sleep(period.saturating_sub(begun.elapsed()));
            }
            if Instant::now() >= next_tick {
                let mut tick = self.tally.tick()?;
                if tick.verified > 0 {
                    tick.thumbnail = thumbnail::shrink(&self.frame);
                }
                message::say(&ViewerSays::Tick(tick))?;
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn read_new(&mut self) -> Result<()> {
        match self.reader.read_new_into(&mut self.frame, READ_WITHIN) {
            Ok(info) => {
                let latency = shm_core::clock::monotonic_ns().saturating_sub(info.written_mono_ns);
                let stamp = frame::verify(&self.frame, info.frame_id);
                self.tally.read(stamp, latency, info.missed);
                Ok(())
            }
            Err(ReadError::Timeout { .. } | ReadError::Empty { .. }) => Ok(()),
            Err(ReadError::Overrun { .. }) => {
                self.tally.overrun();
                Ok(())
            }
            Err(error) => Err(error).context("the stream can no longer be read"),
        }
    }

    /// Reads the newest frame although nobody publishes.
    fn probe(&mut self) -> Probe {
        match self.reader.read_into(&mut self.frame) {
            Ok(info) => {
                let age_ns = shm_core::clock::monotonic_ns().saturating_sub(info.written_mono_ns);
                let stamp = frame::verify(&self.frame, info.frame_id);
                if stamp.is_none() {
                    self.tally.torn();
                }
                Probe {
                    number: stamp.map(|stamp| stamp.number),
                    age_ns,
                    problem: stamp.is_none().then(|| "the frame is torn".to_owned()),
                }
            }
            Err(error) => Probe { number: None, age_ns: 0, problem: Some(error.to_string()) },
        }
    }
}
