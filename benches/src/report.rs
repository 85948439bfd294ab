//! Rows, the table for people and the JSON for everybody else.

mod columns;
mod header;
mod table;

pub use columns::columns;
pub use header::Header;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};

use crate::measure::{Quantiles, Samples};

/// One measured figure beside its limit and its peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What was measured, `group/case`.
    pub name: String,
    /// Our figure: the median of the rounds.
    pub value: f64,
    /// The unit of every figure of this row.
    pub unit: &'static str,
    /// The 99th percentile of single operations.
    pub p99: Option<f64>,
    /// The worst single operation.
    pub max: Option<f64>,
    /// How single operations are distributed, in `unit`.
    pub quantiles: Quantiles,
    /// The same work with nothing around it, or a budget that the row must keep.
    pub limit: Option<f64>,
    /// What the limit is.
    pub limit_name: Option<&'static str>,
    /// How single operations of the limit are distributed, where they were timed one by one.
    pub limit_quantiles: Quantiles,
    /// The same work done by the best other system.
    pub peer: Option<f64>,
    /// Which other system.
    pub peer_name: Option<&'static str>,
    /// How single operations of the peer are distributed, where they were timed one by one.
    pub peer_quantiles: Quantiles,
    /// Whether every byte of the payload was really written and read.
    pub touched: bool,
    /// The goal, the method and whatever else a reader must know to judge the figure.
    pub note: String,
}

/// How many nanoseconds a nanosecond has, for [`Row::with_samples`].
pub const NS: f64 = 1.0;
/// How many a microsecond has.
pub const US: f64 = 1000.0;

impl Row {
    /// A row with a figure and nothing to compare it with yet.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row { name: name.into(), value, unit, ..Row::default() }
    }

    /// Adds the 99th percentile and the worst of the single operations.
    #[must_use]
    pub fn with_tail(mut self, p99: f64, max: f64) -> Row {
        self.p99 = Some(p99);
        self.max = Some(max);
        self
    }

    /// Adds tail and distribution of single operations, in a unit of so many nanoseconds.
    #[must_use]
    pub fn with_samples(self, samples: &Samples, nanoseconds: f64) -> Row {
        self.with_tail(samples.p99() / nanoseconds, samples.max() / nanoseconds)
            .with_quantiles(Quantiles::of(samples, nanoseconds))
    }

    /// Adds the distribution of single operations.
    #[must_use]
    pub fn with_quantiles(mut self, quantiles: Quantiles) -> Row {
        self.quantiles = quantiles;
        self
    }

    /// Adds that of the limit.
    #[must_use]
    pub fn with_limit_quantiles(mut self, quantiles: Quantiles) -> Row {
        self.limit_quantiles = quantiles;
        self
    }

    /// Adds that of the peer.
    #[must_use]
    pub fn with_peer_quantiles(mut self, quantiles: Quantiles) -> Row {
        self.peer_quantiles = quantiles;
        self
    }

    /// Adds the limit.
    #[must_use]
    pub fn with_limit(mut self, name: &'static str, limit: f64) -> Row {
        self.limit_name = Some(name);
        self.limit = Some(limit);
        self
    }

    /// Adds the peer.
    #[must_use]
    pub fn with_peer(mut self, name: &'static str, peer: f64) -> Row {
        self.peer_name = Some(name);
        self.peer = Some(peer);
        self
    }

    /// Says that every byte of the payload was written and read.
    #[must_use]
    pub fn touching_payload(mut self) -> Row {
        self.touched = true;
        self
    }

    /// Adds a remark after those that are there.
    #[must_use]
    pub fn with_note(mut self, note: impl AsRef<str>) -> Row {
        if !self.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(note.as_ref());
        self
    }

    /// Our figure as a multiple of the limit. For a time less is better, for a rate more is.
    pub fn ratio_limit(&self) -> Option<f64> {
        ratio(self.value, self.limit)
    }

    /// Our figure as a multiple of the peer's.
    pub fn ratio_peer(&self) -> Option<f64> {
        ratio(self.value, self.peer)
    }
}

fn ratio(value: f64, other: Option<f64>) -> Option<f64> {
    other.filter(|other| *other != 0.0).map(|other| value / other)
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            name: &'a str,
            value: f64,
            unit: &'a str,
            p99: Option<f64>,
            max: Option<f64>,
            limit: Option<f64>,
            limit_name: Option<&'a str>,
            peer: Option<f64>,
            peer_name: Option<&'a str>,
            ratio_limit: Option<f64>,
            ratio_peer: Option<f64>,
            touched: bool,
            note: &'a str,
            #[serde(skip_serializing_if = "Quantiles::is_empty")]
            quantiles: Quantiles,
            #[serde(skip_serializing_if = "Quantiles::is_empty")]
            limit_quantiles: Quantiles,
            #[serde(skip_serializing_if = "Quantiles::is_empty")]
            peer_quantiles: Quantiles,
        }
        Written {
            name: &self.name,
            value: self.value,
            unit: self.unit,
            p99: self.p99,
            max: self.max,
            limit: self.limit,
            limit_name: self.limit_name,
            peer: self.peer,
            peer_name: self.peer_name,
            ratio_limit: self.ratio_limit(),
            ratio_peer: self.ratio_peer(),
            touched: self.touched,
            note: &self.note,
            quantiles: self.quantiles,
            limit_quantiles: self.limit_quantiles,
            peer_quantiles: self.peer_quantiles,
        }
        .serialize(serializer)
    }
}

/// All rows of a run, and where and how it ran.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Machine, command, versions.
    pub header: Header,
    /// The rows, in the order they were measured.
    pub rows: Vec<Row>,
}

impl Report {
    /// The table and the notes below it, as text.
    pub fn text(&self) -> String {
        table::text(self)
    }
}

/// Writes a report, of whatever kind, as one JSON object.
pub fn write_json(report: &impl Serialize, file: &Path) -> Result<()> {
    let mut text = serde_json::to_string_pretty(report).context("the rows are not JSON")?;
    text.push('\n');
    fs::write(file, text).with_context(|| {
        format!(
            "could not write the rows to {}; name a file in a folder that exists",
            file.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row::new("wake/blocked", 33.0, "us")
            .with_tail(41.0, 90.5)
            .with_limit("bare futex hop", 30.0)
            .touching_payload()
            .with_note("goal: 1.15")
            .with_note("two processes")
    }

    fn row_of_samples() -> Row {
        Row::new("x", 2.0, "us").with_samples(&Samples::from_iter([500, 1000, 2000]), US)
    }

    fn report() -> Report {
        Report { header: Header::here(true), rows: vec![row()] }
    }

    #[test]
    fn ratios_are_ours_over_theirs() {
        assert_eq!(row().ratio_limit(), Some(1.1));
        assert_eq!(row().ratio_peer(), None);
        let row = row().with_peer("other", 66.0);
        assert_eq!(row.ratio_peer(), Some(0.5));
        assert_eq!(Row::new("x", 1.0, "B").with_limit("none", 0.0).ratio_limit(), None);
    }

    #[test]
    fn json_has_every_field_of_every_row() {
        let value = serde_json::to_value(report()).unwrap();
        let row = value["rows"][0].as_object().unwrap();
        let names = [
            "name",
            "value",
            "unit",
            "p99",
            "max",
            "limit",
            "limit_name",
            "peer",
            "peer_name",
            "ratio_limit",
            "ratio_peer",
            "touched",
            "note",
        ];
        for name in names {
            assert!(row.contains_key(name), "{name}");
        }
        assert_eq!(row.len(), names.len());
        assert_eq!(row["ratio_limit"], 1.1);
        assert_eq!(
            serde_json::to_value(row_of_samples()).unwrap()["quantiles"],
            serde_json::json!([[0.5, 1.0], [1.0, 2.0]])
        );
        assert_eq!(row["note"], "goal: 1.15; two processes");
        assert_eq!(value["header"]["quick"], true);
        for name in ["date", "machine", "command", "commit", "rustc"] {
            assert!(value["header"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_json(&report(), Path::new("/nonexistent/rows.json")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/rows.json"), "{error}");
    }

    #[test]
    fn the_table_shows_figures_names_and_notes() {
        let text = report().text();
        for part in
            ["wake/blocked", "33.0 us", "90.5", "30.0", "1.10", "bare futex hop", "goal: 1.15"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
