//! The parent of the first act's processes: it plays the act and judges it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::child::{Child, Heard, next_event};
use super::frame::BYTES;
use super::message::{Command, PublisherSays, ViewerSays};
use super::record::{PublisherRecord, Record, ViewerRecord};
use super::scoreboard::Scoreboard;
use super::stream_name::StreamName;
use super::verdict::{self, Claim};
use crate::flags::DemoInnerArgs;

/// How long nobody publishes.
const DEAD_FOR: Duration = Duration::from_millis(700);
/// When, in that time, the viewers are asked for the last frame.
const PROBE_AFTER: Duration = Duration::from_millis(300);
/// Far more than anything here takes; a child that needs longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);
const SLOW_FRAMES_PER_SECOND: u32 = 30;

/// Plays the act and judges it.
pub fn play(
    args: &DemoInnerArgs,
    stream: &StreamName,
    pixels: &[u8],
    interrupted: Arc<AtomicBool>,
) -> Result<Vec<Claim>> {
    let (sender, events) = mpsc::channel();
    let mut conductor = Conductor {
        args,
        stream: stream.as_str(),
        pixels,
        record: Record::default(),
        publishers: Vec::new(),
        viewers: Vec::new(),
        sender,
        events,
        board: Scoreboard::new(args.plain),
        begun: Instant::now(),
        interrupted,
    };
    let played = conductor.play();
    conductor.board.close();
    played?;
    println!("\nnumbers");
    for line in verdict::summary(&conductor.record) {
        println!("  {line}");
    }
    Ok(verdict::claims(&conductor.record))
}

enum Event {
    Publisher(usize, Heard<PublisherSays>),
    Viewer(usize, Heard<ViewerSays>),
}

struct Conductor<'a> {
    args: &'a DemoInnerArgs,
    stream: &'a str,
    pixels: &'a [u8],
    record: Record,
    publishers: Vec<Child>,
    viewers: Vec<Child>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    board: Scoreboard,
    begun: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Conductor<'_> {
    fn play(&mut self) -> Result<()> {
        let half = Duration::from_secs(self.args.seconds) / 2;
        self.start_publisher(false)?;
        self.wait_until("the first frame", |record| record.publishers[0].first.is_some())?;
        for index in 0..self.args.viewers {
            self.start_viewer(index + 1 == self.args.viewers)?;
        }
        self.wait_until("the viewers", |record| record.viewers.iter().all(|viewer| viewer.ready))?;
        self.tell_memory()?;
        self.run_until(self.begun + half)?;

        self.publishers[0].tell(Command::Die)?;
        self.wait_until("the death of the publisher", |record| {
            record.publishers[0].ended.is_some()
        })?;
        let died = Instant::now();
        self.tell_death()?;
        self.run_until(died + PROBE_AFTER)?;
        for viewer in &mut self.viewers {
            viewer.tell(Command::Probe)?;
        }
        self.wait_until("the viewers' last frames", |record| {
            record.viewers.iter().all(|viewer| viewer.probe.is_some())
        })?;
        self.tell_probes();
        self.run_until(died + DEAD_FOR)?;

        self.start_publisher(true)?;
        self.wait_until("the take-over", |record| record.publishers[1].first.is_some())?;
        self.tell_take_over();
        self.run_until(self.begun + 2 * half)?;
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        for child in self.publishers.iter_mut().chain(&mut self.viewers) {
            child.tell(Command::Stop)?;
        }
        self.wait_until("the end of all processes", |record| {
            record.publishers.iter().all(|publisher| publisher.ended.is_some())
                && record.viewers.iter().all(|viewer| viewer.ended.is_some())
        })
    }

    fn start_publisher(&mut self, take_over: bool) -> Result<()> {
        let index = self.publishers.len();
        let pictures = (self.pixels.len() / BYTES).to_string();
        let mut arguments = vec!["demo-publisher", "--stream", self.stream];
        arguments.extend(["--pictures", &pictures]);
        if take_over {
            arguments.push("--take-over");
        }
        let spawned_mono_ns = shm_core::clock::monotonic_ns();
        let mut child = Child::spawn(&arguments, self.sender.clone(), move |heard| {
            Event::Publisher(index, heard)
        })?;
        child.feed(self.pixels);
        self.record.publishers.push(PublisherRecord {
            pid: child.pid(),
            spawned_mono_ns,
            ..PublisherRecord::default()
        });
        self.publishers.push(child);
        Ok(())
    }

    fn start_viewer(&mut self, slow: bool) -> Result<()> {
        let index = self.viewers.len();
        let rate = SLOW_FRAMES_PER_SECOND.to_string();
        let mut arguments = vec!["demo-viewer", "--stream", self.stream];
        if slow {
            arguments.extend(["--frames-per-second", &rate]);
        }
        let child = Child::spawn(&arguments, self.sender.clone(), move |heard| {
            Event::Viewer(index, heard)
        })?;
        self.record.viewers.push(ViewerRecord {
            pid: child.pid(),
            slow,
            ..ViewerRecord::default()
        });
        self.viewers.push(child);
        Ok(())
    }

    /// Listens until something has happened. It has to happen.
    fn wait_until(&mut self, what: &str, happened: impl Fn(&Record) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !happened(&self.record) {
            if Instant::now() >= until {
                bail!("{what} did not come within {} s", PATIENCE.as_secs());
            }
            self.listen(until)?;
        }
        Ok(())
    }

    /// Listens for some time.
    fn run_until(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.listen(until)?;
        }
        Ok(())
    }

    /// Takes the next event, or none for a moment, and shows the state.
    fn listen(&mut self, until: Instant) -> Result<()> {
        if let Some(event) = next_event(&self.events, until, &self.interrupted)? {
            self.hear(event)?;
        }
        self.board.show(self.begun.elapsed(), &self.record);
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Publisher(index, Heard::Message(said)) => {
                self.record.publishers[index].hears(said);
            }
            Event::Viewer(index, Heard::Message(said)) => self.record.viewers[index].hears(said),
            Event::Publisher(index, Heard::Closed) => {
                let status = self.publishers[index].end()?;
                let record = &mut self.record.publishers[index];
                record.ended = Some(status);
                record.ended_mono_ns = shm_core::clock::monotonic_ns();
                if record.dying.is_none() && record.done.is_none() {
                    bail!(
                        "publisher {} ended with {status}; what it said, if anything, is above",
                        index + 1
                    );
                }
            }
            Event::Viewer(index, Heard::Closed) => {
                let status = self.viewers[index].end()?;
                let record = &mut self.record.viewers[index];
                record.ended = Some(status);
                if record.done.is_none() {
                    bail!(
                        "viewer {} ended with {status}; what it said, if anything, is above",
                        index + 1
                    );
                }
            }
            Event::Publisher(_, Heard::Garbage(line)) | Event::Viewer(_, Heard::Garbage(line)) => {
                bail!("a child printed something that is no message: {line}");
            }
        }
        Ok(())
    }

    fn tell(&self, text: &str) {
        self.board.tell(self.begun.elapsed(), text);
    }

    fn tell_memory(&self) -> Result<()> {
        let info = shm_core::stat(self.stream).context("the stream cannot be looked at")?;
        self.tell(&format!(
            "{} processes share {:.1} MB of memory; no frame travels any other way",
            1 + self.record.viewers.len(),
            info.len as f64 / 1e6
        ));
        Ok(())
    }

    fn tell_death(&self) -> Result<()> {
        let info = shm_core::stat(self.stream).context("the stream cannot be looked at")?;
        let first = &self.record.publishers[0];
        if let Some(dying) = first.dying {
            self.tell(&format!(
                "SIGKILL: publisher {} is dead, frame {} is half written; the writer lock is {}",
                first.pid,
                dying.half_written,
                if info.writer_locked { "STILL HELD" } else { "free again" }
            ));
        }
        Ok(())
    }

    fn tell_probes(&self) {
        for (index, viewer) in (1..).zip(&self.record.viewers) {
            let Some(probe) = &viewer.probe else { continue };
            let name = super::scoreboard::viewer_name(index, viewer);
            let answer = match (probe.number, &probe.problem) {
                (Some(number), _) => {
                    format!("yes, frame {number}, {:.0} ms old", probe.age_ns as f64 / 1e6)
                }
                (None, Some(problem)) => format!("NO: {problem}"),
                (None, None) => "NO".to_owned(),
            };
            self.tell(&format!("{name}: is the last frame still readable? {answer}"));
        }
    }

    fn tell_take_over(&self) {
        let second = &self.record.publishers[1];
        if let Some(first) = second.first {
            self.tell(&format!(
                "publisher {} took over with frame {}, {:.1} ms after it was started",
                second.pid,
                first.number,
                first.at_mono_ns.saturating_sub(second.spawned_mono_ns) as f64 / 1e6
            ));
        }
    }
}
