//! One file of the reports of all suites.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::SUITES;
use crate::report::Header;

/// What a run of all suites came to, as whoever ran them tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct RunOutcome {
    /// The command of the run.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began: i64,
    /// Whether the measurements were cut short.
    pub quick: bool,
    /// The suites, in any order.
    pub suites: BTreeMap<String, Outcome>,
}

/// What one suite came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// The report that it wrote, if it did.
    pub file: Option<PathBuf>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// The run as one JSON object. A report that cannot be read counts as the failure of its suite.
///
/// # Errors
/// If the run's date is none.
pub fn join(outcome: &RunOutcome) -> Result<Value> {
    let began =
        jiff::Timestamp::from_second(outcome.began).context("field `began`: no such time")?;
    let header = Header {
        date: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command: outcome.command.clone(),
        ..Header::here(outcome.quick)
    };
    let mut header = serde_json::to_value(header).context("the header is not JSON")?;
    let mut suites = Map::new();
    let mut seconds = Map::new();
    for name in SUITES {
        if let Some(outcome) = outcome.suites.get(name) {
            suites.insert(name.to_owned(), report(outcome));
            seconds.insert(name.to_owned(), json!((outcome.seconds * 10.0).round() / 10.0));
        }
    }
    header["seconds"] = Value::Object(seconds);
    Ok(json!({ "header": header, "suites": suites }))
}

/// The report with the reason of the failure in it, or that reason alone.
fn report(outcome: &Outcome) -> Value {
    let mut failed = outcome.failed.clone();
    let report = outcome.file.as_ref().and_then(|file| {
        let read = || -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(file)?)?) };
        match read() {
            Ok(report @ Value::Object(_)) => Some(report),
            Ok(_) => {
                failed.get_or_insert_with(|| "its report is no JSON object".to_owned());
                None
            }
            Err(error) => {
                failed.get_or_insert_with(|| format!("its report cannot be read: {error:#}"));
                None
            }
        }
    });
    let mut report = report.unwrap_or_else(|| json!({}));
    if let Some(why) = failed {
        report["failed"] = json!(why);
    }
    report
}
