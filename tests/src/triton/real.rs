//! A real Triton server, as a process of its own.
//!
//! `cargo xtask triton fetch` puts it, its native backend and its models into one folder, see
//! [`Folder`]. Where that was never done, [`RealServer::start`] says so and gives none.
//!
//! ```no_run
//! use shm_tests::triton::real::{Options, RealServer};
//! let Some(mut server) = RealServer::start(&Options::default()).unwrap() else { return };
//! println!("{} {} {}", server.http_addr, server.grpc_addr, server.pid);
//! server.kill().unwrap();
//! server.restart().unwrap();
//! ```

mod folder;
mod health;
mod log;
mod ports;
mod regions;
#[cfg(test)]
mod tests;

pub use folder::Folder;

use super::keeper::Keeper;
use crate::Failure;
use core::sync::atomic::{AtomicU64, Ordering};
use log::Log;
use regions::Regions;
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Which server to start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Also the models of the Python backend: copies of the native ones, and the text detector.
    pub python: bool,
    /// The port for HTTP; a free one if not given.
    pub http_port: Option<u16>,
    /// The port for gRPC; a free one if not given.
    pub grpc_port: Option<u16>,
    /// HTTP by this Unix socket in place of a port.
    pub http_unix: Option<PathBuf>,
    /// Further flags of the server's own.
    pub flags: Vec<String>,
}

/// A server that runs until this is dropped. It listens on the loopback interface only and never
/// outlives the process that started it.
#[derive(Debug)]
pub struct RealServer {
    /// Where it speaks HTTP: `127.0.0.1:PORT`, or `unix:PATH`.
    pub http_addr: String,
    /// Where it speaks gRPC: `127.0.0.1:PORT`.
    pub grpc_addr: String,
    /// Its process id; another one after [`RealServer::restart`].
    pub pid: u32,
    folder: Folder,
    options: Options,
    log: Log,
    regions: Regions,
    keeper: Keeper,
}

impl RealServer {
    /// Starts a server and waits until it is ready; none where it was never fetched, which is
    /// printed. With `SHM_REQUIRE_TRITON=1` in the environment that is an error.
    pub fn start(options: &Options) -> Result<Option<RealServer>, Failure> {
        let folder = Folder::of_workspace();
        if let Some(why) = folder.missing(options.python) {
            if std::env::var_os("SHM_REQUIRE_TRITON").is_some_and(|value| value == "1") {
                return Err(Failure::Unexpected(why));
            }
            println!("SKIPPED: {why}");
            return Ok(None);
        }
        Regions::remove_those_of_the_dead()?;
        let chosen = options.http_port.is_some() && options.grpc_port.is_some();
        let mut tries = if chosen { 1 } else { TRIES };
        loop {
            tries -= 1;
            match Self::start_once(&folder, options) {
                // Somebody else may have taken a port between our look and the server's.
                Err(_) if tries > 0 => {}
                result => return result.map(Some),
            }
        }
    }

    /// Starts it again, with the same ports and the same options; what runs is killed first.
    pub fn restart(&mut self) -> Result<(), Failure> {
        self.kill()?;
        let RealServer { folder, options, http_addr, grpc_addr, regions, .. } = &*self;
        let log = Log::new()?;
        let launch = command(folder, options, http_addr, grpc_addr, regions, &log)?;
        self.keeper = Keeper::start(launch)?;
        self.log = log;
        self.pid = self.keeper.pid();
        self.await_ready()
    }

    /// Kills it and waits for its end. Nothing of it is told to anybody.
    pub fn kill(&self) -> Result<(), Failure> {
        self.keeper.kill()?;
        self.regions.remove()?;
        Ok(())
    }

    /// Stops it: it stays alive and answers nothing.
    pub fn stop(&self) -> Result<(), Failure> {
        Ok(self.keeper.signal(Signal::STOP)?)
    }

    /// Lets it go on after [`RealServer::stop`].
    pub fn cont(&self) -> Result<(), Failure> {
        Ok(self.keeper.signal(Signal::CONT)?)
    }

    /// Whether its process runs; a stopped one does.
    pub fn is_alive(&self) -> bool {
        self.keeper.is_alive()
    }

    /// What it has printed since it was started last.
    pub fn printed(&self) -> String {
        self.log.text()
    }

    fn start_once(folder: &Folder, options: &Options) -> Result<RealServer, Failure> {
        static SERVERS: AtomicU64 = AtomicU64::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let [http, grpc] = ports::free([options.http_port, options.grpc_port])?;
        let http_addr = match &options.http_unix {
            Some(path) => format!("unix:{}", path.display()),
            None => format!("{LOOPBACK}:{http}"),
        };
        let log = Log::new()?;
        let grpc_addr = format!("{LOOPBACK}:{grpc}");
        let regions = Regions::of_server(number);
        let launch = command(folder, options, &http_addr, &grpc_addr, &regions, &log)?;
        let keeper = Keeper::start(launch)?;
        let server = RealServer {
            http_addr,
            grpc_addr,
            pid: keeper.pid(),
            folder: folder.clone(),
            options: options.clone(),
            log,
            regions,
            keeper,
        };
        server.await_ready()?;
        Ok(server)
    }

    fn await_ready(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        // A server whose port is another's is not ready when the other one answers there, so it
        // has to say itself that it listens.
        while !(self.printed().contains("Started HTTPService") && health::ready(&self.http_addr)) {
            let why = if !self.is_alive() {
                "ended while it started"
            } else if begun.elapsed() > READY_WITHIN {
                "did not get ready"
            } else {
                thread::sleep(POLL);
                continue;
            };
            let printed = self.printed();
            let lines: Vec<&str> = printed.lines().collect();
            let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            return Err(Failure::Unexpected(format!("the server {why}; it printed:\n{last}")));
        }
        Ok(())
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let ended = self.kill();
        if let Some(path) = &self.options.http_unix {
            let _ = fs::remove_file(path);
        }
        if !thread::panicking() {
            ended.expect("a server of ours can be killed");
        }
    }
}

const LOOPBACK: &str = "127.0.0.1";
const TRIES: u32 = 5;
/// Far above what it takes on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(25);
const SHOWN_LINES: usize = 15;

/// The server with an environment of its own: what a person has set must not change a test.
fn command(
    folder: &Folder,
    options: &Options,
    http_addr: &str,
    grpc_addr: &str,
    regions: &Regions,
    log: &Log,
) -> Result<Command, Failure> {
    let mut command = Command::new(folder.server());
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.arg(flag("model-repository", folder.models().display()));
    command.arg(flag("backend-directory", folder.backends().display()));
    if options.python {
        let programs = folder.python().join("bin");
        // The interpreter inside the backend looks for its packages beside the first python there.
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        command.env("LD_LIBRARY_PATH", folder.python_library());
        command.arg(flag("model-repository", folder.python_models().display()));
        command.arg(flag("backend-config", regions.setting()));
    }
    match http_addr.rsplit_once(':') {
        Some((host, port)) if options.http_unix.is_none() => {
            command.arg(flag("http-address", host)).arg(flag("http-port", port));
        }
        _ => {
            command.arg(flag("http-address", http_addr));
        }
    }
    let (host, port) = grpc_addr.rsplit_once(':').unwrap_or((LOOPBACK, grpc_addr));
    command.arg(flag("grpc-address", host)).arg(flag("grpc-port", port));
    command.args(["--allow-metrics=false", "--exit-timeout-secs=3"]).args(&options.flags);
    command.stdout(log.to_write()?).stderr(log.to_write()?);
    Ok(command)
}

fn flag(name: &str, value: impl core::fmt::Display) -> String {
    format!("--{name}={value}")
}
