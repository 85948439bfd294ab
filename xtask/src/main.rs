//! `cargo xtask <task>`: every developer and user task of the workspace.
//!
//! This file only dispatches; `flags` declares the command line and each task has its own module.

mod bench;
mod browser;
mod crash;
mod cuda;
mod demo;
mod deny;
mod docs;
mod elf;
mod flags;
mod fresh;
mod gates;
mod gpu_bundle;
mod interrupt;
mod loom;
mod parity;
mod process;
mod progress;
mod python;
mod serve;
mod setup;
mod test_run;
mod tidy;
mod triton;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use flags::{Flags, Task};
use workspace::Workspace;

fn main() -> ExitCode {
    match dispatch(Flags::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => setup::task(&Workspace::discover()?),
        Task::Test => gates::task(&Workspace::discover()?),
        Task::Ci => {
            let workspace = Workspace::discover()?;
            let root = workspace.root().display();
            println!("`ci` is `test`, run in {root} on {}", workspace::machine());
            gates::task(&workspace)
        }
        Task::Tidy => tidy::task(&Workspace::discover()?),
        Task::Deny => deny::task(&Workspace::discover()?),
        Task::Wheel => python::wheel::task(&Workspace::discover()?),
        Task::Py(args) => python::pytest::task(&Workspace::discover()?, &args),
        Task::Parity(args) => parity::task(&Workspace::discover()?, &args),
        Task::Docs => docs::task(&Workspace::discover()?),
        Task::Loom(args) => loom::task(&Workspace::discover()?, &args),
        Task::Crash(args) => crash::task(&Workspace::discover()?, &args),
        Task::Bench(args) => bench::task(&Workspace::discover()?, &args),
        Task::GpuBundle(args) => gpu_bundle::task(&Workspace::discover()?, &args),
        Task::Triton(args) => triton::task(&Workspace::discover()?, &args),
        Task::Serve(args) => serve::task(&Workspace::discover()?, &args),
        Task::Demo(args) => demo::task(&Workspace::discover()?, &args),
        Task::Fresh(args) => fresh::task(&Workspace::discover()?, &args),
        #[cfg(feature = "demo")]
        Task::DemoInner(args) => demo::live::task(&args),
        #[cfg(feature = "demo")]
        Task::DemoPublisher(args) => demo::live::publisher(&args),
        #[cfg(feature = "demo")]
        Task::DemoViewer(args) => demo::live::viewer(&args),
        #[cfg(feature = "demo")]
        Task::DemoWorker(args) => demo::live::worker(&args),
    }
}
