//! What the tests stand on: the program, publishers in processes of their own, names that are cleaned up.

use serde_json::Value;
use shm_core::{Deadline, Stream, StreamConfig};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// For what must happen, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(60);
/// Names the stream that this process is to publish in place of running tests.
pub const PUBLISH: &str = "SHM_TEST_CLI_PUBLISH";

/// A name of this test alone; whatever has it at the end is taken away.
pub struct Name(pub String);

impl Name {
    pub fn new(what: &str) -> Name {
        Name(prefixed(what))
    }
}

/// A name, or the beginning of some, that no other run of the tests has.
pub fn prefixed(what: &str) -> String {
    format!("test-cli-live-{}-{what}", std::process::id())
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = shm_core::unlink(&self.0);
    }
}

/// `shm` with these arguments.
pub fn shm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `shm` to its end.
pub fn ran(arguments: &[&str]) -> Output {
    shm(arguments).output().unwrap()
}

/// The JSON objects of standard output, one per line.
pub fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

/// A process that ends with this value, or when it has had its time.
pub struct Running {
    pub child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()));
        Running { child, lines }
    }

    /// Whose output goes elsewhere.
    pub fn in_terminal(command: &mut Command) -> Running {
        Running { child: command.spawn().unwrap(), lines: None }
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let lines = self.lines.as_mut().unwrap();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {:?}", self.errors());
        line
    }

    /// The next JSON object that `wanted` wants.
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let line = self.line();
            let object: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if wanted(&object) {
                return object;
            }
            assert!(begun.elapsed() < SOON, "not that for a minute: {object}");
        }
    }

    /// Its exit code, and what it still printed.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    /// Waits until it ends by itself.
    pub fn ends(&mut self) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < SOON, "it goes on for a minute");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread that publishes frames of 1000 bytes until it is told to stop.
pub struct Publisher {
    is_over: Arc<AtomicBool>,
    published: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub fn begin(name: &str) -> Publisher {
        let stream = Stream::create(name, &StreamConfig::of::<u8>(&[10, 100]).unwrap()).unwrap();
        Publisher::upon(stream)
    }

    pub fn upon(stream: Stream) -> Publisher {
        let (is_over, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (is_over.clone(), published.clone());
        let mut writer = stream.writer(SOON).unwrap();
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // Counted first: who looks in between must not see more than was counted.
                counts.fetch_add(1, Ordering::Relaxed);
                if writer.publish(&[7_u8; 1000]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Publisher { is_over, published, thread: Some(thread) }
    }

    /// Frames that were published, or are just being.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A process that publishes the stream, until it is killed.
pub fn publishing_process(name: &str) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "publisher", "--nocapture"]).env(PUBLISH, name);
    let process = Running::start(&mut command);
    let begun = Instant::now();
    while !shm_core::stat(name).is_ok_and(|found| found.counter("frames") > Some(0)) {
        assert!(begun.elapsed() < SOON, "no frame of '{name}'");
        thread::sleep(Duration::from_millis(10));
    }
    process
}

/// What such a process does: returns only if it is none.
pub fn publish_if_asked() {
    let Ok(name) = std::env::var(PUBLISH) else { return };
    let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[10, 100]).unwrap()).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 4 * SOON {
        writer.publish(&[7_u8; 1000]).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
}
