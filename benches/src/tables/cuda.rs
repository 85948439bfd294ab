//! The table of what device operations cost the host, beside the driver's bare calls.

use anyhow::Result;

use super::digits::cell_of;
use crate::stored::StoredSuite;

/// The rows.
pub(super) fn table(suite: &StoredSuite) -> Result<String> {
    let report = suite.fields();
    let driver = report.get("driver")?;
    let remark = match driver.get("simulated")?.truth()? {
        true => "simulated driver, no GPU: host-side cost only",
        false => driver.get("device")?.text()?,
    };
    let mut lines = format!("{}; **{remark}**:\n\n", suite.header.line());
    lines.push_str(
        "| row | driver | p50 | p99 | max | bare calls, same run | over them | over what a publish needs | driver's calls, ours / bare |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in report.get("rows")?.elements()? {
        let calls = [row.maybe_number("driver_calls")?, row.maybe_number("bare_driver_calls")?];
        let calls: Vec<_> =
            calls.into_iter().flatten().map(|calls| format!("{calls:.0}")).collect();
        lines.push_str(&format!(
            "| `{}` | {} | {} {} | {} | {} | {} | {} | {} | {} |\n",
            row.get("name")?.text()?,
            row.get("driver")?.text()?,
            cell_of(&row, "value")?,
            row.get("unit")?.text()?,
            cell_of(&row, "p99")?,
            cell_of(&row, "max")?,
            cell_of(&row, "bare")?,
            cell_of(&row, "over_bare")?,
            cell_of(&row, "over_needed")?,
            calls.join(" / "),
        ));
    }
    if let Some(why) = report.maybe_text("gpu_skipped")? {
        lines.push_str(&format!("\n{why}.\n"));
    }
    Ok(lines)
}
