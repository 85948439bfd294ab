//! A comparison for people: what got worse first, and marked.

use super::{Change, Comparison, Verdict};
use crate::report::columns;

const COLUMNS: [&str; 9] =
    ["", "suite", "row", "before", "after", "change", "p99 before", "p99 after", "change"];

pub(super) fn text(comparison: &Comparison) -> String {
    let mut lines = Vec::new();
    if let Some([before, after]) = &comparison.machines_differ {
        lines.push("!!! DIFFERENT MACHINES: the figures below do not compare code".to_owned());
        lines.push(format!("!!! before: {before}"));
        lines.push(format!("!!! after:  {after}"));
        lines.push(String::new());
    }
    if comparison.quick {
        lines.push("quick runs are among these: their figures show that suites work".to_owned());
        lines.push(String::new());
    }
    lines.push(columns(COLUMNS, 3..COLUMNS.len(), comparison.rows.iter().map(cells)));
    for (title, rows) in
        [("only before", &comparison.only_before), ("only after", &comparison.only_after)]
    {
        if !rows.is_empty() {
            lines.push(format!("\n{title}, {} rows:", rows.len()));
            lines.extend(rows.iter().map(|row| format!("  {row}")));
        }
    }
    let count = |verdict| comparison.rows.iter().filter(|row| row.verdict == verdict).count();
    lines.push(format!(
        "\n{} rows compared: {} worse and {} better by more than {} %, {} within it",
        comparison.rows.len(),
        count(Verdict::Worse),
        count(Verdict::Better),
        comparison.threshold_percent,
        count(Verdict::Same),
    ));
    lines.join("\n")
}

fn cells(row: &Change) -> [String; 9] {
    let mark = match row.verdict {
        Verdict::Worse => "WORSE",
        Verdict::Better => "better",
        Verdict::Same => "",
    };
    let change = |percent: Option<f64>, fallback: &str| {
        percent.map_or_else(|| fallback.to_owned(), |percent| format!("{percent:+.1} %"))
    };
    let from_nothing = if row.after == row.before { "+0.0 %" } else { "from 0" };
    let p99 = |figure: Option<f64>| figure.map(short).unwrap_or_default();
    [
        mark.to_owned(),
        row.suite.clone(),
        row.name.clone(),
        format!("{} {}", short(row.before), row.unit),
        format!("{} {}", short(row.after), row.unit),
        change(row.change_percent, from_nothing),
        p99(row.p99_before),
        p99(row.p99_after),
        change(row.p99_change_percent, ""),
    ]
}

fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{figure:.0}"),
        size if size >= 1.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    }
}
