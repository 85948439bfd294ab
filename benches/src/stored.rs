//! Runs as files hold them, in one form whichever suite wrote them.
//!
//! A file is the report of one suite (`header`, `rows`) or a run of them all (`header`, `suites`, each a
//! report or the reason why there is none). A file of another form is refused with its name, the field
//! and what was found there.

mod field;
mod header;
mod join;
mod row;
mod run;

pub use field::Field;
pub use header::StoredHeader;
pub use join::{Outcome, RunOutcome, join};
pub use row::{Better, Other, StoredRow};
pub use run::{StoredRun, StoredSuite, quoted};

/// The suites, in the order in which they are shown.
pub const SUITES: [&str; 7] = ["copy", "stream", "pool", "cuda", "share", "py", "triton"];
