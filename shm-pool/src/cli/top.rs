//! `shm top`: all segments of this user, live.
//!
//! ```text
//!   Snapshot ──▶ Model ──▶ draw      at a terminal
//!   every        rows,     Table     as text or JSON lines: without a terminal, with `--count`, `--json`
//!   interval     order
//! ```
//!
//! Nothing attaches: rates are those of the counters in the headers, and the age of the last use is what was
//! noticed since the beginning. The JSON keys are the fields of [`Table`](tables::Table) and
//! [`Row`](row::Row).

mod detail;
mod draw;
mod figures;
mod help;
mod model;
mod row;
mod session;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

use super::arguments::TopArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::watch::Ending;
use model::Model;
use snapshot::Snapshot;
use std::io::{self, IsTerminal};
use tables::Table;

pub(crate) fn run(args: &TopArgs, output: &Output) -> Result<Exit, Failure> {
    let mut model = Model::new(&args.prefix);
    let has_screen = io::stdout().is_terminal() && !output.is_json() && args.count.is_none();
    match has_screen {
        true => session::run(&mut model, args.interval),
        false => print(&mut model, args, output),
    }
}

/// A table after each interval.
fn print(model: &mut Model, args: &TopArgs, output: &Output) -> Result<Exit, Failure> {
    let ending = Ending::listen()?;
    // Rates take two looks.
    model.take(Snapshot::take(&args.prefix)?);
    let mut tables = 0;
    while args.count.is_none_or(|count| tables < count) {
        if ending.within(args.interval) {
            break;
        }
        model.take(Snapshot::take(&args.prefix)?);
        let table = Table::of(model);
        let gap = if tables > 0 { "\n" } else { "" };
        output.line(&table, || format!("{gap}{}", table.text()))?;
        tables += 1;
    }
    Ok(Exit::Done)
}
