//! The program `shm`, run as a person or a program would: what it says of segments that the library made,
//! left behind or damaged, in words and in JSON, and how it ends.
#![cfg(target_os = "linux")]

mod child;
mod inspect;
mod inspect_fsck;
mod inspect_gc;
mod inspect_manual;

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How one run of `shm` ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Standard output as one JSON document.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The failure on standard error, as JSON.
    fn failure(&self) -> Value {
        let error: Value =
            serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        error["error"].clone()
    }

    /// Itself, after it did what it was asked for and said nothing on standard error.
    #[track_caller]
    fn done(self) -> Ended {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self
    }
}

/// Runs `shm` to its end.
fn shm<const N: usize>(arguments: [&str; N]) -> Ended {
    shm_into(arguments, Stdio::piped())
}

/// Runs `shm` with that standard output; what it writes elsewhere than into a pipe is not seen.
fn shm_into<const N: usize>(arguments: [&str; N], out: impl Into<Stdio>) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shm"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().map(read);
    let err = child.stderr.take().map(read);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("shm {arguments:?} did not end");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |of: Option<thread::JoinHandle<String>>| of.map(|one| one.join().unwrap());
    Ended {
        code: status.code().unwrap_or_else(|| panic!("shm {arguments:?} ended with {status}")),
        out: text(out).unwrap_or_default(),
        err: text(err).unwrap_or_default(),
    }
}

fn read(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

/// Names of one test. Whatever has such a name at the end is removed.
struct Scene {
    prefix: String,
}

impl Scene {
    fn new(test: &str) -> Scene {
        Scene { prefix: format!("test-cli-{test}-{}.", std::process::id()) }
    }

    fn name(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// The file of a segment of that name, whether there is one or not.
    fn file(&self, what: &str) -> PathBuf {
        // `prefix` needs no escaping, and `what` is plain in these tests.
        let uid = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
        PathBuf::from(format!("/dev/shm/shm.{}.{}", uid.unwrap(), self.name(what)))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let entries = fs::read_dir("/dev/shm").unwrap().map_while(Result::ok);
        for entry in entries {
            if entry.file_name().to_string_lossy().contains(&self.prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
