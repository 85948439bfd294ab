//! The command line: `shm ls`, `stat`, `watch`, `top`, `view`, `record`, `replay`, `gc`, `fsck`, `bench`.
//!
//! Segments describe themselves, so one program shows what any process of this user made with any crate
//! of the family, in Rust or in Python, on the host or on a device.
//!
//! ```text
//!              attached for a look at most     attached as a reader           changes something
//!               ┌──────────────────────┐   ┌───────────────────────────┐   ┌──────────────────────┐
//!   segments ──▶│ ls   stat   top      │   │ watch   view   record     │   │ gc   replay          │
//!   of a user   │ fsck                 │   │                           │   │ fsck --repair        │
//!               └──────────────────────┘   └───────────────────────────┘   └──────────────────────┘
//! ```
//!
//! Every command knows `--json`: one document, or one object per line where it goes on until it is ended.
//! Failures go to standard error, in JSON too if asked for, and the exit code says what kind it was
//! ([`Exit`]).
//!
//! Upholds invariants 4 (who only looks is a reader), 8 and 9 through the library. This module prints: it
//! is a program, and is compiled only with the feature `cli`.

mod arguments;
mod bench;
mod completions;
mod exit;
mod fsck;
mod gc;
mod ls;
mod man;
mod output;
mod rates;
mod record;
mod recording;
mod replay;
mod stat;
mod subject;
mod top;
mod view;
mod watch;

pub use arguments::{Arguments, Command};
pub use exit::{Exit, Failure};

use clap::Parser;
use std::ffi::OsString;

/// Runs one command line, the program's name first, and returns its exit code.
///
/// Prints to standard output and standard error. It hears Ctrl-C where it goes on until ended.
pub fn run<I, T>(arguments: I) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    run_as(arguments, std::env::current_exe().into_iter().map(OsString::from).collect())
}

/// As [`run`], for a program that is started by more than the path of its file: `relaunch` is the command
/// line that starts it again, to which the arguments are added. `bench` measures between two processes of
/// this program; with nothing in `relaunch` it fails, and everything else works.
pub fn run_as<I, T>(arguments: I, relaunch: Vec<OsString>) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    if let [_, first, rest @ ..] = arguments.as_slice()
        && first == bench::HIDDEN
    {
        return bench::play(rest);
    }
    let wants_json = arguments.iter().any(|word| word == "--json");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(told) => return told_by_clap(&told, wants_json) as u8,
    };
    let output = output::Output::new(&arguments);
    match dispatch(&arguments.command, &output, &relaunch) {
        Ok(exit) => exit as u8,
        Err(failure) => output.failed(&failure) as u8,
    }
}

/// What is wrong with the command line; help and version come this way too, which are no failures.
fn told_by_clap(told: &clap::Error, wants_json: bool) -> Exit {
    if !told.use_stderr() {
        let _ = told.print();
        return Exit::Done;
    }
    if wants_json {
        let text = told.to_string();
        let message = text.trim().trim_start_matches("error: ");
        return output::Output::json().failed(&Failure::new(Exit::Usage, message, ""));
    }
    let _ = told.print();
    Exit::Usage
}

fn dispatch(
    command: &Command,
    output: &output::Output,
    relaunch: &[OsString],
) -> Result<Exit, Failure> {
    match command {
        Command::Ls(args) => ls::run(args, output),
        Command::Stat(args) => stat::run(args, output),
        Command::Watch(args) => watch::run(args, output),
        Command::Top(args) => top::run(args, output),
        Command::View(args) => view::run(args, output),
        Command::Record(args) => record::run(args, output),
        Command::Replay(args) => replay::run(args, output),
        Command::Gc(args) => gc::run(args, output),
        Command::Fsck(args) => fsck::run(args, output),
        Command::Bench(args) => bench::run(args, output, relaunch),
        Command::Completions(args) => completions::run(args, output),
        Command::Man(args) => man::run(args, output),
    }
}
