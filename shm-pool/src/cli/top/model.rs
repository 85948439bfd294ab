//! What `shm top` shows, apart from how: looks and key presses go in, rows come out.
//!
//! It reads no clock and no shared memory, so that every screen can be made up in a test.

use super::row::{Row, Track};
use super::snapshot::{Snapshot, Space};
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

/// Everything a screen is drawn from.
pub(crate) struct Model {
    rows: Vec<Row>,
    tracks: HashMap<String, Track>,
    order: Order,
    is_reversed: bool,
    selected: Option<String>,
    pub(crate) pane: Pane,
    pub(crate) is_paused: bool,
    pub(crate) prefix: String,
    pub(crate) time_ns: u64,
    pub(crate) space: Option<Space>,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Name,
    Rate,
    Memory,
    Holders,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pane {
    /// All segments.
    Table,
    /// One segment, with holders and counters.
    Detail,
    /// The keys.
    Help,
}

/// What a key press asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    Sort(Order),
    /// So many rows down; up if negative.
    Move(isize),
    Enter,
    Pause,
    Help,
    /// Back to the table, and from there out.
    Back,
    Quit,
}

impl Model {
    pub(crate) fn new(prefix: &str) -> Model {
        Model {
            rows: Vec::new(),
            tracks: HashMap::new(),
            order: Order::Name,
            is_reversed: false,
            selected: None,
            pane: Pane::Table,
            is_paused: false,
            prefix: prefix.to_owned(),
            time_ns: 0,
            space: None,
        }
    }

    /// Takes in a look. A paused model takes none.
    pub(crate) fn take(&mut self, snapshot: Snapshot) {
        if self.is_paused {
            return;
        }
        (self.time_ns, self.space) = (snapshot.time_ns, snapshot.space);
        let mut tracks = std::mem::take(&mut self.tracks);
        let place = self.place();
        self.rows.clear();
        for subject in snapshot.subjects {
            let name = subject.name.clone();
            let row = match tracks.remove(&name) {
                Some(mut track) => {
                    let row = track.go_on(subject, snapshot.at);
                    self.tracks.insert(name, track);
                    row
                }
                None => {
                    let (track, row) = Track::begin(subject, snapshot.at);
                    self.tracks.insert(name, track);
                    row
                }
            };
            self.rows.push(row);
        }
        self.sort();
        self.keep_selection(place);
    }

    /// Does what a key asks for; true if that is to end.
    pub(crate) fn press(&mut self, press: Press) -> bool {
        match press {
            Press::Quit => return true,
            Press::Back if self.pane == Pane::Table => return true,
            Press::Back => self.pane = Pane::Table,
            Press::Sort(order) => {
                self.is_reversed = self.order == order && !self.is_reversed;
                self.order = order;
                self.sort();
            }
            Press::Move(by) => self.select(by),
            Press::Enter => self.toggle(Pane::Detail),
            Press::Help => self.toggle(Pane::Help),
            Press::Pause => self.is_paused = !self.is_paused,
        }
        false
    }

    /// The segments, sorted.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// By what they are sorted, and whether the other way round.
    pub(crate) fn order(&self) -> (Order, bool) {
        (self.order, self.is_reversed)
    }

    /// Which row is selected.
    pub(crate) fn place(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows.iter().position(|row| row.name == *selected)
    }

    /// The selected row.
    pub(crate) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.place()?)
    }

    /// Memory of all segments.
    pub(crate) fn memory(&self) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.saturating_add(row.memory_bytes))
    }

    fn toggle(&mut self, pane: Pane) {
        self.pane = if self.pane == pane { Pane::Table } else { pane };
    }

    fn select(&mut self, by: isize) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let place = self.place().map_or(0, |place| place.saturating_add_signed(by)).min(last);
        self.selected = Some(self.rows[place].name.clone());
    }

    /// A segment stays selected wherever it goes; if it is gone, its neighbour is.
    fn keep_selection(&mut self, place: Option<usize>) {
        if self.place().is_none() {
            let last = self.rows.len().saturating_sub(1);
            let next = self.rows.get(place.unwrap_or(0).min(last));
            self.selected = next.map(|row| row.name.clone());
        }
    }

    fn sort(&mut self) {
        let order = self.order;
        let rate = |row: &Row| row.rate_per_s.unwrap_or_default();
        self.rows.sort_by(|a, b| {
            let first = match order {
                Order::Name => Ordering::Equal,
                Order::Rate => rate(b).total_cmp(&rate(a)),
                Order::Memory => Reverse(a.memory_bytes).cmp(&Reverse(b.memory_bytes)),
                Order::Holders => Reverse(a.holders).cmp(&Reverse(b.holders)),
            };
            first.then_with(|| a.name.cmp(&b.name))
        });
        if self.is_reversed {
            self.rows.reverse();
        }
    }
}
