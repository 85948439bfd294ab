//! `shm record`: keeps the frames of a stream in a file.
//!
//! However it ends, by Ctrl-C, with a full disk or because the stream is gone, the file is finished with
//! what came so far, and it is said why it ended. Upholds invariants 4 (it reads) and 5 (each wait is
//! bounded).

use super::arguments::RecordArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::recording::{About, Follower, FrameRow, Stop, Target, Writing};
use super::subject::{bytes, dimensions};
use indicatif::ProgressBar;
use serde::Serialize;
use shm_core::{Deadline, ReadError, Reader};
use std::io;
use std::time::{Duration, Instant};

/// How long a wait lasts before Ctrl-C is looked for.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &RecordArgs, output: &Output) -> Result<Exit, Failure> {
    let target = Target::new(&args.file, args.force)?;
    let stop = Stop::on_signals()?;
    let reader = Reader::open(&args.name)?;
    check_readable(&reader, &args.name)?;
    let about = About::of(reader.stream());
    // In this order: who sees the file knows that from here on every frame is taken.
    let follower = Follower::new(reader);
    let mut recorder = Recorder {
        writing: Writing::begin(target, &about)?,
        follower,
        stop,
        begun: Instant::now(),
        bar: output.is_interactive().then(ProgressBar::new_spinner),
        frame_bytes: about.desc.byte_len() as u64,
    };
    let ended = recorder.run(args);
    let summary = recorder.summary(args, &about, &ended);
    if let Some(bar) = &recorder.bar {
        bar.finish_and_clear();
    }
    recorder.writing.finish()?;
    output.result(&summary, || summary.text())?;
    Ok(ended.exit())
}

/// Why a recording ended.
enum Ended {
    Frames,
    Seconds,
    Interrupted,
    TimedOut { writer_alive: Option<bool> },
    Gone,
    Damaged(ReadError),
    NotWritten(io::Error),
}

impl Ended {
    fn exit(&self) -> Exit {
        match self {
            Ended::Frames | Ended::Seconds | Ended::Interrupted => Exit::Done,
            Ended::TimedOut { .. } => Exit::TimedOut,
            Ended::Gone => Exit::Findings,
            Ended::Damaged(_) => Exit::Refused,
            Ended::NotWritten(_) => Exit::System,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Ended::Frames => "frames",
            Ended::Seconds => "seconds",
            Ended::Interrupted => "interrupted",
            Ended::TimedOut { .. } => "timeout",
            Ended::Gone => "gone",
            Ended::Damaged(_) => "damaged",
            Ended::NotWritten(_) => "not_written",
        }
    }

    fn reason(&self, timeout: Duration) -> String {
        match self {
            Ended::Frames => "all frames that were asked for".to_owned(),
            Ended::Seconds => "the time is over".to_owned(),
            Ended::Interrupted => "interrupted".to_owned(),
            Ended::TimedOut { writer_alive } => {
                let writer = match writer_alive {
                    Some(true) => "a writer is there",
                    Some(false) => "there is no writer",
                    None => "whether there is a writer is unknown",
                };
                format!("no frame within {timeout:?}, {writer}")
            }
            Ended::Gone => "the stream was unlinked or replaced".to_owned(),
            Ended::Damaged(error) => error.to_string(),
            Ended::NotWritten(error) => format!("the next frame could not be written: {error}"),
        }
    }
}

/// A recording going on.
struct Recorder {
    writing: Writing,
    follower: Follower,
    stop: Stop,
    begun: Instant,
    bar: Option<ProgressBar>,
    frame_bytes: u64,
}

impl Recorder {
    fn run(&mut self, args: &RecordArgs) -> Ended {
        let end = args.seconds.and_then(|seconds| self.begun.checked_add(seconds));
        let mut idle_since = self.begun;
        loop {
            let now = Instant::now();
            if self.stop.is_asked() {
                return Ended::Interrupted;
            }
            if args.frames.is_some_and(|frames| self.writing.frames() >= frames) {
                return Ended::Frames;
            }
            if end.is_some_and(|end| now >= end) {
                return Ended::Seconds;
            }
            if now.duration_since(idle_since) >= args.timeout {
                return Ended::TimedOut { writer_alive: self.follower.writer_alive() };
            }
            let patience = args.timeout.saturating_sub(now.duration_since(idle_since));
            let left = end.map_or(SLICE, |end| end.saturating_duration_since(now));
            match self.follower.next(Deadline::after(SLICE.min(patience).min(left))) {
                Ok((info, frame)) => {
                    if let Err(error) = self.writing.append(&FrameRow::from(&info), frame) {
                        return Ended::NotWritten(error);
                    }
                    idle_since = Instant::now();
                }
                // A writer that is too fast may be slower the next time.
                Err(ReadError::Timeout { .. } | ReadError::Overrun { .. }) => {}
                Err(ReadError::Stale { .. }) => return Ended::Gone,
                Err(error) => return Ended::Damaged(error),
            }
            self.show();
        }
    }

    fn show(&self) {
        let Some(bar) = &self.bar else { return };
        let frames = self.writing.frames();
        let (size, seconds) = (frames * self.frame_bytes, self.begun.elapsed().as_secs_f64());
        let rate = bytes((size as f64 / seconds.max(1e-3)) as u64);
        let missed = self.follower.missed();
        bar.set_message(format!("{frames} frames, {}, {rate}/s, {missed} missed", bytes(size)));
        bar.tick();
    }

    fn summary(&self, args: &RecordArgs, about: &About, ended: &Ended) -> Summary {
        let frames = self.writing.frames();
        Summary {
            name: args.name.clone(),
            file: args.file.display().to_string(),
            dtype: about.desc.dtype().name(),
            shape: about.desc.shape().to_vec(),
            frames,
            bytes: frames * self.frame_bytes,
            missed: self.follower.missed(),
            seconds: self.begun.elapsed().as_secs_f64(),
            ended: ended.word(),
            reason: ended.reason(args.timeout),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    name: String,
    file: String,
    dtype: &'static str,
    shape: Vec<usize>,
    frames: u64,
    bytes: u64,
    missed: u64,
    seconds: f64,
    ended: &'static str,
    reason: String,
}

impl Summary {
    fn text(&self) -> String {
        format!(
            "{}: {} frames of {} {}, {}, in {:.1} s, {} missed, into {}: {}",
            self.name,
            self.frames,
            self.dtype,
            dimensions(&self.shape),
            bytes(self.bytes),
            self.seconds,
            self.missed,
            self.file,
            self.reason
        )
    }
}

/// The frames are in shared memory.
fn check_readable(reader: &Reader, name: &str) -> Result<(), Failure> {
    match reader.frame_with(0, |_| {}) {
        Err(error @ ReadError::NoHostPayload { .. }) => Err(Failure::new(
            Exit::Refused,
            error.to_string(),
            format!("`shm stat {name}` says more"),
        )),
        _ => Ok(()),
    }
}
