//! `shm replay`: publishes the frames of a file, each with its id and time of acquisition, when it is due.
//!
//! Upholds invariants 5 (Ctrl-C is heard within any wait) and 9 (it takes away only the stream that it
//! created).

use super::arguments::ReplayArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::recording::{Pace, Recording, Stop};
use super::subject::{bytes, dimensions};
use indicatif::ProgressBar;
use serde::Serialize;
use shm_core::{
    CreateError, FrameTag, LockError, PublishError, Role, Stream, StreamConfig, Writer,
};
use std::time::{Duration, Instant};

/// How long a wait lasts before Ctrl-C is looked for.
const SLICE: Duration = Duration::from_millis(100);
/// How long another writer may keep the lock.
const LOCK: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ReplayArgs, output: &Output) -> Result<Exit, Failure> {
    let stop = Stop::on_signals()?;
    let recording = Recording::open(&args.file, args.array.as_deref())?;
    let stage = Stage::set(args, &recording)?;
    let writer = stage.stream.writer(LOCK).map_err(locked)?;
    let mut frame = Vec::new();
    let len = recording.desc.byte_len();
    frame.try_reserve_exact(len).map_err(|error| {
        Failure::new(Exit::System, format!("no memory for a frame of {len} bytes: {error}"), "")
    })?;
    frame.resize(len, 0);
    let bar = output.is_interactive().then(|| ProgressBar::new(recording.frames));
    let mut replayer =
        Replayer { recording, writer, stop, frame, bar, frames: 0, laps: 0, late: Duration::ZERO };
    let begun = Instant::now();
    let ended = replayer.run(args);
    if let Some(bar) = &replayer.bar {
        bar.finish_and_clear();
    }
    let ended = ended?;
    let summary = replayer.summary(args, begun.elapsed(), ended);
    drop(replayer);
    stage.clear()?;
    output.result(&summary, || summary.text())?;
    Ok(match ended {
        Ended::File | Ended::Interrupted => Exit::Done,
        Ended::Gone => Exit::Findings,
    })
}

/// Why a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    /// The file has no more frames.
    File,
    Interrupted,
    /// Somebody took the stream away.
    Gone,
}

/// The stream that is published into; one that was created for this is taken away at the end, however
/// that comes.
struct Stage {
    stream: Stream,
    ours: bool,
}

impl Stage {
    fn set(args: &ReplayArgs, recording: &Recording) -> Result<Stage, Failure> {
        let desc = &recording.desc;
        if args.existing {
            let stream = Stream::open(&args.name)?;
            if stream.desc() != desc {
                let message = format!(
                    "stream '{}' has {}, the frames of {} are {desc}",
                    args.name,
                    stream.desc(),
                    args.file.display()
                );
                let hint = "leave --existing out and name a stream that is not there";
                return Err(Failure::new(Exit::Refused, message, hint));
            }
            return Ok(Stage { stream, ours: false });
        }
        let stream = StreamConfig::new(desc.dtype(), desc.shape())
            .and_then(|config| config.metadata(&recording.metadata))
            .map_err(|error| Failure::new(Exit::Refused, error.to_string(), ""))?
            // Whoever kills this program leaves nothing that the next sweep would not take.
            .temporary(true)
            .create(&args.name)
            .map_err(not_created)?;
        Ok(Stage { stream, ours: true })
    }

    /// Takes away a stream that was created for this; that somebody else has done so is no failure.
    fn clear(mut self) -> Result<(), Failure> {
        if !std::mem::take(&mut self.ours) {
            return Ok(());
        }
        match self.stream.unlink() {
            Err(error) if !self.stream.is_retired() => {
                Err(Failure::new(Exit::System, error.to_string(), ""))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.stream.unlink();
        }
    }
}

/// A replay going on.
struct Replayer {
    recording: Recording,
    writer: Writer,
    stop: Stop,
    frame: Vec<u8>,
    bar: Option<ProgressBar>,
    frames: u64,
    laps: u64,
    /// The most that a frame came after it was due.
    late: Duration,
}

impl Replayer {
    fn run(&mut self, args: &ReplayArgs) -> Result<Ended, Failure> {
        if !self.wait_for_readers(args)? {
            return Ok(Ended::Interrupted);
        }
        let mut pace = Pace::new(args.rate, self.recording.has_times());
        loop {
            if let Some(ended) = self.lap(&mut pace)? {
                return Ok(ended);
            }
            self.laps += 1;
            if !args.again {
                return Ok(Ended::File);
            }
            pace.next_lap();
        }
    }

    /// All frames once; `None` if nothing came between.
    fn lap(&mut self, pace: &mut Pace) -> Result<Option<Ended>, Failure> {
        let mut lap = self.recording.lap()?;
        while let Some(recorded) = lap.next(&mut self.frame)? {
            let due = pace.due(&recorded).ok_or_else(|| {
                let message = "the time of a frame lies further away than any clock goes";
                Failure::new(Exit::Refused, message, "give a --rate")
            })?;
            if !self.sleep_until(due) {
                return Ok(Some(Ended::Interrupted));
            }
            self.late = self.late.max(due.elapsed());
            let tag = recorded.id.map_or_else(FrameTag::default, FrameTag::id);
            let tag = tag.acquired_ns(recorded.acquired_ns.unwrap_or_default());
            match self.writer.publish_bytes(&self.frame, tag) {
                Ok(_) => self.frames += 1,
                Err(PublishError::Stale { .. }) => return Ok(Some(Ended::Gone)),
                Err(error) => return Err(Failure::new(Exit::Refused, error.to_string(), "")),
            }
            self.show();
        }
        Ok(None)
    }

    /// False if this program was asked to end meanwhile.
    fn sleep_until(&self, due: Instant) -> bool {
        loop {
            if self.stop.is_asked() {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// Waits for the readers that were asked for; false if this program was asked to end meanwhile.
    fn wait_for_readers(&self, args: &ReplayArgs) -> Result<bool, Failure> {
        while let Some(readers) = args.readers {
            let info = shm_core::stat(&args.name)?;
            let there = info.holders.iter().filter(|holder| holder.role == Role::Reader).count();
            if there as u64 >= readers {
                break;
            }
            if !self.sleep_until(Instant::now() + SLICE / 5) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.frames - self.laps * self.recording.frames);
    }

    fn summary(&self, args: &ReplayArgs, elapsed: Duration, ended: Ended) -> Summary {
        Summary {
            file: args.file.display().to_string(),
            name: args.name.clone(),
            dtype: self.recording.desc.dtype().name(),
            shape: self.recording.desc.shape().to_vec(),
            frames: self.frames,
            bytes: self.frames * self.recording.desc.byte_len() as u64,
            laps: self.laps,
            seconds: elapsed.as_secs_f64(),
            late_seconds: self.late.as_secs_f64(),
            ended,
        }
    }
}

#[derive(Serialize)]
struct Summary {
    file: String,
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    frames: u64,
    bytes: u64,
    /// How often the file was published to its end.
    laps: u64,
    seconds: f64,
    /// The most that a frame came after it was due.
    late_seconds: f64,
    ended: Ended,
}

impl Summary {
    fn text(&self) -> String {
        format!(
            "{}: {} frames of {} {}, {}, in {:.1} s from {}, at most {:.1} ms late: {}",
            self.name,
            self.frames,
            self.dtype,
            dimensions(&self.shape),
            bytes(self.bytes),
            self.seconds,
            self.file,
            self.late_seconds * 1e3,
            match self.ended {
                Ended::File => "the end of the file",
                Ended::Interrupted => "interrupted",
                Ended::Gone => "the stream was unlinked or replaced",
            }
        )
    }
}

fn locked(error: LockError) -> Failure {
    let (exit, hint) = match &error {
        LockError::Timeout { .. } => (Exit::TimedOut, "another process publishes into this stream"),
        LockError::Stale { .. } => (Exit::Findings, ""),
        _ => (Exit::System, ""),
    };
    Failure::new(exit, error.to_string(), hint)
}

fn not_created(error: CreateError) -> Failure {
    let (exit, hint) = match &error {
        CreateError::Name(_) => (Exit::Usage, ""),
        CreateError::Exists { .. } => {
            (Exit::Usage, "--existing publishes into it; `shm gc` removes what nobody holds")
        }
        _ => (Exit::System, ""),
    };
    Failure::new(exit, error.to_string(), hint)
}
