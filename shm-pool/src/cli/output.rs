//! What a command prints: text for people, or JSON for programs.

mod table;

pub(crate) use table::{Table, printable};

use super::arguments::Arguments;
use super::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where a command's results go, and in which form.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(arguments: &Arguments) -> Output {
        Output { json: arguments.json }
    }

    /// For failures that come before the command line is known.
    pub(crate) fn json() -> Output {
        Output { json: true }
    }

    /// True if results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// True if a person looks on: progress bars and colours make sense.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.json && io::stdout().is_terminal() && io::stderr().is_terminal()
    }

    /// The one result of a command: a JSON document, or the text.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let line = match self.json {
            true => serde_json::to_string_pretty(value).map_err(|error| unprintable(&error))?,
            false => text(),
        };
        print(&line)
    }

    /// One of many results: a JSON object on a line of its own, or a line of text.
    pub(crate) fn line<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let line = match self.json {
            true => serde_json::to_string(value).map_err(|error| unprintable(&error))?,
            false => text(),
        };
        print(&line)
    }

    /// Tells a failure on standard error and returns the exit code.
    pub(crate) fn failed(&self, failure: &Failure) -> Exit {
        let told = match self.json {
            true => serde_json::to_string(&serde_json::json!({ "error": failure }))
                .unwrap_or_else(|_| failure.to_string()),
            false => format!("error: {failure}"),
        };
        let _ = writeln!(io::stderr(), "{told}");
        failure.exit
    }
}

/// A reader that has gone away (`shm ls | head`) is no failure worth words: the program ends.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::system("write to standard output", &error)),
    }
}

fn unprintable(error: &serde_json::Error) -> Failure {
    Failure::new(Exit::System, format!("could not put the result into JSON: {error}"), "")
}
