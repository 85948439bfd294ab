//! The embedded server with every test model, as a process of its own.

use super::keeper::Keeper;
use crate::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::io::{PipeReader, Read, pipe};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Which server to start.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedOptions {
    /// Whether clients may register shared memory.
    pub client_shared_memory: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> EmbeddedOptions {
        EmbeddedOptions { client_shared_memory: true }
    }
}

/// A server that runs until this is dropped, and never outlives the process that started it.
#[derive(Debug)]
pub struct EmbeddedServer {
    /// Where it speaks HTTP: `127.0.0.1:PORT`.
    pub http_addr: String,
    /// Where it speaks gRPC: `127.0.0.1:PORT`.
    pub grpc_addr: String,
    /// Its process id; another one after [`EmbeddedServer::restart`].
    pub pid: u32,
    options: EmbeddedOptions,
    keeper: Keeper,
}

impl EmbeddedServer {
    /// Starts a server, which listens when this returns.
    ///
    /// # Errors
    /// [`Failure`] if it does not.
    pub fn start(options: EmbeddedOptions) -> Result<EmbeddedServer, Failure> {
        let any = format!("{LOOPBACK}:0");
        let (keeper, http_addr, grpc_addr) = launch(&any, &any, options)?;
        Ok(EmbeddedServer { http_addr, grpc_addr, pid: keeper.pid(), options, keeper })
    }

    /// Starts it again, with the same ports; what runs is killed first.
    ///
    /// # Errors
    /// As for [`EmbeddedServer::start`].
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill()?;
        let (keeper, ..) = launch(&self.http_addr, &self.grpc_addr, self.options)?;
        self.pid = keeper.pid();
        self.keeper = keeper;
        Ok(())
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn kill(&self) -> Result<(), Failure> {
        Ok(self.keeper.kill()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`Failure::Io`] if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(self.keeper.signal(signal)?)
    }

    /// Whether its process runs; a stopped one does.
    pub fn is_alive(&self) -> bool {
        self.keeper.is_alive()
    }
}

const LOOPBACK: &str = "127.0.0.1";
/// Far above what it takes on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

fn launch(
    http: &str,
    grpc: &str,
    options: EmbeddedOptions,
) -> Result<(Keeper, String, String), Failure> {
    let (said, says) = pipe()?;
    let mut command = Command::new(program()?);
    command.args(["--http", http, "--grpc", grpc]).stdout(says);
    if !options.client_shared_memory {
        command.arg("--no-client-shared-memory");
    }
    let keeper = Keeper::start(command)?;
    let line = first_line(said, &keeper)?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["ready", http, grpc] => Ok((keeper, http.to_owned(), grpc.to_owned())),
        _ => Err(Failure::Unexpected(format!("the embedded server said '{line}'"))),
    }
}

/// The keeper holds the other end of the pipe too, so its end is not told by the pipe.
fn first_line(mut said: PipeReader, keeper: &Keeper) -> Result<String, Failure> {
    let begun = Instant::now();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let readable = poll(&mut [PollFd::new(&said, PollFlags::IN)], Some(&POLL));
        if matches!(readable, Ok(1)) {
            let mut byte = [0];
            said.read_exact(&mut byte)?;
            line.extend(byte);
        } else if !keeper.is_alive() || begun.elapsed() > READY_WITHIN {
            return Err(Failure::Unexpected("the embedded server did not start".to_owned()));
        }
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The program that cargo built beside the tests.
fn program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("shm-test-triton")).find(|path| path.is_file());
    found.ok_or_else(|| {
        let message = format!(
            "no shm-test-triton beside {}: run the tests through cargo, which builds it",
            own.display()
        );
        std::io::Error::new(std::io::ErrorKind::NotFound, message)
    })
}
