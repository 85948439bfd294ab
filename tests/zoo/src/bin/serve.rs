//! The embedded inference server with every model, as a process of its own.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use shm_triton::server::{Server, ServerBuilder};

/// Serves every model until it is interrupted.
#[derive(Debug, Parser)]
#[command(name = "shm-zoo-serve")]
struct Flags {
    /// Serve HTTP at this port of this machine; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    http_port: u16,
    /// Serve gRPC at this port of this machine; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    grpc_port: u16,
    /// Serve HTTP at this Unix socket too
    #[arg(long, value_name = "SOCKET")]
    http_unix: Option<PathBuf>,
    /// Serve gRPC at this Unix socket too
    #[arg(long, value_name = "SOCKET")]
    grpc_unix: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// End when standard input is closed, so when who started it ends
    #[arg(long)]
    until_stdin_closes: bool,
    /// Also serve the model `detector`, from this ONNX file
    #[cfg(feature = "onnx")]
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
}

/// How long running requests may take when the server ends.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match serve(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &Flags) -> Result<()> {
    let (ends, ended) = mpsc::channel();
    // Before the server starts, so that no signal finds it unprepared.
    let on_signal = ends.clone();
    ctrlc::set_handler(move || tell(&on_signal)).context("signals cannot be caught")?;
    if flags.until_stdin_closes {
        let on_close = ends.clone();
        std::thread::spawn(move || {
            wait_for_the_end(std::io::stdin().lock());
            tell(&on_close);
        });
    }
    let mut server = builder(flags)?.start().context("the server did not start")?;
    let http = server.http_addr().context("the server has no HTTP address")?;
    let grpc = server.grpc_addr().context("the server has no gRPC address")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready http={http} grpc={grpc} pid={}", std::process::id())
        .and_then(|()| stdout.flush())
        .context("nobody reads standard output")?;
    drop(stdout);
    match flags.seconds {
        // The sender lives as long as this function, so it is time that ran out.
        Some(seconds) => match ended.recv_timeout(Duration::from_secs(seconds)) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        },
        None => ended.recv().context("nobody can end this server")?,
    }
    drop(ends);
    server.shutdown(PATIENCE).context("the server did not end in good order")
}

fn builder(flags: &Flags) -> Result<ServerBuilder> {
    let mut builder = Server::builder()
        .http(format!("127.0.0.1:{}", flags.http_port))
        .grpc(format!("127.0.0.1:{}", flags.grpc_port));
    if let Some(socket) = &flags.http_unix {
        builder = builder.http_unix(socket);
    }
    if let Some(socket) = &flags.grpc_unix {
        builder = builder.grpc_unix(socket);
    }
    for model in shm_zoo::all() {
        builder = builder.model(model);
    }
    #[cfg(feature = "onnx")]
    if let Some(file) = &flags.detector {
        builder = builder.model(shm_zoo::Detector::load(file)?);
    }
    Ok(builder)
}

/// Nobody listens any more when another reason to end came first.
fn tell(ends: &Sender<()>) {
    let _ = ends.send(());
}

fn wait_for_the_end(mut stream: impl Read) {
    let mut ignored = [0; 256];
    // An error means that no more will come, just as the end does.
    while stream.read(&mut ignored).is_ok_and(|length| length > 0) {}
}
