//! A stream, looked at without write access.
//!
//! Upholds invariant 4 through [`check_stream`].

use serde::Serialize;
use shm_core::{CellState, LockCheck, OpenError, StreamCheck, check_stream};

/// What a stream is like.
#[derive(Serialize)]
pub(super) struct StreamRow {
    pub(super) newest: u64,
    pub(super) lock: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) announced: Option<u64>,
    pub(super) cells: Vec<CellRow>,
    #[serde(skip)]
    pub(super) problems: Vec<String>,
    #[serde(skip)]
    pub(super) notes: Vec<String>,
}

/// One cell.
#[derive(Serialize)]
pub(super) struct CellRow {
    index: usize,
    state: &'static str,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_mono_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_wall_ns: Option<u64>,
}

impl StreamRow {
    /// Looks at the stream of that name.
    pub(super) fn of(name: &str) -> Result<StreamRow, OpenError> {
        Ok(check_stream(name)?.into())
    }

    /// `newest frame 7; 3 cells: 2 complete, 1 unfinished`.
    pub(super) fn summary(&self) -> String {
        let states = ["complete", "unfinished", "empty"].map(|state| {
            let count = self.cells.iter().filter(|cell| cell.state == state).count();
            (count > 0).then(|| format!("{count} {state}"))
        });
        let states: Vec<String> = states.into_iter().flatten().collect();
        let newest = match self.newest {
            0 => "no frame yet".to_owned(),
            count => format!("newest frame {count}"),
        };
        format!("{newest}; {} cells: {}", self.cells.len(), states.join(", "))
    }
}

impl From<StreamCheck> for StreamRow {
    fn from(check: StreamCheck) -> StreamRow {
        let cells = check.cells.iter().map(|cell| CellRow {
            index: cell.index,
            state: match cell.state {
                CellState::Empty => "empty",
                CellState::Complete => "complete",
                _ => "unfinished",
            },
            count: cell.count,
            frame_id: cell.frame.map(|frame| frame.frame_id),
            written_mono_ns: cell.frame.map(|frame| frame.written_mono_ns),
            written_wall_ns: cell.frame.map(|frame| frame.written_wall_ns),
        });
        StreamRow {
            newest: check.newest,
            lock: match check.lock {
                LockCheck::Free => "free",
                LockCheck::Held => "held",
                LockCheck::Abandoned => "abandoned",
                _ => "unknown",
            },
            announced: check.announced,
            cells: cells.collect(),
            problems: check.problems,
            notes: check.notes,
        }
    }
}
