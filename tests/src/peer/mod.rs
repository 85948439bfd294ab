//! A child process that does what a test tells it, and can be killed, stopped and looked at.

mod actor;
mod lines;
mod serve;

pub use serve::serve;

use crate::failure::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// No answer for this long is a hang.
const BOUND: Duration = Duration::from_secs(90);

/// One child process and the conversation with it: one line there, one line back.
///
/// It belongs to the thread that started it: the kernel kills it when that thread ends. Dropping it
/// kills and reaps it. A process that the child forked ends when the conversation does.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
    pending: Vec<u8>,
    command: String,
}

impl Peer {
    pub(crate) fn spawn(change: impl FnOnce(&mut Command)) -> std::io::Result<Peer> {
        let mut command = program()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let parent = rustix::process::getpid();
        // SAFETY: two system calls, nothing that a child between fork and exec may not do.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                match rustix::process::getppid() == Some(parent) {
                    true => Ok(()),
                    false => Err(std::io::ErrorKind::BrokenPipe.into()),
                }
            });
        }
        change(&mut command);
        let mut child = command.spawn()?;
        let from = child.stdout.take().expect("standard output was asked for");
        let to = child.stdin.take();
        Ok(Peer { child, to, from, pending: Vec::new(), command: String::new() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and waits for the answer, without the word `ok`.
    ///
    /// # Errors
    /// [`Failure`] if the answer is another one, or none.
    pub fn ask(&mut self, command: &str) -> Result<String, Failure> {
        self.send(command);
        self.receive()
    }

    /// Sends a command without waiting. That the peer is dead already shows at the next answer.
    pub fn send(&mut self, command: &str) {
        self.command = command.to_owned();
        if let Some(to) = &mut self.to {
            let _ = to.write_all(format!("{command}\n").as_bytes());
        }
    }

    /// Waits for the next answer, without the word `ok`.
    ///
    /// # Errors
    /// As for [`Peer::ask`].
    pub fn receive(&mut self) -> Result<String, Failure> {
        let (pid, command) = (self.pid(), self.command.clone());
        let line = self.line()?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", answer) => Ok(answer.to_owned()),
            ("torn", what) => Err(Failure::Torn(what.to_owned())),
            (_, answer) => Err(Failure::Refused { pid, command, answer: answer.to_owned() }),
        }
    }

    /// The error that the peer answers with.
    ///
    /// # Panics
    /// If it answers with anything else.
    pub fn refusal(&mut self, command: &str) -> String {
        match self.ask(command) {
            Err(Failure::Refused { answer, .. }) => answer,
            other => panic!("'{command}' should have been refused: {other:?}"),
        }
    }

    /// Begins a command that goes on until [`Peer::finish`].
    ///
    /// # Errors
    /// As for [`Peer::ask`].
    pub fn start(&mut self, command: &str) -> Result<(), Failure> {
        match self.ask(command)?.as_str() {
            "started" => Ok(()),
            other => Err(Failure::Unexpected(format!("'{command}' answered '{other}'"))),
        }
    }

    /// Ends what [`Peer::start`] began; returns its result.
    ///
    /// # Errors
    /// As for [`Peer::ask`].
    pub fn finish(&mut self) -> Result<String, Failure> {
        self.ask("stop")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // Fails only for a child that was reaped, and `Child` would know.
        let _ = rustix::process::kill_process(self.raw(), signal);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGKILL, and waits until it is dead, but leaves the zombie.
    pub fn kill_unreaped(&mut self) {
        self.signal(Signal::KILL);
        self.await_change(WaitIdOptions::EXITED);
    }

    /// Waits for it to end by itself; returns the signal that ended it.
    pub fn ended_by(&mut self) -> Option<i32> {
        self.child.wait().ok().and_then(|status| status.signal())
    }

    /// Waits until it is stopped.
    pub fn await_stop(&mut self) {
        self.await_change(WaitIdOptions::STOPPED | WaitIdOptions::EXITED);
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let state = status.ok().and_then(|text| {
            text[text.rfind(')')? + 1..].split_ascii_whitespace().next().map(str::to_owned)
        });
        assert_eq!(state.as_deref(), Some("T"), "the peer ended instead of stopping");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it sleeps on a futex. Where the system does not tell, for 50 ms.
    pub fn await_parked(&self) {
        let path = format!("/proc/{}/syscall", self.pid());
        let futex = libc::SYS_futex.to_string();
        for _ in 0..50_000 {
            let Ok(text) = std::fs::read_to_string(&path) else { break };
            if text.split_ascii_whitespace().next() == Some(&futex) {
                return;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(Duration::from_millis(50));
    }

    fn await_change(&self, what: WaitIdOptions) {
        let options = what | WaitIdOptions::NOWAIT;
        while let Err(errno) = rustix::process::waitid(WaitId::Pid(self.raw()), options) {
            assert_eq!(errno, rustix::io::Errno::INTR, "own child");
        }
    }

    fn raw(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn line(&mut self) -> Result<String, Failure> {
        let (pid, command) = (self.pid(), self.command.clone());
        let bound = Timespec { tv_sec: BOUND.as_secs() as i64, tv_nsec: 0 };
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut fds = [PollFd::new(&self.from, PollFlags::IN)];
            match poll(&mut fds, Some(&bound)) {
                Ok(0) => return Err(Failure::Silent { pid, command, waited: BOUND }),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Failure::Io(errno.into())),
            }
            let mut some = [0; 512];
            match self.from.read(&mut some)? {
                0 => return Err(Failure::Gone { pid, command }),
                read => self.pending.extend_from_slice(&some[..read]),
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.to = None;
        self.kill();
    }
}

/// The program that serves: the one that cargo built beside the tests, or this very program.
fn program() -> std::io::Result<Command> {
    let own = std::env::current_exe()?;
    if own.file_stem().is_some_and(|stem| stem == "shm-crash") {
        let mut command = Command::new(own);
        command.arg("peer");
        return Ok(command);
    }
    let folders = own.ancestors().skip(1).take(2);
    let found: Option<PathBuf> =
        folders.map(|folder| folder.join("shm-test-peer")).find(|path| path.is_file());
    found.map(Command::new).ok_or_else(|| {
        let message = format!(
            "no shm-test-peer beside {}: run the tests through cargo, which builds it",
            own.display()
        );
        std::io::Error::new(std::io::ErrorKind::NotFound, message)
    })
}
