//! The parent of the second act's processes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::child::{Child, Heard, next_event};
use super::super::frame::BYTES;
use super::super::message::{Command, PublisherSays};
use super::super::verdict::Claim;
use super::answers::Answers;
use super::board::Board;
use super::likeness::Likeness;
use super::message::WorkerSays;
use super::server::Server;
use super::{reference, verdict};

/// What the act is played with.
pub struct Props<'a> {
    /// The stream, which nobody uses any more.
    pub stream: &'a str,
    /// The pictures, one after the other, and what they are called.
    pub pixels: &'a [u8],
    pub names: Vec<String>,
    /// Where the server's programs are.
    pub zoo: &'a Path,
    pub detector: &'a Path,
    /// The program that starts a real Triton server, in place of the embedded one.
    pub triton: Option<&'a Path>,
    pub seconds: u64,
    pub plain: bool,
    pub interrupted: Arc<AtomicBool>,
}

/// As a camera would.
const FRAMES_PER_SECOND: u32 = 30;
/// Far more than anything here takes; a child that needs longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Which picture is the newest when the worker is done with the one before is left to chance, so
/// the last of them may take several times as many answers as there are pictures.
const PATIENCE_WITH_CHANCE: Duration = Duration::from_secs(180);

/// Plays the act and judges it.
pub fn play(props: Props<'_>) -> Result<Vec<Claim>> {
    let pictures: Vec<&[u8]> = props.pixels.chunks_exact(BYTES).collect();
    let expected = reference::ask(props.zoo, props.detector, &pictures)
        .context("the detector cannot be asked directly")?;
    let (server, likeness) = match props.triton {
        None => (Server::embedded(props.zoo, props.detector)?, Likeness::EveryBit),
        Some(program) => (Server::real(program)?, Likeness::SameText),
    };
    let answers = Answers::none(props.names.clone(), &expected, likeness)?;
    let (sender, events) = mpsc::channel();
    let count = pictures.len().to_string();
    let rate = FRAMES_PER_SECOND.to_string();
    let publisher = ["demo-publisher", "--stream", props.stream, "--pictures", &count];
    let publisher = [&publisher[..], &["--frames-per-second", &rate]].concat();
    let mut publisher = Child::spawn(&publisher, sender.clone(), Event::Publisher)?;
    publisher.feed(props.pixels);
    let worker = ["demo-worker", "--stream", props.stream, "--server", server.http()];
    let worker = [&worker[..], &["--pictures", &count]].concat();
    let worker = Child::spawn(&worker, sender, Event::Worker)?;
    let board = Board::new(props.plain);
    let mut act = Act {
        props,
        publisher,
        worker,
        events,
        answers,
        board,
        begun: Instant::now(),
        stopping: false,
    };
    let played = act.perform(server);
    act.board.close();
    played?;
    println!("\nnumbers");
    for line in verdict::summary(&act.answers) {
        println!("  {line}");
    }
    Ok(verdict::claims(&act.answers))
}

enum Event {
    Publisher(Heard<PublisherSays>),
    Worker(Heard<WorkerSays>),
}

struct Act<'a> {
    props: Props<'a>,
    publisher: Child,
    worker: Child,
    events: Receiver<Event>,
    answers: Answers,
    board: Board,
    begun: Instant,
    /// The publisher was told to end.
    stopping: bool,
}

impl Act<'_> {
    fn perform(&mut self, server: Server) -> Result<()> {
        self.wait_until("the worker", |answers| answers.ready)?;
        self.board.tell(
            self.begun.elapsed(),
            &format!(
                "publisher {} -> worker {} -> {} {} at {}; pictures and answers stay in shared \
                 memory",
                self.publisher.pid(),
                self.worker.pid(),
                server.name(),
                server.pid(),
                server.http()
            ),
        );
        let until = Instant::now() + Duration::from_secs(self.props.seconds);
        while Instant::now() < until {
            self.listen(until)?;
        }
        let patience = PATIENCE_WITH_CHANCE;
        self.wait_within(patience, "an answer to every picture", Answers::complete)?;
        self.worker.tell(Command::Stop)?;
        self.wait_until("the end of the worker", |answers| answers.worker_ended.is_some())?;
        self.publisher.tell(Command::Stop)?;
        self.stopping = true;
        self.wait_until("the end of the publisher", |answers| answers.publisher_ended.is_some())?;
        self.answers.server_well = server.end()?;
        Ok(())
    }

    /// Listens until something has happened. It has to happen.
    fn wait_until(&mut self, what: &str, happened: impl Fn(&Answers) -> bool) -> Result<()> {
        self.wait_within(PATIENCE, what, happened)
    }

    fn wait_within(
        &mut self,
        patience: Duration,
        what: &str,
        happened: impl Fn(&Answers) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        while !happened(&self.answers) {
            if Instant::now() >= until {
                bail!("{what} did not come within {} s", patience.as_secs());
            }
            self.listen(until)?;
        }
        Ok(())
    }

    /// Takes the next event, or none for a moment, and shows the state.
    fn listen(&mut self, until: Instant) -> Result<()> {
        if let Some(event) = next_event(&self.events, until, &self.props.interrupted)? {
            self.hear(event)?;
        }
        self.board.show(self.begun.elapsed(), &self.answers);
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Worker(Heard::Message(said)) => self.answers.hears(said),
            Event::Worker(Heard::Closed) => {
                let status = self.worker.end()?;
                self.answers.worker_ended = Some(status);
                if self.answers.inline_calls.is_none() {
                    bail!("the worker ended with {status}; what it said, if anything, is above");
                }
            }
            // Its frames are what counts, and the worker sees those.
            Event::Publisher(Heard::Message(_)) => {}
            Event::Publisher(Heard::Closed) => {
                let status = self.publisher.end()?;
                self.answers.publisher_ended = Some(status);
                if !self.stopping {
                    bail!("the publisher ended with {status}; what it said, if anything, is above");
                }
            }
            Event::Publisher(Heard::Garbage(line)) | Event::Worker(Heard::Garbage(line)) => {
                bail!("a child printed something that is no message: {line}");
            }
        }
        Ok(())
    }
}
