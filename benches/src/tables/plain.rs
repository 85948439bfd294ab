//! The table of a suite whose rows have one limit and one peer.

use anyhow::Result;

use super::digits::cell;
use crate::stored::StoredSuite;

/// The rows, beside those of one other system.
pub(super) fn table(suite: &StoredSuite, system: &str) -> Result<String> {
    let mut lines = format!("{}:\n\n", suite.header.line());
    lines.push_str(&format!(
        "| row | p50 | p99 | max | limit, same run | of limit | {system} | of {system} |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    ));
    for row in &suite.rows {
        let limit = row.limit.as_ref();
        let peer = row.peer.as_ref().filter(|peer| peer.name.contains(system));
        lines.push_str(&format!(
            "| `{}` | {} {} | {} | {} | {} | {} | {} | {} |\n",
            row.name,
            cell(row.value),
            row.unit,
            cell(row.p99),
            cell(row.max),
            cell(limit.map(|limit| limit.value)),
            cell(limit.and_then(|limit| limit.ratio)),
            cell(peer.map(|peer| peer.value)),
            cell(peer.and_then(|peer| peer.ratio)),
        ));
    }
    Ok(lines)
}
