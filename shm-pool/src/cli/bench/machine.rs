//! Where and when a run was made: without it a figure means nothing later.

use jiff::Timestamp;
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::Serialize;
use std::fs;

/// The run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Header {
    /// When, in UTC.
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) command: &'static str,
    /// Of this program.
    pub(super) version: &'static str,
    /// Whether the measurements were cut short.
    pub(super) quick: bool,
}

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// The processor's name for itself.
    pub(super) cpu: String,
    /// How many processors this process may use.
    pub(super) cores: usize,
    /// Operating system, its release and the architecture.
    pub(super) kernel: String,
    /// How many threads of the machine ran or wanted to, on average over the last minute.
    pub(super) load: Option<f64>,
}

impl Header {
    pub(super) fn here(quick: bool) -> Header {
        Header {
            date: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            machine: Machine::here(),
            command: if quick { "shm bench --quick" } else { "shm bench" },
            version: env!("CARGO_PKG_VERSION"),
            quick,
        }
    }
}

impl Machine {
    fn here() -> Machine {
        let usable = sched_getaffinity(None).map_or(1, |set: CpuSet| set.count() as usize);
        Machine {
            cpu: cpu().unwrap_or_else(|| "unknown processor".to_owned()),
            cores: usable.max(1),
            kernel: format!(
                "Linux {} {}",
                read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
                std::env::consts::ARCH
            ),
            load: read("/proc/loadavg").and_then(|text| load(&text)),
        }
    }

    /// Why the figures may say less of the machine than they should.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings.push(
                "this program was built without optimisation: the figures say nothing of the machine; \
                 build it with --release"
                    .to_owned(),
            );
        }
        if self.cores < 2 {
            warnings.push(
                "only one processor may be used: the two processes take turns on it, and what passes \
                 between them takes as long as the kernel lets the other one run"
                    .to_owned(),
            );
        }
        if let Some(load) = self.load.filter(|load| *load > self.cores as f64 / 2.0) {
            warnings.push(format!(
                "the load average is {load:.1} on {} processors: other programs take time and caches \
                 away, above all from p99 and max; measure again when the machine is idle",
                self.cores
            ));
        }
        warnings
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

/// The first of the averages, that of one minute.
fn load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn cpu() -> Option<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cores: usize, load: f64) -> Machine {
        Machine { cpu: String::new(), cores, kernel: String::new(), load: Some(load) }
    }

    #[test]
    fn few_processors_and_much_load_are_told() {
        let usual = usize::from(cfg!(debug_assertions));
        assert_eq!(machine(4, 0.5).warnings().len(), usual);
        assert_eq!(machine(1, 0.1).warnings().len(), usual + 1);
        assert!(machine(4, 3.0).warnings()[usual].contains("3.0 on 4"));
        assert_eq!(machine(1, 3.0).warnings().len(), usual + 2);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_date() {
        let header = Header::here(true);
        assert!(header.machine.kernel.starts_with("Linux "), "{}", header.machine.kernel);
        assert!(header.machine.cores >= 1);
        assert_eq!(header.date.len(), "2026-01-01T00:00:00Z".len(), "{}", header.date);
        assert_eq!(load("0.52 1.0 2.0 3/400 9"), Some(0.52));
        assert_eq!(load(""), None);
    }
}
