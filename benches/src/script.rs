//! A script in an interpreter of its own, which measures in Python as it is told.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A running script: orders and answers are JSON, a line each. It ends with its orders.
#[derive(Debug)]
pub struct Script {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Script {
    /// Starts a script of this package, named by its path in it.
    pub fn start(python: &Path, script: &str, arguments: &[&OsStr]) -> Result<Script> {
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args(arguments)
            .env_remove("PYTHONPATH")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", python.display()))?;
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().context("the script has no output")?);
        Ok(Script { process, orders, answers })
    }

    /// Gives an order and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        let orders = self.orders.as_mut().context("the script has no input")?;
        let line = serde_json::to_string(order).context("the order is not JSON")?;
        writeln!(orders, "{line}").and_then(|()| orders.flush()).context("the script has ended")?;
        self.answer()
    }

    /// Waits for what it says next.
    pub fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("could not hear the script")?;
        ensure!(!line.is_empty(), "the script ended without a word; its message stands above");
        serde_json::from_str(&line).with_context(|| format!("the script said `{}`", line.trim()))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Without orders it ends by itself, and whatever it started with it.
        self.orders = None;
        let _ = self.process.wait();
    }
}
