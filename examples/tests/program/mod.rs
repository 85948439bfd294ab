//! Programs that a test runs: their lines are heard within a deadline, and none outlives its test.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for any machine; only a hang takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Program {
    /// Starts it with these arguments.
    pub fn start(path: &str, arguments: &[&str]) -> Program {
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path} does not start: {error}"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (said, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Program { child, lines, heard: Vec::new() }
    }

    /// The next line that has `part` in it; what comes before is kept as heard.
    pub fn hear(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("'{part}' was never said, only {:#?}", self.heard);
            };
            self.heard.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits until it has ended well, and gives all its lines.
    pub fn finish(mut self) -> Vec<String> {
        let status = self.wait();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.heard.push(line);
        }
        assert!(status.success(), "it ended with {status} after {:#?}", self.heard);
        std::mem::take(&mut self.heard)
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it has a process id"), signal).expect("it runs");
    }

    /// Ends it at whatever it is doing, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let status = self.wait();
        assert!(!status.success(), "it had ended by itself: {:#?}", self.heard);
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end, after {:#?}", self.heard);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name for this test's segments. They are gone when it ends, whatever happened.
pub struct Name(String);

impl Name {
    /// `label` says which test.
    pub fn new(label: &str) -> Name {
        Name(format!("test-examples-{}-{label}", std::process::id()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Segments whose names begin with it.
    pub fn segments(&self) -> Vec<String> {
        shm_core::list(&self.0)
            .expect("segments can be listed")
            .into_iter()
            .map(|s| s.name)
            .collect()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        for left in shm_core::list(&self.0).unwrap_or_default() {
            let _ = shm_core::unlink(&left.name);
        }
    }
}

/// The number before `unit` in a line: 3 in "3 torn" for "torn".
pub fn number(line: &str, unit: &str) -> u64 {
    let words: Vec<&str> =
        line.split([' ', ',', ';', ':']).filter(|word| !word.is_empty()).collect();
    words
        .windows(2)
        .find(|pair| pair[1] == unit)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_else(|| panic!("no number before '{unit}' in: {line}"))
}
