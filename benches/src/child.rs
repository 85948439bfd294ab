//! The other process of a row: this program again, in a role.
//!
//! A child ends with its parent (the kernel kills it), ends by itself after its life, and is killed
//! when the parent drops its handle. It speaks over its standard output, in lines: `ready` when it
//! is set up, and at the end a report in JSON if its role has something to report.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::measure;

/// Longer than any child has work for.
const LIFE: Duration = Duration::from_secs(120);
const READY: &str = "ready";

/// Something that a child can be told to do.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, given the job as JSON.
    pub run: fn(&str) -> Result<()>,
}

/// The orders of a child, as they stand on its command line.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    parent: u32,
    cpu: usize,
    /// The job, itself JSON: only the role knows its form.
    job: String,
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    said: BufReader<ChildStdout>,
    role: &'static str,
}

impl Child {
    /// Starts this program again in a role, on a processor, and waits until it is set up.
    pub fn start(role: &Role, cpu: usize, job: &impl Serialize) -> Result<Child> {
        let orders = Orders {
            parent: std::process::id(),
            cpu,
            job: serde_json::to_string(job).context("the job is not JSON")?,
        };
        let program = std::env::current_exe().context("could not find this program")?;
        let mut process = Command::new(program)
            .args(["--child", role.name, "--orders"])
            .arg(serde_json::to_string(&orders).context("the orders are not JSON")?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start a child as {}", role.name))?;
        let Some(said) = process.stdout.take() else {
            bail!("a child as {} has no output", role.name);
        };
        let mut child = Child { process, said: BufReader::new(said), role: role.name };
        let line = child.line()?;
        if line != READY {
            bail!("the child {} said `{line}` in place of `{READY}`", role.name);
        }
        Ok(child)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, without waiting for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().with_context(|| format!("could not kill the child {}", self.role))
    }

    /// Waits for the child's report and its end.
    pub fn report<T: DeserializeOwned>(mut self) -> Result<T> {
        let line = self.line()?;
        let report = serde_json::from_str(&line)
            .with_context(|| format!("the child {} reported `{line}`", self.role))?;
        self.end()?;
        Ok(report)
    }

    /// Waits for the end of a child that ends by itself.
    pub fn end(mut self) -> Result<()> {
        let status = self
            .process
            .wait()
            .with_context(|| format!("could not wait for the child {}", self.role))?;
        if !status.success() {
            bail!("the child {} ended with {status}; its message stands above", self.role);
        }
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said
            .read_line(&mut line)
            .with_context(|| format!("could not hear the child {}", self.role))?;
        if line.is_empty() {
            bail!("the child {} ended without a word; its message stands above", self.role);
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be dead already; then both fail, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the child: lives as long as its parent and no longer than a child may, then plays its role.
pub fn play(roles: &[Role], role: &str, orders: &str) -> Result<()> {
    let orders: Orders = serde_json::from_str(orders).context("the orders are not understood")?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("could not ask to end with the parent")?;
    // The parent may have died before the kernel was asked.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(orders.parent).ok() {
        bail!("the parent of this child is gone");
    }
    thread::spawn(|| {
        thread::sleep(LIFE);
        eprintln!("a child took longer than {} s and ends", LIFE.as_secs());
        std::process::exit(3);
    });
    measure::pin(orders.cpu)?;
    let Some(found) = roles.iter().find(|known| known.name == role) else {
        bail!("no role is called `{role}`");
    };
    (found.run)(&orders.job)
}

/// In the child: tells the parent that the role is set up.
pub fn ready() -> Result<()> {
    say(READY)
}

/// In the child: tells the parent what came out.
pub fn tell(report: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(report).context("the report is not JSON")?)
}

/// In the child: the job as its role understands it.
pub fn job<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("the job is not understood: {text}"))
}

fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("the parent does not listen")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(parent: u32) -> String {
        serde_json::to_string(&Orders { parent, cpu: 0, job: "3".to_owned() }).unwrap()
    }

    #[test]
    fn a_child_of_a_dead_parent_does_nothing() {
        const NEVER: Role = Role { name: "never", run: |_| unreachable!("it has no parent") };
        let error = play(&[NEVER], "never", &orders(u32::MAX)).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn orders_and_jobs_that_are_not_understood_are_shown() {
        assert!(play(&[], "any", "{").is_err());
        let error = job::<u64>("\"x\"").unwrap_err();
        assert!(error.to_string().contains("\"x\""), "{error}");
        assert_eq!(job::<u64>("3").unwrap(), 3);
    }
}
