//! The table for people: figures aligned in columns, remarks below.

use std::fmt::Write;

use super::{Report, Row, columns};

const COLUMNS: [&str; 9] =
    ["row", "ours", "p99", "max", "limit", "ours/limit", "peer", "ours/peer", "payload"];

pub(super) fn text(report: &Report) -> String {
    let header = &report.header;
    let mut text = format!(
        "{}\n{}, {}, {}\n\n{}\n\n",
        header.command,
        header.machine,
        header.rustc.as_deref().unwrap_or("rustc unknown"),
        header.version(),
        columns(COLUMNS, 1..8, report.rows.iter().map(cells)),
    );
    for row in &report.rows {
        notes(&mut text, row);
    }
    text
}

fn cells(row: &Row) -> [String; 9] {
    let bare = |figure: Option<f64>| figure.map(short).unwrap_or_default();
    let ratio = |figure: Option<f64>| figure.map(|r| format!("{r:.2}")).unwrap_or_default();
    [
        row.name.clone(),
        format!("{} {}", short(row.value), row.unit),
        bare(row.p99),
        bare(row.max),
        bare(row.limit),
        ratio(row.ratio_limit()),
        bare(row.peer),
        ratio(row.ratio_peer()),
        if row.touched { "copied" } else { "-" }.to_owned(),
    ]
}

/// Writing to a `String` cannot fail, so the results are dropped.
fn notes(text: &mut String, row: &Row) {
    let mut parts = Vec::new();
    parts.extend(row.limit_name.map(|name| format!("limit = {name}")));
    parts.extend(row.peer_name.map(|name| format!("peer = {name}")));
    if !row.note.is_empty() {
        parts.push(row.note.clone());
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "{}: {}", row.name, parts.join("; "));
    }
}

/// Three figures that count, without exponents: every unit here is chosen to need none.
fn short(figure: f64) -> String {
    let size = figure.abs();
    if size >= 1000.0 || figure == 0.0 {
        format!("{figure:.0}")
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else if size >= 0.1 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.4}")
    }
}
