//! The table of the Python package, beside two releases of the one that it replaces.

use anyhow::Result;

use super::digits::{cell, cell_of, number};
use crate::stored::{Better, Field, StoredSuite};

/// The rows.
pub(super) fn table(suite: &StoredSuite) -> Result<String> {
    let mut lines = format!("{}:\n\n", suite.header.line());
    lines.push_str(
        "| row | shm_py p50 | p99 | max | limit, same run | of limit | pyshmem 1.0.1 | pyshmem 1.4.0 | faster than the better one | goal |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for (field, row) in suite.fields().get("rows")?.elements()?.iter().zip(&suite.rows) {
        let ratio = row.peer.as_ref().and_then(|peer| peer.ratio);
        let faster = ratio.map_or(String::new(), |ratio| {
            let times = if row.better == Better::Higher { ratio } else { 1.0 / ratio };
            format!("{}x", number(times))
        });
        let met = match field.maybe("met") {
            Some(met) if met.truth()? => "met",
            Some(_) => "missed",
            None => "",
        };
        lines.push_str(&format!(
            "| `{}` | {} {} | {} | {} | {} | {} | {} | {} | {faster} | {met} |\n",
            row.name,
            cell(row.value),
            row.unit,
            cell(row.p99),
            cell(row.max),
            cell_of(field, "limit")?,
            cell_of(field, "ratio_limit")?,
            of_peer(field, row.better, "1.0.1")?,
            of_peer(field, row.better, "1.4.0")?,
        ));
    }
    Ok(lines)
}

/// The best of what a release was measured with.
fn of_peer(row: &Field<'_>, better: Better, version: &str) -> Result<String> {
    let mut best: Option<f64> = None;
    for peer in row.get("peers")?.elements()? {
        if !peer.get("name")?.text()?.ends_with(version) {
            continue;
        }
        let Some(figure) = peer.maybe_number("value")? else {
            continue;
        };
        best = Some(match (best, better) {
            (None, _) => figure,
            (Some(best), Better::Higher) => best.max(figure),
            (Some(best), Better::Lower) => best.min(figure),
        });
    }
    Ok(cell(best))
}
