//! The short table, and where and when everything was measured.

use super::digits::cell;
use crate::headline::{QUESTIONS, short_peer};
use crate::stored::{StoredRow, StoredRun};

/// What a newcomer asks, in a few rows over all suites.
pub(super) fn table(run: &StoredRun) -> String {
    let mut lines = format!("{}:\n\n", origin(run));
    lines.push_str(
        "| what | row | p50 | p99 | max | limit, same run | of limit | peer | of peer | payload |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for question in QUESTIONS {
        let name = format!("| {} | {} `{}`", question.what, question.suite, question.row);
        lines.push_str(&match question.of(run).filter(|row| row.value.is_some()) {
            Some(row) => format!("{name} | {} |\n", cells(row).join(" | ")),
            None => format!("{name} | not measured | | | | | | | |\n"),
        });
    }
    lines
}

fn cells(row: &StoredRow) -> [String; 8] {
    let (limit, peer) = (row.limit.as_ref(), row.peer.as_ref());
    [
        format!("{} {}", cell(row.value), row.unit),
        cell(row.p99),
        cell(row.max),
        cell(limit.map(|limit| limit.value)),
        cell(limit.and_then(|limit| limit.ratio)),
        peer.map_or_else(String::new, |peer| {
            format!("{} ({})", cell(Some(peer.value)), short_peer(&peer.name))
        }),
        cell(peer.and_then(|peer| peer.ratio)),
        row.payload.clone().unwrap_or_default(),
    ]
}

/// Date, machine and command: of the run, or of each suite if they ran one by one.
fn origin(run: &StoredRun) -> String {
    if let Some(header) = &run.header {
        let commit = header.commit.as_deref().unwrap_or("unknown");
        return format!("{}, `{}`, commit {commit}", header.line(), header.command);
    }
    let suites: Vec<_> =
        run.suites.iter().map(|suite| format!("`{}` {}", suite.name, suite.header.day())).collect();
    let quick = if run.quick() { "QUICK RUN, not for quoting: " } else { "" };
    format!(
        "{quick}{}, runs of single suites (`cargo xtask bench SUITE`): {}",
        run.machines().join("; "),
        suites.join(", ")
    )
}

/// The suites of the run, with their dates and commits.
pub(super) fn suites(run: &StoredRun) -> String {
    let mut lines = format!("{}.\n\n", origin(run));
    lines.push_str("| suite | rows | date | commit | command |\n|---|--:|---|---|---|\n");
    for suite in &run.suites {
        let header = &suite.header;
        lines.push_str(&format!(
            "| `{}` | {} | {} | {} | `{}` |\n",
            suite.name,
            suite.rows.len(),
            header.date,
            header.commit.as_deref().unwrap_or("unknown"),
            header.command,
        ));
    }
    for (suite, why) in &run.failed {
        let why = why.lines().next().unwrap_or_default();
        lines.push_str(&format!("\nThe suite `{suite}` failed: {why}\n"));
    }
    lines
}
