//! The table as plain text or JSON, where there is no screen to draw on.

use super::super::subject::bytes;
use super::super::watch::time;
use super::figures::short;
use super::model::Model;
use super::row::Row;
use serde::Serialize;

/// All segments at one moment; in JSON one object per look.
#[derive(Serialize)]
pub(crate) struct Table<'a> {
    /// When, nanoseconds since 1970 UTC.
    time_ns: u64,
    /// Memory of all these segments.
    memory_bytes: u64,
    /// Of the file system of shared memory; `null` if the system does not say.
    free_bytes: Option<u64>,
    total_bytes: Option<u64>,
    segments: &'a [Row],
}

impl Table<'_> {
    pub(crate) fn of(model: &Model) -> Table<'_> {
        Table {
            time_ns: model.time_ns,
            memory_bytes: model.memory(),
            free_bytes: model.space.map(|space| space.free),
            total_bytes: model.space.map(|space| space.total),
            segments: model.rows(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let width =
            self.segments.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(4);
        let carries = |row: &Row| row.carries.chars().count();
        let wide = self.segments.iter().map(carries).max().unwrap_or(0).max(7);
        let mut text = self.title();
        text += &format!(
            "\n{:<width$}  {:<6}  {:<11}  {:<wide$}  {:>6}  {:>6}  {:>5}  {:>9}  {:>7}  {:>10}",
            "name",
            "kind",
            "state",
            "carries",
            "rate/s",
            "MB/s",
            "used",
            "in use",
            "holders",
            "memory"
        );
        for row in self.segments {
            let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
            text += &format!(
                "\n{:<width$}  {:<6}  {:<11}  {:<wide$}  {:>6}  {:>6}  {:>5}  {:>9}  {:>7}  {:>10}",
                row.name,
                row.kind(),
                row.state,
                row.carries,
                figure(row.rate_per_s),
                figure(row.mb_per_s),
                row.last_use(),
                row.in_use(),
                row.holders,
                bytes(row.memory_bytes),
            );
        }
        text
    }

    fn title(&self) -> String {
        let free = match (self.free_bytes, self.total_bytes) {
            (Some(free), Some(total)) => {
                format!(", {} of {} free in /dev/shm", bytes(free), bytes(total))
            }
            _ => String::new(),
        };
        let (time, memory) = (time(self.time_ns), bytes(self.memory_bytes));
        format!("{time} UTC: {} segments, {memory}{free}", self.segments.len())
    }
}
