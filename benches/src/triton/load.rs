//! perf_analyzer, NVIDIA's load generator in C++: tensors in system shared memory, filled once and
//! never looked at.

use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::calls::Calls;
use crate::measure::Samples;
use crate::scratch;

/// What it is to call.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub program: PathBuf,
    pub model: String,
    pub batch: usize,
    /// `http` or `grpc`.
    pub protocol: &'static str,
    pub address: String,
    pub in_flight: usize,
}

impl Load {
    /// Runs it for a number of calls; the first tenth warms up.
    pub fn run(&self, calls: usize) -> Result<Calls> {
        // It has been seen to write half of its file, and to end as if that was all.
        parse(&self.timestamps(calls)?).or_else(|_| parse(&self.timestamps(calls)?))
    }

    fn timestamps(&self, calls: usize) -> Result<String> {
        let file = std::env::temp_dir().join(scratch::name("calls.json"));
        let mut command = Command::new(&self.program);
        command
            .env("LD_LIBRARY_PATH", self.program.parent().context("the program has no folder")?)
            .args(["-m", &self.model, "-b", &self.batch.to_string()])
            .args(["-i", self.protocol, "-u", &self.address])
            .args(["--shared-memory", "system"])
            .arg(format!("--concurrency-range={0}:{0}", self.in_flight))
            .arg(format!("--request-count={calls}"))
            .arg("--profile-export-file")
            .arg(&file);
        let ended = end_of(command);
        let text = std::fs::read_to_string(&file);
        // The sweep at the end takes what stays.
        let _ = std::fs::remove_file(&file);
        ended?;
        text.context("perf_analyzer wrote no timestamps")
    }
}

/// Waits for its end, and makes one: it has been seen to hang.
fn end_of(mut command: Command) -> Result<()> {
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("perf_analyzer does not start")?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().context("perf_analyzer cannot be waited for")? {
            break status;
        }
        if begun.elapsed() > LIMIT {
            let _ = process.kill();
            let _ = process.wait();
            bail!("perf_analyzer did not end within {} s", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    };
    if !status.success() {
        let mut said = String::new();
        let stderr = process.stderr.take().context("perf_analyzer has no output")?;
        BufReader::new(stderr).read_to_string(&mut said).context("perf_analyzer is not heard")?;
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        bail!("perf_analyzer ended with {status}: {last}");
    }
    Ok(())
}

/// Far above what it takes.
const LIMIT: Duration = Duration::from_secs(40);

/// How many calls take about as long as `slice`.
pub(super) fn calls_in(slice: Duration, one: Duration, in_flight: usize) -> usize {
    let calls = slice.as_secs_f64() / one.as_secs_f64().max(1e-6);
    (calls as usize).clamp(8, 5000).max(4 * in_flight)
}

#[derive(Deserialize)]
struct Export {
    experiments: Vec<Experiment>,
}

#[derive(Deserialize)]
struct Experiment {
    requests: Vec<Request>,
}

/// Nanoseconds since 1970.
#[derive(Deserialize)]
struct Request {
    timestamp: u64,
    response_timestamps: Vec<u64>,
}

fn parse(text: &str) -> Result<Calls> {
    let export: Export = serde_json::from_str(text).context("timestamps in another form")?;
    let requests = export.experiments.into_iter().flat_map(|experiment| experiment.requests);
    let mut calls: Vec<(u64, u64)> = requests
        .filter_map(|request| Some((request.timestamp, *request.response_timestamps.last()?)))
        .collect();
    calls.sort_unstable();
    let measured = &calls[calls.len().div_ceil(10).min(calls.len())..];
    let last = measured.iter().map(|(_, end)| *end).max();
    let (Some((first, _)), Some(last)) = (measured.first(), last) else {
        bail!("perf_analyzer made {} calls", calls.len());
    };
    ensure!(last > *first, "the timestamps of perf_analyzer do not grow");
    let took: Samples = measured.iter().map(|(begin, end)| end.saturating_sub(*begin)).collect();
    Ok(Calls { took, elapsed: Duration::from_nanos(last - first) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_become_calls_without_those_that_warm_up() {
        let request = |begin: u64, end: u64| {
            format!(
                "{{\"timestamp\":{begin},\"request_inputs\":{{}},\"response_timestamps\":[{end}]}}"
            )
        };
        let requests = [request(1, 5000), request(6000, 6100), request(6200, 6400)].join(",");
        let calls = parse(&format!("{{\"experiments\":[{{\"requests\":[{requests}]}}]}}")).unwrap();
        assert_eq!((calls.took.count(), calls.took.max()), (2, 200.0));
        assert_eq!(calls.elapsed, Duration::from_nanos(400));
    }

    #[test]
    fn no_calls_are_an_error() {
        for text in ["", "{\"experiments\":[]}", "{\"experiments\":[{\"requests\":[]}]}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn there_are_enough_calls_and_not_too_many() {
        let slice = Duration::from_millis(500);
        assert_eq!(calls_in(slice, Duration::from_micros(250), 1), 2000);
        assert_eq!(calls_in(slice, Duration::from_secs(1), 1), 8);
        assert_eq!(calls_in(slice, Duration::from_secs(1), 8), 32);
        assert_eq!(calls_in(slice, Duration::ZERO, 1), 5000);
    }
}
