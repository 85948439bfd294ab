//! `shm bench` as a user starts it: its rows agree with themselves, and whatever ends it leaves nothing behind.

#![cfg(target_os = "linux")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any bench takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon a bench has to end whose other process is gone: a fraction of what it waits for silence.
const BOUND: Duration = Duration::from_secs(60);

const ROWS: [&str; 8] = [
    "oneway/64B",
    "oneway/100kB",
    "wake/64B",
    "frame/1MB",
    "frame/64MB",
    "pool/cycle",
    "store/retrieve/1MB",
    "store/retrieve",
];

#[test]
fn every_row_is_there_and_agrees_with_itself() {
    let bench = Bench::start(&["bench", "--quick", "--json"]);
    let pid = bench.pid();
    let output = bench.output();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ROWS);
    for row in rows {
        let figure = |field: &str| {
            let figure = row[field].as_f64();
            figure.filter(|figure| figure.is_finite() && *figure > 0.0).unwrap_or_else(|| {
                panic!("{field} of {row}");
            })
        };
        let (value, p99, max) = (figure("value"), figure("p99"), figure("max"));
        assert!(value <= p99 && p99 <= max, "{row}");
        let ratio = value / figure("limit");
        assert!((figure("ratio_limit") - ratio).abs() <= ratio * 1e-9, "{row}");
        assert!(["ns", "us", "ms"].contains(&row["unit"].as_str().unwrap()), "{row}");
        assert!(!row["limit_name"].as_str().unwrap().is_empty(), "{row}");
        let untouched = ["pool/cycle", "store/retrieve"].contains(&row["name"].as_str().unwrap());
        assert_eq!(row["touched"].as_bool(), Some(!untouched), "{row}");
    }
    let header = &report["header"];
    assert_eq!(header["quick"], true);
    assert!(header["machine"]["cores"].as_u64().unwrap() >= 1, "{header}");
    for field in ["cpu", "kernel"] {
        assert!(!header["machine"][field].as_str().unwrap().is_empty(), "{header}");
    }
    assert_eq!(left_by(pid), Vec::<String>::new());
}

#[test]
fn the_table_has_every_row_and_the_machine() {
    let output = Bench::start(&["bench", "--quick"]).output();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for row in ROWS {
        assert!(text.lines().any(|line| line.starts_with(&format!("{row} "))), "{row}:\n{text}");
    }
    assert!(text.contains(" cores, Linux "), "{text}");
}

#[test]
fn the_death_of_the_other_process_ends_it_and_is_told() {
    let bench = Bench::start(&["bench"]);
    let pid = bench.pid();
    bench.await_segments();
    kill_process(bench.other_process(), Signal::KILL).unwrap();
    let killed = Instant::now();
    let output = bench.output();
    assert!(killed.elapsed() < BOUND);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("other process") && told.contains("signal: 9"), "{told}");
    assert!(output.stdout.is_empty());
    assert_eq!(left_by(pid), Vec::<String>::new());
}

#[test]
fn ctrl_c_ends_it_and_nothing_stays() {
    for signal in [Signal::INT, Signal::TERM] {
        let bench = Bench::start(&["bench"]);
        let pid = bench.pid();
        bench.await_segments();
        let other = bench.other_process();
        kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
        let output = bench.output();
        assert_eq!(output.status.signal(), Some(signal.as_raw()), "{}", said(&output));
        assert_eq!(left_by(pid), Vec::<String>::new());
        // It has been waited for, so there is nothing under its number, or something else.
        assert!(!is_bench(other), "the other process outlived the bench");
    }
}

#[test]
fn a_bench_that_is_killed_takes_the_other_process_along() {
    let bench = Bench::start(&["bench"]);
    let pid = bench.pid();
    bench.await_segments();
    let other = bench.other_process();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    let output = bench.output();
    assert_eq!(output.status.signal(), Some(9));
    until("the other process ends", || !is_bench(other));
    // Nobody could clean up; what is left belongs to nobody, and `gc` says so.
    let prefix = format!("shm-bench-{pid}/");
    shm_core::gc(&prefix, false).unwrap();
    for left in shm_core::list(&prefix).unwrap() {
        shm_core::unlink(&left.name).unwrap();
    }
    assert_eq!(left_by(pid), Vec::<String>::new());
}

/// A bench that runs, and does not outlive its test.
struct Bench(Option<Child>);

impl Bench {
    fn start(arguments: &[&str]) -> Bench {
        let child = Command::new(env!("CARGO_BIN_EXE_shm"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Bench(Some(child))
    }

    fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Until it is in the middle of something.
    fn await_segments(&self) {
        until("the bench makes a segment", || !left_by(self.pid()).is_empty());
    }

    /// The one process that it started.
    fn other_process(&self) -> Pid {
        let mut found = None;
        until("the bench starts the other process", || {
            found = children_of(self.pid()).into_iter().next();
            found.is_some()
        });
        Pid::from_raw(found.unwrap()).unwrap()
    }

    /// Waits for its end, for so long.
    fn output(mut self) -> Output {
        let mut child = self.0.take().unwrap();
        let status: ExitStatus = {
            let begun = Instant::now();
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if begun.elapsed() > PATIENCE {
                    let _ = child.kill();
                    panic!("the bench did not end within {PATIENCE:?}");
                }
                thread::sleep(Duration::from_millis(20));
            }
        };
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status, status);
        output
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Files in shared memory of that bench.
fn left_by(pid: u32) -> Vec<String> {
    let mark = format!(".shm-bench-{pid}%2F");
    let files = fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok);
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(&mark)).collect()
}

fn children_of(parent: u32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|one| one.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name stands in parentheses and may hold spaces; state and parent follow.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    })
    .collect()
}

fn is_bench(pid: Pid) -> bool {
    let pid = pid.as_raw_nonzero();
    let file = format!("/proc/{pid}/cmdline");
    Path::new(&file).exists()
        && fs::read_to_string(file).is_ok_and(|line| line.contains("__bench-peer"))
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
