//! Files as the suites write them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of files, and the program.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes JSON, and gives its path.
    pub fn json(&self, name: &str, value: &Value) -> PathBuf {
        self.text(name, &value.to_string())
    }

    pub fn text(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Runs `report` in this folder.
    pub fn report(&self, words: &[&str]) -> Answer {
        self.report_given(words, "")
    }

    /// Runs it with a standard input.
    pub fn report_given(&self, words: &[&str], input: &str) -> Answer {
        let file = self.text("input", input);
        let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
        command.args(words).current_dir(self.path());
        command.stdin(Stdio::from(std::fs::File::open(file).unwrap()));
        Answer::of(&command.output().unwrap())
    }
}

/// What the program said.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub said: String,
    pub complained: String,
}

impl Answer {
    fn of(output: &Output) -> Answer {
        Answer {
            code: output.status.code(),
            said: String::from_utf8(output.stdout.clone()).unwrap(),
            complained: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    pub fn refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        for part in parts {
            assert!(self.complained.contains(part), "{part:?} is not in {}", self.complained);
        }
    }
}

pub fn header(suite: &str, quick: bool) -> Value {
    json!({
        "date": "2026-01-02T03:04:05Z",
        "machine": {"cpu": "Made Up 9000", "cores": 4, "kernel": "Linux 7.0 x86_64"},
        "command": format!("cargo bench -p shm-benches --bench {suite} -- --json FILE"),
        "commit": "0123456789ab",
        "rustc": "rustc 1.95.0 (abc 2026-01-01)",
        "quick": quick,
    })
}

pub fn suite(name: &str, rows: Value) -> Value {
    json!({"header": header(name, false), "rows": rows})
}

/// A row with everything.
pub fn row(name: &str, unit: &str, value: f64) -> Value {
    json!({
        "name": name, "value": value, "unit": unit, "p99": value * 2.0, "max": value * 50.0,
        "limit": value / 1.5, "limit_name": "a bare hop", "ratio_limit": 1.5,
        "peer": value * 3.0, "peer_name": "iceoryx2 0.10.0 publish-subscribe",
        "ratio_peer": 1.0 / 3.0, "touched": true, "note": "",
        "quantiles": [[0.5, value], [0.9, value * 1.2], [0.99, value * 2.0], [0.999, value * 9.0],
                      [0.9999, value * 20.0], [1.0, value * 50.0]],
        "limit_quantiles": [[0.5, value / 1.5], [1.0, value * 10.0]],
    })
}

pub fn shown(file: &Path) -> &str {
    file.to_str().unwrap()
}
