//! The other process, as this one sees it: jobs go out, answers come back, and its end is noticed.
//!
//! Upholds invariants 1 and 5: whatever becomes of it, nobody waits longer than [`PATIENCE`]. It lives in a
//! process group of its own, so that Ctrl-C reaches only the one who cleans up.

use super::broke;
use super::interrupt::Interrupt;
use super::role::{Answer, HIDDEN, Job};
use crate::cli::exit::{Exit, Failure};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may be silent. A busy machine may take the processor away for long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks whether it still lives.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// This program, started again.
pub(super) struct Peer<'a> {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
    interrupt: &'a Interrupt,
    doing: &'static str,
}

impl<'a> Peer<'a> {
    /// Starts it on processor `cpu` and waits until it listens.
    pub(super) fn start(
        relaunch: &[OsString],
        cpu: usize,
        interrupt: &'a Interrupt,
    ) -> Result<Peer<'a>, Failure> {
        let Some((program, arguments)) = relaunch.split_first() else {
            return Err(Failure::new(
                Exit::System,
                "could not find the file of this program, which the bench has to start again",
                "start it by its path",
            ));
        };
        let mut process = Command::new(program)
            .args(arguments)
            .arg(HIDDEN)
            .arg(cpu.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Failure::system(&format!("start {} again", program.display()), &error)
            })?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let Some((orders, said)) = pipes else { unreachable!("both were asked for") };
        let (heard, answers) = channel();
        // Ends with the process, whose end of the pipe it reads.
        thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if heard.send(line).is_err() {
                    break;
                }
            }
        });
        let doing = "starting";
        let mut peer = Peer { process, orders, answers, interrupt, doing };
        peer.expect_ready()?;
        Ok(peer)
    }

    /// What is said if it goes wrong.
    pub(super) fn now_doing(&mut self, what: &'static str) {
        self.doing = what;
    }

    /// Gives it a job and waits until it is set up for it.
    pub(super) fn begin(&mut self, job: &Job) -> Result<(), Failure> {
        let mut line = serde_json::to_string(job).map_err(|error| broke("write a job", error))?;
        line.push('\n');
        if let Err(error) = self.orders.write_all(line.as_bytes()) {
            self.check()?;
            return Err(Failure::system("give the other process a job", &error));
        }
        self.expect_ready()
    }

    /// Waits for what a job came to.
    pub(super) fn finish(&mut self) -> Result<Vec<u64>, Failure> {
        match self.answer()? {
            Answer::Done(durations) => Ok(durations),
            other => Err(self.unexpected(&other)),
        }
    }

    /// An error if it is gone, or if this process is to end.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.interrupt.check()?;
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.gone(status)),
            Err(error) => Err(Failure::system("ask for the other process", &error)),
        }
    }

    fn expect_ready(&mut self) -> Result<(), Failure> {
        match self.answer()? {
            Answer::Ready => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn answer(&mut self) -> Result<Answer, Failure> {
        let mut silence = Silence::default();
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(line) => {
                    return serde_json::from_str(&line).map_err(|error| {
                        broke("understand the other process", format!("{error}: {line}"))
                    });
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.check()?;
                    silence.goes_on(self.doing)?;
                }
                // Its end of the pipe is closed, and it is about to end.
                Err(RecvTimeoutError::Disconnected) => {
                    self.check()?;
                    silence.goes_on(self.doing)?;
                    thread::sleep(LOOK);
                }
            }
        }
    }

    fn unexpected(&self, answer: &Answer) -> Failure {
        let said = match answer {
            Answer::Failed(why) => why.clone(),
            other => format!("it said {other:?}, which was not asked"),
        };
        let message = format!("the other process of the bench failed at {}: {said}", self.doing);
        Failure::new(Exit::System, message, "")
    }

    fn gone(&self, status: ExitStatus) -> Failure {
        let (pid, doing) = (self.process.id(), self.doing);
        Failure::new(
            Exit::System,
            format!("the other process of the bench ({pid}) ended at {doing}: {status}"),
            "nothing is left behind; start the bench again",
        )
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        // It holds nothing that would have to be put in order. Both fail if it is gone, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How long nothing has come.
#[derive(Default)]
pub(super) struct Silence(Option<Instant>);

impl Silence {
    /// An error once it has lasted too long.
    pub(super) fn goes_on(&mut self, doing: &str) -> Result<(), Failure> {
        let now = Instant::now();
        if now - *self.0.get_or_insert(now) < PATIENCE {
            return Ok(());
        }
        let message = format!("nothing came from the other side within {PATIENCE:?} at {doing}");
        Err(Failure::new(Exit::System, message, "it may be stopped, or the machine is too busy"))
    }
}
