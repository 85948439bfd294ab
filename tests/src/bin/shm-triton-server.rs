//! Runs a real Triton server for a while; `cargo xtask triton run` starts this.

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal};
use shm_tests::triton::real::{Options, RealServer};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Starts the server, prints one line when it is ready, and kills it when its time is over or when
/// the parent of this process ends.
#[derive(Debug, Parser)]
#[command(name = "shm-triton-server")]
struct Arguments {
    /// The port for HTTP; a free one if not given.
    #[arg(long)]
    http_port: Option<u16>,
    /// The port for gRPC; a free one if not given.
    #[arg(long)]
    grpc_port: Option<u16>,
    /// HTTP by this Unix socket in place of a port.
    #[arg(long)]
    http_unix: Option<PathBuf>,
    /// How long it runs at most.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Also the models of the Python backend.
    #[arg(long)]
    python: bool,
    /// End in good order when standard input is closed, so when who started it ends.
    #[arg(long)]
    until_stdin_closes: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("error: this process would outlive its parent: {error}");
        return ExitCode::FAILURE;
    }
    let options = Options {
        python: arguments.python,
        http_port: arguments.http_port,
        grpc_port: arguments.grpc_port,
        http_unix: arguments.http_unix,
        flags: Vec::new(),
    };
    let server = match RealServer::start(&options) {
        Ok(Some(server)) => server,
        Ok(None) => return ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("ready http={} grpc={} pid={}", server.http_addr, server.grpc_addr, server.pid);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let closed = arguments.until_stdin_closes.then(|| thread::spawn(wait_for_the_end_of_stdin));
    while Instant::now() < end && !closed.as_ref().is_some_and(JoinHandle::is_finished) {
        if !server.is_alive() {
            eprintln!("error: the server has ended; the last that it printed:");
            eprintln!("{}", server.printed().lines().last().unwrap_or_default());
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(100));
    }
    ExitCode::SUCCESS
}

fn wait_for_the_end_of_stdin() {
    let mut ignored = [0; 256];
    // An error means that no more will come, just as the end does.
    while std::io::stdin().read(&mut ignored).is_ok_and(|length| length > 0) {}
}
