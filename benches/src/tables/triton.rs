//! The tables of calls of inference servers: one by the time of a call, one by how many there are in a
//! second.

use anyhow::Result;

use super::digits::cell_of;
use crate::stored::{Field, StoredSuite};

/// The paths of our client whose rows are shown; the file has them all, and other clients' too.
const PATHS: [&str; 4] = ["in-place/http", "in-place/unix", "in-place/grpc", "copied/grpc"];

/// Both tables.
pub(super) fn tables(suite: &StoredSuite) -> Result<String> {
    let report = suite.fields();
    let mut lines = suite.header.line();
    for server in report.get("servers")?.elements()? {
        let (backend, name) = (server.get("backend")?.text()?, server.get("name")?.text()?);
        lines.push_str(&format!("; {backend}: {name}"));
    }
    lines.push_str(
        "\n\n| row | p50 us | p99 | max | calls/s | MB/s | limit, same run | of limit | perf_analyzer | of it | triton-shm-client | of it | payload |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows(suite, "us")? {
        lines.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            row.get("name")?.text()?,
            cells(&row, ["p50_us", "p99_us", "max_us", "calls_per_second", "mb_per_second"])?,
            compared(&row)?,
            row.get("payload")?.text()?,
        ));
    }
    lines.push_str(
        "\n| calls in flight, `identity` | calls/s | p50 us | p99 | max | limit, same run | of limit | perf_analyzer | of it | triton-shm-client | of it |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows(suite, "calls/s")? {
        lines.push_str(&format!(
            "| `{}` | {} | {} |\n",
            row.get("name")?.text()?,
            cells(&row, ["calls_per_second", "p50_us", "p99_us", "max_us"])?,
            compared(&row)?,
        ));
    }
    Ok(lines)
}

/// The rows of ours that have this unit.
fn rows<'a>(suite: &'a StoredSuite, unit: &str) -> Result<Vec<Field<'a>>> {
    let fields = suite.fields().get("rows")?.elements()?;
    let shown = fields.into_iter().zip(&suite.rows).filter(|(_, row)| {
        row.unit == unit && PATHS.iter().any(|path| row.name.ends_with(&format!("/{path}")))
    });
    Ok(shown.map(|(field, _)| field).collect())
}

fn compared(row: &Field<'_>) -> Result<String> {
    let others = ["limit", "ratio_limit", "perf_analyzer", "ratio_perf_analyzer", "peer"];
    Ok(format!("{} | {}", cells(row, others)?, cell_of(row, "ratio_peer")?))
}

fn cells<const N: usize>(row: &Field<'_>, names: [&str; N]) -> Result<String> {
    let cells: Vec<_> = names.iter().map(|name| cell_of(row, name)).collect::<Result<_>>()?;
    Ok(cells.join(" | "))
}
