//! Processes of a test's own: this program again, told by its environment what to do.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

const ROLE: &str = "SHM_CUDA_TEST_ROLE";
const ARGUMENT: &str = "SHM_CUDA_TEST_ARGUMENT";

/// A process that runs one test of this program in some role. Killed when dropped.
pub struct Peer {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Runs the test `child`.
    pub fn new(role: &str, argument: &str) -> Peer {
        Peer::with(role, argument, &[])
    }

    /// Runs the test `child`, with more in its environment.
    pub fn with(role: &str, argument: &str, environment: &[(&str, &str)]) -> Peer {
        Peer::playing("child", role, argument, environment)
    }

    /// Runs the test of that name.
    pub fn playing(test: &str, role: &str, argument: &str, environment: &[(&str, &str)]) -> Peer {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        Peer { process, input, output }
    }

    /// The next thing that it says.
    pub fn hear(&mut self) -> String {
        self.try_hear().unwrap_or_else(|| panic!("the peer has ended: {:?}", self.process.wait()))
    }

    /// The next thing that it says; `None` once it has ended.
    pub fn try_hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The harness says things too, on the same line at first.
            if let Some((_, said)) = line.split_once("SAY ") {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Lets it go on. One that was killed does not listen, which the test finds out otherwise.
    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        let _ = writeln!(input, "{line}").and_then(|()| input.flush());
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Tells it no more, and waits for its end; what it said last can still be heard.
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.input.take());
        self.process.wait().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        remove_segments_of(self.process.id());
    }
}

/// What a process that was killed could not put away; names of the tests carry their process.
fn remove_segments_of(process: u32) {
    let mark = format!("-{process}-");
    for segment in shm_core::list("").into_iter().flatten().filter(|one| one.name.contains(&mark)) {
        // What somebody still uses is theirs to put away.
        let _ = shm_core::unlink_unused(&segment.name);
    }
}

/// What a child is to do; `None` in the program itself.
pub fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// In a child: tells the test.
pub fn say(line: &str) {
    println!("SAY {line}");
    std::io::stdout().flush().unwrap();
}

/// In a child: waits until the test says something, and gives that back. Ends with the test.
pub fn hear() -> String {
    listen().unwrap_or_else(|| std::process::exit(0))
}

/// In a child: the next thing that the test says; `None` once it says no more.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    (std::io::stdin().read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
}

/// Bytes as words of a role.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] made of them.
pub fn unhex(text: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(digit).collect()
}
