//! `cargo xtask triton`: a real Triton server for tests and benches, without a container.
//!
//! Everything lies in `target/triton-server` below the workspace root, wherever cargo builds: the
//! suites find it there, and it is fetched once. Each part is fetched, checked against its pin and
//! unpacked; where that was done before it is only looked at.

mod backend;
pub mod detector;
mod load_generator;
mod models;
mod python_models;
mod run;
mod server;
mod wheel;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::flags::{TritonArgs, TritonFetchArgs, TritonTask};
use crate::workspace::Workspace;

/// Fetches the server or runs it.
pub fn task(workspace: &Workspace, args: &TritonArgs) -> Result<ExitCode> {
    match &args.task {
        TritonTask::Fetch(args) => fetch(workspace, args),
        TritonTask::Run(args) => run::task(workspace, args),
    }
}

/// How a part went.
pub enum Fetched {
    /// What there is now.
    Ready(String),
    /// Why there is none.
    Skipped(String),
}

/// A part: what it is, and what makes sure that it is there.
pub type Part = (&'static str, fn(&Workspace) -> Result<Fetched>);

/// All parts, each after those that it needs.
pub const PARTS: [Part; 4] = [SERVER, DETECTOR, PYTHON_MODELS, LOAD_GENERATOR];

const SERVER: Part = ("the real Triton server", server::ensure);
const DETECTOR: Part = ("the text detector", detector::ensure);
const PYTHON_MODELS: Part = ("models of Triton's Python backend", python_models::ensure);
const LOAD_GENERATOR: Part = ("perf_analyzer", load_generator::ensure);

fn fetch(workspace: &Workspace, args: &TritonFetchArgs) -> Result<ExitCode> {
    let wanted = [
        Some(SERVER),
        Some(DETECTOR),
        args.python.then_some(PYTHON_MODELS),
        args.perf_analyzer.then_some(LOAD_GENERATOR),
    ];
    let mut code = ExitCode::SUCCESS;
    for (what, ensure) in wanted.into_iter().flatten() {
        match ensure(workspace)? {
            Fetched::Ready(text) => println!("ok       {text}"),
            Fetched::Skipped(why) => {
                println!("SKIPPED: {what}: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Where everything lies. It does not move with `CARGO_TARGET_DIR`.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target").join("triton-server")
}

/// Beside what was fetched, says by which pin.
const STAMP: &str = "fetched-by-xtask.txt";
