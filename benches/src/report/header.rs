//! Where and how a run was made: without it a figure means nothing later.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;

use rustix::system::uname;
use serde::Serialize;

/// The run.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// When, in UTC.
    pub date: String,
    /// On what.
    pub machine: Machine,
    /// The arguments it was started with.
    pub command: String,
    /// The commit of the working tree, with `+` if the tree differs from it.
    pub commit: Option<String>,
    /// The compiler.
    pub rustc: Option<String>,
    /// Whether the measurements were cut short: such figures show that the suite works, no more.
    pub quick: bool,
}

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// How many processors this process may use.
    pub cores: usize,
    /// Operating system, its release and the architecture.
    pub kernel: String,
}

impl Header {
    /// Describes this process.
    pub fn here(quick: bool) -> Header {
        Header {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine: Machine::here(),
            command: command(),
            commit: commit(),
            rustc: answer("rustc", &["--version"]),
            quick,
        }
    }

    /// The commit, and whether measurements were cut short.
    pub fn version(&self) -> String {
        let commit = self.commit.as_deref().unwrap_or("unknown");
        format!("commit {commit}{}", if self.quick { ", quick" } else { "" })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores, {}", self.cpu, self.cores, self.kernel)
    }
}

impl Machine {
    fn here() -> Machine {
        let system = uname();
        let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Machine {
            cpu: cpu().unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, Into::into),
            kernel: format!(
                "{} {} {}",
                part(system.sysname()),
                part(system.release()),
                part(system.machine())
            ),
        }
    }
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The program's own path names one person's folders, so only its arguments are told.
fn command() -> String {
    let program = std::env::current_exe().ok();
    let name = program
        .as_deref()
        .and_then(|path| path.file_stem()?.to_str()?.split('-').next())
        .unwrap_or("bench")
        .to_owned();
    let mut words = vec![format!("cargo bench -p shm-benches --bench {name} --")];
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        match word.as_str() {
            "--bench" => {}
            "--json" | "--python" | "--sim" => {
                arguments.next();
                words.push(format!("{word} FILE"));
            }
            _ => words.push(word),
        }
    }
    words.join(" ")
}

fn commit() -> Option<String> {
    let hash = answer("git", &["rev-parse", "--short=12", "HEAD"])?;
    let differs = answer("git", &["status", "--porcelain"]).is_some();
    Some(if differs { format!("{hash}+") } else { hash })
}

/// What a program prints, if it exists, succeeds and prints anything.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
