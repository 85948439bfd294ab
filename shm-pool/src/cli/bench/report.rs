//! Rows, as a table for people and as JSON with the fields that the project's own benches have.

use super::cores::Cores;
use super::machine::Header;
use super::samples::Samples;
use crate::cli::exit::Failure;
use serde::Serialize;
use std::fmt::Write;

/// One measured figure beside the least that it could be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The median of single operations.
    pub(super) value: f64,
    /// The unit of every figure of this row.
    pub(super) unit: &'static str,
    pub(super) p99: f64,
    pub(super) max: f64,
    /// The same work with nothing around it, measured in the same run.
    pub(super) limit: f64,
    pub(super) limit_name: &'static str,
    pub(super) ratio_limit: f64,
    /// Whether every byte of the payload was written and read.
    pub(super) touched: bool,
    pub(super) note: String,
}

/// A unit and how many nanoseconds it has.
pub(super) type Unit = (&'static str, f64);

pub(super) const NS: Unit = ("ns", 1.0);
pub(super) const US: Unit = ("us", 1e3);
pub(super) const MS: Unit = ("ms", 1e6);

impl Row {
    /// A row of `samples` beside a limit in nanoseconds.
    pub(super) fn new(
        name: &'static str,
        (unit, scale): Unit,
        samples: &Samples,
        (limit_name, limit): (&'static str, f64),
    ) -> Row {
        Row {
            name,
            value: samples.p50() / scale,
            unit,
            p99: samples.p99() / scale,
            max: samples.max() / scale,
            limit: limit / scale,
            limit_name,
            ratio_limit: samples.p50() / limit,
            touched: false,
            note: String::new(),
        }
    }

    /// Says that every byte of the payload was written and read.
    pub(super) fn touching_payload(mut self) -> Row {
        self.touched = true;
        self
    }

    pub(super) fn with_note(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }
}

/// All rows of a run, and where and how it ran.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) header: Header,
    /// The processors of the two processes.
    pub(super) processors: Cores,
    pub(super) warnings: Vec<String>,
    /// What could not be measured, and why.
    pub(super) left_out: Vec<String>,
    pub(super) rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(header: Header, processors: Cores) -> Report {
        let warnings = header.machine.warnings();
        Report { header, processors, warnings, left_out: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn leave_out(&mut self, what: &str, why: &Failure) {
        self.left_out.push(format!("{what}: {why}"));
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left_out.is_empty()
    }

    /// The table and the remarks below it.
    pub(super) fn text(&self) -> String {
        let machine = &self.header.machine;
        let mut text = format!(
            "{}, {} cores, {}, {}\nshm {}, processors {} and {}{}\n\n{}\n",
            machine.cpu,
            machine.cores,
            machine.kernel,
            self.header.date,
            self.header.version,
            self.processors.near,
            self.processors.far,
            if self.header.quick { ", quick" } else { "" },
            table(&self.rows),
        );
        // Writing to a string cannot fail.
        for row in &self.rows {
            let _ = writeln!(text, "{}: limit = {}; {}", row.name, row.limit_name, row.note);
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "\nwarning: {warning}");
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "\nleft out: {left_out}");
        }
        text
    }
}

const COLUMNS: [&str; 7] = ["row", "p50", "p99", "max", "limit", "p50/limit", "payload"];

/// Names to the left, figures to the right.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let [name, figures @ ..] = line;
        let mut shown = format!("{name:<0$}", widths[0]);
        for (figure, width) in figures.iter().zip(&widths[1..]) {
            let _ = write!(shown, "  {figure:>width$}");
        }
        text.push_str(&shown);
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; COLUMNS.len()] {
    [
        row.name.to_owned(),
        format!("{} {}", short(row.value), row.unit),
        short(row.p99),
        short(row.max),
        short(row.limit),
        format!("{:.2}", row.ratio_limit),
        if row.touched { "copied" } else { "-" }.to_owned(),
    ]
}

/// Three figures that count, without exponents.
fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure if figure >= 0.1 => format!("{figure:.2}"),
        figure => format!("{figure:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut samples = Samples::of(1);
        [3000, 3000, 9000].into_iter().for_each(|ns| samples.record_ns(ns));
        let mut report = Report::new(Header::here(true), Cores { near: 0, far: 1 });
        report.rows.push(
            Row::new("wake/64B", US, &samples, ("bare futex", 2000.0))
                .touching_payload()
                .with_note("a note"),
        );
        report
    }

    #[test]
    fn a_row_is_in_its_unit_and_has_the_fields_of_the_benches() {
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
            "ratio_limit",
            "touched",
            "note",
        ];
        for name in names {
            assert!(row.contains_key(name), "{name}");
        }
        assert_eq!(row.len(), names.len());
        assert_eq!((row["limit"].as_f64(), row["unit"].as_str()), (Some(2.0), Some("us")));
        assert!((row["ratio_limit"].as_f64().unwrap() - 1.5).abs() < 0.01);
        assert!((row["max"].as_f64().unwrap() - 9.0).abs() < 0.01);
    }

    #[test]
    fn the_table_is_aligned_and_tells_what_is_missing() {
        let mut report = report();
        let why = Failure::new(crate::cli::Exit::Findings, "shared memory is short", "");
        report.leave_out("frames of 64 MB", &why);
        assert!(!report.is_complete());
        let text = report.text();
        let lines: Vec<&str> = text.lines().filter(|line| line.ends_with("copied")).collect();
        let head = text.lines().find(|line| line.ends_with("payload")).unwrap();
        assert_eq!(lines.len(), 1, "{text}");
        assert_eq!(lines[0].len(), head.len(), "{text}");
        for part in ["3.00 us", "1.50", "bare futex; a note", "64 MB: shared memory is short"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
