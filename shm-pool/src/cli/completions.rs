//! `shm completions`: what a shell needs to complete this command line.

use super::arguments::{Arguments, CompletionsArgs};
use super::exit::{Exit, Failure};
use super::output::Output;
use clap::CommandFactory;
use serde::Serialize;

pub(crate) fn run(args: &CompletionsArgs, output: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "shm", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let shell = args.shell.to_string();
    output.result(&Completions { shell, script: &script }, || script.clone())?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Completions<'a> {
    shell: String,
    script: &'a str,
}
