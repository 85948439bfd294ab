//! What the simulated CUDA driver says of the processes that used it.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// The reports of all processes of a run that ended by themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SimReports {
    processes: usize,
    calls: u64,
    violations: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    sim: bool,
    calls: u64,
    violations: Vec<Value>,
}

impl SimReports {
    /// Tells the driver the folder that its reports go to.
    pub const FOLDER_VARIABLE: &'static str = "SHM_CUDA_SIM_REPORT";

    /// Makes the folder, with nothing in it.
    pub fn make_room(folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)
                .with_context(|| format!("could not empty {}", folder.display()))?;
        }
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))
    }

    /// Adds up the reports of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut reports = Self::default();
        let entries =
            fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
        for entry in entries {
            let path =
                entry.with_context(|| format!("could not list {}", folder.display()))?.path();
            let text = fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?;
            let report: Report = serde_json::from_str(&text)
                .with_context(|| format!("{} is no report of the driver", path.display()))?;
            reports.processes += usize::from(report.sim);
            reports.calls += report.calls;
            reports.violations.extend(report.violations.iter().map(Value::to_string));
        }
        Ok(reports)
    }

    /// What a real driver would not have forgiven, or that there was no driver at all.
    pub fn trouble(&self) -> Option<String> {
        if self.processes == 0 || self.calls == 0 {
            return Some("no process has used the simulated driver".to_owned());
        }
        (!self.violations.is_empty()).then(|| {
            format!("calls that a real driver does not forgive: {}", self.violations.join(", "))
        })
    }
}

impl fmt::Display for SimReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sim: {} processes made {} calls of the simulated CUDA driver, {} of them wrong",
            self.processes,
            self.calls,
            self.violations.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reports: &[&str]) -> Result<SimReports> {
        let folder = tempfile::tempdir().unwrap();
        for (number, report) in reports.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.json")), report).unwrap();
        }
        SimReports::read(folder.path())
    }

    #[test]
    fn the_processes_of_a_run_add_up() {
        let good = r#"{"sim": true, "calls": 4, "violations": []}"#;
        let reports = read(&[good, good]).unwrap();
        assert_eq!(reports, SimReports { processes: 2, calls: 8, violations: Vec::new() });
        assert_eq!(reports.trouble(), None);
        let bad = r#"{"sim": true, "calls": 1, "violations": ["freed twice"]}"#;
        assert!(read(&[good, bad]).unwrap().trouble().unwrap().contains("freed twice"));
    }

    #[test]
    fn a_run_without_the_driver_is_trouble() {
        assert!(read(&[]).unwrap().trouble().unwrap().contains("no process"));
        let idle = r#"{"sim": true, "calls": 0, "violations": []}"#;
        assert!(read(&[idle]).unwrap().trouble().is_some());
        assert!(read(&["{}"]).is_err());
    }
}
