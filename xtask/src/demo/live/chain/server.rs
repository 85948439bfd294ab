//! The inference server's process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;
use crate::serve::SERVER;

/// A running server. It ends when its standard input is closed, and so when this process dies.
pub struct Server {
    process: Child,
    stdin: Option<ChildStdin>,
    kind: Kind,
    http: String,
}

/// Which server it is.
enum Kind {
    Embedded,
    Real,
}

/// Reading the model takes a quarter of a second, starting a real server some seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Its own patience with running requests is shorter; a real server also ends its models' processes.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

impl Server {
    /// Starts the embedded server and waits until it serves.
    pub fn embedded(zoo: &Path, detector: &Path) -> Result<Self> {
        let mut command = Command::new(zoo.join(SERVER));
        command.arg("--detector").arg(detector).arg("--until-stdin-closes");
        Self::start(&mut command, Kind::Embedded)
    }

    /// Starts a real Triton server, by the program that does so, and waits until it serves.
    pub fn real(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        // Longer than any demo.
        command.args(["--python", "--seconds", "7200", "--until-stdin-closes"]);
        Self::start(&mut command, Kind::Real)
    }

    fn start(command: &mut Command, kind: Kind) -> Result<Self> {
        let mut process = spawn(command.stdin(Stdio::piped()))?;
        let stdin = process.stdin.take();
        Self { process, stdin, kind, http: String::new() }.ready()
    }

    fn ready(mut self) -> Result<Self> {
        let stdout = self.process.stdout.take().context("stdout was not piped")?;
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let line = BufReader::new(stdout).lines().next();
            // Nobody listens any more when it took too long.
            let _ = sender.send(line);
        });
        let line = match line.recv_timeout(READY_WITHIN) {
            Ok(Some(line)) => line.context("the server cannot be listened to")?,
            Ok(None) => bail!("the server ended before it served; what it said is above"),
            Err(_) => bail!("the server did not serve within {} s", READY_WITHIN.as_secs()),
        };
        self.http = http_address(&line)
            .with_context(|| format!("the server printed no address: {line}"))?
            .to_owned();
        Ok(self)
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Embedded => "embedded inference server",
            Kind::Real => "Triton server of",
        }
    }

    /// Where it speaks HTTP.
    pub fn http(&self) -> &str {
        &self.http
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Has it end; true if it ran until then, and ended as it should.
    pub fn end(mut self) -> Result<bool> {
        let ended = self.process.try_wait().context("could not wait for the server")?;
        self.stdin = None;
        Ok(ended.is_none() && self.wait()?.success())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + ENDS_WITHIN;
        while Instant::now() < until {
            if let Some(status) =
                self.process.try_wait().context("could not wait for the server")?
            {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the server did not end within {} s", ENDS_WITHIN.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Told first, so that it can put away what it has; then made sure of.
        self.stdin = None;
        let _ = self.wait();
        // Both fail only for a process that has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`", process::describe(command)))
}

/// The address in `ready http=ADDRESS grpc=ADDRESS pid=PID`.
fn http_address(line: &str) -> Option<&str> {
    line.strip_prefix("ready ")?.split(' ').find_map(|word| word.strip_prefix("http="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_line_that_says_ready() {
        let line = "ready http=127.0.0.1:8000 grpc=127.0.0.1:8001 pid=7";
        assert_eq!(http_address(line), Some("127.0.0.1:8000"));
        assert_eq!(http_address("error http=1"), None);
        assert_eq!(http_address("ready grpc=127.0.0.1:8001"), None);
    }
}
