//! The table for people: figures aligned in columns, remarks below.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use super::{Report, Row};

const COLUMNS: [&str; 9] =
    ["row", "ours", "p99", "max", "limit", "ours/limit", "peer", "ours/peer", "payload"];

pub(super) fn text(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    for row in &report.rows {
        table.add_row(cells(row));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (1..8).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let header = &report.header;
    let mut text = format!(
        "{}\n{}, {} cores, {}, {}, commit {}{}\n\n{}\n\n",
        header.command,
        header.machine.cpu,
        header.machine.cores,
        header.machine.kernel,
        header.rustc.as_deref().unwrap_or("rustc unknown"),
        header.commit.as_deref().unwrap_or("unknown"),
        if header.quick { ", quick" } else { "" },
        table.trim_fmt()
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
