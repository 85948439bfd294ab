//! Two runs side by side: what got slower, what got faster, what is in one of them only.
//!
//! Rows are matched by suite and name. A figure of one run says little about that of another on a
//! machine that others use too; so nothing here is a gate, and different machines are said first.

mod text;
mod threshold;

pub use threshold::Threshold;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::stored::{Better, StoredRow, StoredRun};

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The machines of both sides, if they differ.
    pub machines_differ: Option<[String; 2]>,
    /// Whether figures of a quick run are among them.
    pub quick: bool,
    /// How many percent worse a row may be.
    pub threshold_percent: f64,
    /// Rows of both sides: those that got worse by more than that first, the worst before the others.
    pub rows: Vec<Change>,
    /// `suite: row` of the first side only.
    pub only_before: Vec<String>,
    /// `suite: row` of the second side only.
    pub only_after: Vec<String>,
}

/// A row of both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The suite.
    pub suite: String,
    /// The row.
    pub name: String,
    /// The unit of all figures.
    pub unit: String,
    /// Which figures are better.
    pub better: Better,
    /// Ours, first side.
    pub before: f64,
    /// Ours, second side.
    pub after: f64,
    /// From the first to the second; nothing if the first is zero.
    pub change_percent: Option<f64>,
    /// The 99th percentile, first side.
    pub p99_before: Option<f64>,
    /// The same, second side.
    pub p99_after: Option<f64>,
    /// From the first to the second.
    pub p99_change_percent: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Worse by more than the threshold.
    Worse,
    /// Better by more than the threshold.
    Better,
    /// Neither.
    Same,
}

/// Compares the rows of two runs.
///
/// # Errors
/// If one was cut short and the other was not, and nobody said that this is meant.
pub fn compare(
    before: &StoredRun,
    after: &StoredRun,
    threshold: Threshold,
    quick_too: bool,
) -> Result<Comparison> {
    if before.quick() != after.quick() && !quick_too {
        let which = if before.quick() { "first" } else { "second" };
        bail!(
            "the {which} run is a quick one (field `header.quick`) and the other is not: their \
             figures are not alike; compare two full runs, or say --quick-too"
        );
    }
    let machines = [before.machines(), after.machines()];
    let mut comparison = Comparison {
        machines_differ: (machines[0] != machines[1])
            .then(|| machines.map(|machines| machines.join("; "))),
        quick: before.quick() || after.quick(),
        threshold_percent: threshold.percent(),
        rows: Vec::new(),
        only_before: only(before, after),
        only_after: only(after, before),
    };
    for suite in &before.suites {
        for row in &suite.rows {
            let other = after.row(&suite.name, &row.name);
            comparison.rows.extend(
                other.and_then(|other| Change::between(&suite.name, row, other, threshold)),
            );
        }
    }
    comparison.rows.sort_by(|a, b| {
        a.verdict.cmp(&b.verdict).then_with(|| b.distance().total_cmp(&a.distance()))
    });
    Ok(comparison)
}

/// The rows with a figure that the other side has not, or not in the same unit.
fn only(side: &StoredRun, other: &StoredRun) -> Vec<String> {
    let mut rows = Vec::new();
    for suite in &side.suites {
        let alone = suite.rows.iter().filter(|row| {
            let there = other.row(&suite.name, &row.name);
            let same = there.is_some_and(|there| there.value.is_some() && there.unit == row.unit);
            row.value.is_some() && !same
        });
        rows.extend(alone.map(|row| format!("{}: {}", suite.name, row.name)));
    }
    rows
}

impl Comparison {
    /// Whether any row got worse by more than the threshold.
    pub fn regressed(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Worse)
    }

    /// For people.
    pub fn text(&self) -> String {
        text::text(self)
    }
}

impl Change {
    fn between(
        suite: &str,
        before: &StoredRow,
        after: &StoredRow,
        threshold: Threshold,
    ) -> Option<Change> {
        if before.unit != after.unit {
            return None;
        }
        let (old, new) = (before.value?, after.value?);
        let change_percent = percent(old, new);
        let worse = match before.better {
            Better::Lower => new > old,
            Better::Higher => new < old,
        };
        // From nothing to something is more than any threshold.
        let far = match change_percent {
            Some(change) => change.abs() > threshold.percent(),
            None => new != old,
        };
        Some(Change {
            suite: suite.to_owned(),
            name: before.name.clone(),
            unit: before.unit.clone(),
            better: before.better,
            before: old,
            after: new,
            change_percent,
            p99_before: before.p99,
            p99_after: after.p99,
            p99_change_percent: before
                .p99
                .zip(after.p99)
                .and_then(|(before, after)| percent(before, after)),
            verdict: match (far, worse) {
                (true, true) => Verdict::Worse,
                (true, false) => Verdict::Better,
                (false, _) => Verdict::Same,
            },
        })
    }

    /// How far the two figures are from each other.
    fn distance(&self) -> f64 {
        self.change_percent.map_or(f64::INFINITY, f64::abs)
    }
}

fn percent(before: f64, after: f64) -> Option<f64> {
    (before != 0.0).then(|| (after - before) / before.abs() * 100.0)
}
