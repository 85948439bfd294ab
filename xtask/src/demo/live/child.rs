//! A child process of the demo: spawned, spoken to, listened to, and never left behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::message::Command;

/// A running copy of this program in one of its hidden roles.
pub struct Child {
    process: std::process::Child,
}

/// What comes out of a child.
pub enum Heard<M> {
    Message(M),
    /// A line that is no message.
    Garbage(String),
    /// Its standard output was closed: it ended.
    Closed,
}

impl Child {
    /// Starts this program with other arguments. All it says goes to `events`.
    pub fn spawn<M, E>(
        arguments: &[&str],
        events: Sender<E>,
        wrap: impl Fn(Heard<M>) -> E + Send + 'static,
    ) -> Result<Self>
    where
        M: DeserializeOwned,
        E: Send + 'static,
    {
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let mut process = std::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start `{}`", arguments.join(" ")))?;
        let stdout = process.stdout.take().context("stdout was not piped")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let heard = match serde_json::from_str(&line) {
                    Ok(message) => Heard::Message(message),
                    Err(_) => Heard::Garbage(line),
                };
                if events.send(wrap(heard)).is_err() {
                    return;
                }
            }
            // Nobody listens any more when the conductor gave up first.
            let _ = events.send(wrap(Heard::Closed));
        });
        Ok(Self { process })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Gives the child a command. A child that is dead by now cannot hear it; its end is reported
    /// by itself.
    pub fn tell(&mut self, command: Command) -> Result<()> {
        let line = serde_json::to_string(&command)?;
        if let Some(stdin) = &mut self.process.stdin {
            let _ = writeln!(stdin, "{line}");
        }
        Ok(())
    }

    /// Gives the child bytes that it reads before its commands.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.process.stdin {
            // A child that died before it had them all is reported by its end.
            let _ = stdin.write_all(bytes);
        }
    }

    /// Waits for the end of a child whose output is closed.
    pub fn end(&mut self) -> Result<ExitStatus> {
        self.process.wait().context("could not wait for a child")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes the next event of any child, or none for a moment that ends before `until`.
pub fn next_event<E>(
    events: &Receiver<E>,
    until: Instant,
    interrupted: &AtomicBool,
) -> Result<Option<E>> {
    if interrupted.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    let moment = Duration::from_millis(50).min(until.saturating_duration_since(Instant::now()));
    match events.recv_timeout(moment) {
        Ok(event) => Ok(Some(event)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => bail!("nobody is left to listen to"),
    }
}
