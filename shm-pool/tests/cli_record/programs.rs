//! Streams, folders and programs that end with their test.

use serde_json::Value;
use shm_core::{Dtype, FrameTag, Holder, Role, Stream, StreamConfig, Writer};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Long enough for any machine; only a hang takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A name that no other test uses.
pub fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("test-cli-record-{}-{number}-{what}", std::process::id())
}

/// Waits until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder that is removed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(unique("files"));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A stream that a test publishes into.
pub struct Published {
    pub name: String,
    pub stream: Stream,
    pub writer: Option<Writer>,
}

impl Published {
    pub fn new(what: &str, dtype: Dtype, shape: &[usize], cells: usize) -> Published {
        let name = unique(what);
        let config = StreamConfig::new(dtype, shape).unwrap().cells(cells).unwrap();
        let stream = config.metadata(b"exposure 7").unwrap().create(&name).unwrap();
        let writer = Some(stream.writer(PATIENCE).unwrap());
        Published { name, stream, writer }
    }

    /// Publishes frame `number`, tagged.
    pub fn publish(&mut self, number: u64) {
        let frame = frame(number, self.stream.desc().byte_len());
        let tag = FrameTag::id(100 + 3 * number).acquired_ns(1_700_000_000_000_000_000 + number);
        self.writer.as_mut().unwrap().publish_bytes(&frame, tag).unwrap();
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let _ = shm_core::unlink(&self.name);
    }
}

/// The bytes of frame `number`.
pub fn frame(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (number * 31 + at * 7 + at / 256) as u8).collect()
}

/// The program under test.
pub fn shm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shm"))
}

/// A program that is killed if its test ends first.
pub struct Running {
    child: Option<Child>,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub errors: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: Some(command.spawn().unwrap()) }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The file that a recording of `target` is in until it is finished.
    pub fn part(&self, target: &Path) -> PathBuf {
        let name = target.file_name().unwrap().to_str().unwrap();
        target.with_file_name(format!("{name}.{}.part", self.pid()))
    }

    /// Waits until this recorder is attached, and takes every frame from there on.
    pub fn until_attached(&self, name: &str, target: &Path) {
        until("the recorder to attach", || {
            let holders = shm_core::stat(name).unwrap().holders;
            let is_it = |holder: &Holder| holder.pid == self.pid() && holder.role == Role::Reader;
            holders.iter().any(is_it) && self.part(target).exists()
        });
    }

    /// Waits until the recording of `target` has so many bytes.
    pub fn until_written(&self, target: &Path, bytes: u64) {
        let part = self.part(target);
        until("frames in the file", || {
            std::fs::metadata(&part).is_ok_and(|metadata| metadata.len() >= bytes)
        });
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let child = self.child.as_mut().unwrap();
        until("the program to end", || child.try_wait().unwrap().is_some());
        let mut child = self.child.take().unwrap();
        let (mut out, mut errors) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        Ended { code: child.wait().unwrap().code(), out, errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ended {
    /// Its one document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its document, after it ended so.
    pub fn expect(&self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.json()
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}
