//! The rows of the suite `cuda`, a file for each group.
//!
//! Every row stands beside the bare calls of the driver that do the same work, on the same queue, in the
//! same run. On the simulated driver only what the host does can be measured, and every line says `sim`;
//! the groups of the GPU are then rehearsed in a quick run and their figures thrown away.
//!
//! ```text
//!   place ──► driver, device, queues        bare ──► the driver's functions with nothing around them
//!     │
//!     ├──► host    what a call costs its thread      (driver or sim)
//!     └──► device  what arrives when                 (driver only)
//!            │
//!            └──► figures ──► row ──► report
//! ```

mod bare;
mod device;
mod figures;
mod flags;
mod host;
mod measure;
mod place;
mod report;
mod row;

pub use measure::run;
pub use report::Report;
pub use row::Row;

use std::time::Duration;

use anyhow::Result;

use place::Place;

/// Rows that are measured together.
struct Group {
    /// What their names begin with.
    name: &'static str,
    /// Measures them.
    run: fn(&Place) -> Result<Vec<Row>>,
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
