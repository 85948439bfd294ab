//! What a run found: the table for people, and what is written for everybody else.

use serde::Serialize;
use serde_json::Value;

use super::place::Described;
use super::row::Row;
use crate::report::{Header, columns};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Machine, command, versions.
    pub header: Header,
    /// The driver and the device.
    pub driver: Described,
    /// Why the groups of the GPU have no rows, if they have none.
    pub gpu_skipped: Option<String>,
    /// What benches/py/cuda.py wrote: our module beside pyshmem.
    pub python: Option<Value>,
    /// Why there is nothing of it.
    pub python_skipped: Option<String>,
    /// The rows, in the order of the table.
    pub rows: Vec<Row>,
}

const COLUMNS: [&str; 14] = [
    "row",
    "driver",
    "ours",
    "p99",
    "max",
    "bare",
    "over bare",
    "of bare",
    "needed",
    "over needed",
    "calls",
    "device us",
    "bare us",
    "GB/s",
];

impl Report {
    /// The table, as text.
    pub fn text(&self) -> String {
        let (header, driver) = (&self.header, &self.driver);
        let mut lines = vec![
            header.command.clone(),
            format!("{}, {}", header.machine, header.version()),
            format!("{} (CUDA {}): {}", driver.device, driver.driver_version, driver.remark),
            String::new(),
            columns(COLUMNS, 2..COLUMNS.len(), self.rows.iter().map(cells)),
            String::new(),
            "calls: of the driver, ours / bare / needed; needed: the driver's calls that ours cannot do \
             without"
                .to_owned(),
        ];
        lines.extend(self.rows.iter().map(notes));
        let skipped = |what: &str, why: &Option<String>| {
            why.as_ref().map(|why| format!("{what}: SKIPPED: {why}"))
        };
        lines.extend(skipped("rows of the GPU", &self.gpu_skipped));
        lines.extend(skipped("pyshmem, in Python", &self.python_skipped));
        let rows = self.python.as_ref().and_then(|python| python["rows"].as_array());
        lines.extend(
            rows.map(|rows| format!("{} rows of benches/py/cuda.py: see the JSON", rows.len())),
        );
        lines.join("\n")
    }
}

fn cells(row: &Row) -> [String; 14] {
    let figure = |figure: Option<f64>| figure.map(short).unwrap_or_default();
    let count =
        |calls: Option<f64>| calls.map_or_else(|| "-".to_owned(), |calls| format!("{calls:.1}"));
    let calls = [row.driver_calls, row.bare_driver_calls, row.needed_driver_calls];
    [
        row.name.clone(),
        row.driver.to_owned(),
        format!("{} {}", short(row.value), row.unit),
        short(row.p99),
        short(row.max),
        figure(row.bare),
        figure(row.over_bare),
        figure(row.ratio_bare),
        figure(row.needed),
        figure(row.over_needed),
        match row.driver_calls {
            Some(_) => calls.map(count).join(" / "),
            None => String::new(),
        },
        figure(row.device_us),
        figure(row.bare_device_us),
        figure(row.gb_per_second),
    ]
}

fn notes(row: &Row) -> String {
    let named = |what: &str, name: Option<&str>| name.map(|name| format!("{what} = {name}"));
    let mut parts: Vec<String> = named("bare", row.bare_name).into_iter().collect();
    parts.extend(named("needed", row.needed_name));
    if !row.note.is_empty() {
        parts.push(row.note.clone());
    }
    format!("{} ({}): {}", row.name, row.driver, parts.join("; "))
}

/// Three figures that count.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
