//! A look at every cell of a stream, and a sentence about what is not as it should be.
//!
//! Upholds invariants 2 (everything is read once, checked, and reported; nothing is changed), 3 (whether the
//! holder of the writer lock lives is the kernel's word) and 4 (the mapping is read-only altogether).
//!
//! Cell `i` of K holds the frames whose count modulo K is `i`, so the newest count says which frame each cell
//! has to hold. A writer at work changes both meanwhile, but only forward:
//!
//! ```text
//!   newest n before                     cells                     newest m after, m >= n
//!   ───────────────▶  a cell holds the last frame up to n that is its own,  ◀───────────
//!                     or a later one up to m + 1; what is above m may be unfinished
//! ```

use super::layout::HOT;
use super::{FrameInfo, Shared, Stream};
use crate::clock;
use crate::deadline::Deadline;
use crate::os::Access;
use crate::segment::OpenError;
use crate::seqlock::{CellHeader, Cells, Look};
use crate::sync::Ordering;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Between two looks, so that what a writer is just doing is over.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a cell that changes while it is looked at is looked at again.
const ATTEMPTS: usize = 8;
/// More frames than any device has in its queue.
const IN_FLIGHT_MAX: u64 = 1 << 32;

/// What [`check_stream`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCheck {
    /// Count of the newest complete frame; 0 before the first.
    pub newest: u64,
    /// Every cell.
    pub cells: Vec<CellCheck>,
    /// The writer lock.
    pub lock: LockCheck,
    /// Process id that the writer signed in with, for reports; 0 if nobody is signed in.
    pub writer_pid: u64,
    /// Count of the newest frame that was announced, of an external stream.
    pub announced: Option<u64>,
    /// Harmless traces of a writer that was killed or gave up: the next one clears them away.
    pub notes: Vec<String>,
    /// Damage: what no writer leaves behind, whenever it is killed. Like a note, it was there at two looks.
    pub problems: Vec<String>,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CellCheck {
    /// Its number.
    pub index: usize,
    /// What it is at.
    pub state: CellState,
    /// Count of its frame, as its sequence says; 0 for an empty cell.
    pub count: u64,
    /// Numbers and times of a complete frame.
    pub frame: Option<FrameInfo>,
}

/// What a cell is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CellState {
    /// It has never held a frame.
    Empty,
    /// It holds a frame.
    Complete,
    /// A frame was begun, and is not finished, or never will be.
    Unfinished,
}

/// Who has the writer lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockCheck {
    /// Nobody.
    Free,
    /// A handle that lives.
    Held,
    /// A handle that is gone: the next writer takes over.
    Abandoned,
    /// The system cannot tell.
    Unknown,
}

impl StreamCheck {
    /// True if nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks at every cell of a stream, its writer lock and what was announced, without write access.
///
/// ```
/// # let name = format!("doc-check-{}", std::process::id());
/// use shm_core::{CellState, Deadline, Stream, StreamConfig, check_stream};
/// let stream = Stream::create(&name, &StreamConfig::of::<u8>(&[3])?)?;
/// stream.writer(Deadline::NOW)?.publish(b"abc")?;
///
/// let check = check_stream(&name)?;
/// assert!(check.is_clean() && check.notes.is_empty());
/// assert_eq!((check.newest, check.cells[1].count), (1, 1));
/// assert_eq!(check.cells[2].state, CellState::Empty);
/// # stream.unlink()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`Stream::open`].
pub fn check_stream(name: &str) -> Result<StreamCheck, OpenError> {
    let stream = Stream::open_for(name, Access::ReadOnly, Deadline::NOW)?;
    let mut check = look(stream.shared());
    if !check.is_clean() || !check.notes.is_empty() {
        thread::sleep(PAUSE);
        let before: BTreeSet<String> = check.problems.drain(..).chain(check.notes).collect();
        check = look(stream.shared());
        check.problems.retain(|problem| before.contains(problem));
        check.notes.retain(|note| before.contains(note));
    }
    Ok(check)
}

fn look(shared: &Shared) -> StreamCheck {
    let ring = shared.ring();
    let lock = lock_of(shared);
    let newest_before = ring.newest();
    let cells: Vec<CellCheck> = (0..ring.cells.len()).map(|index| shared.cell(index)).collect();
    let external = shared.layout.external.is_some();
    let mut check = StreamCheck {
        newest: ring.newest(),
        cells,
        lock,
        writer_pid: shared.segment.hot(HOT.writer_pid).load(Ordering::Relaxed),
        announced: external.then(|| shared.flight().announced()),
        notes: Vec::new(),
        problems: Vec::new(),
    };
    check.judge_cells(newest_before);
    check.judge_frames(shared.layout.desc.byte_len());
    check.judge_lock();
    check.judge_announced();
    check
}

fn lock_of(shared: &Shared) -> LockCheck {
    match (shared.segment.writer_lock().holder(), shared.is_writer_alive()) {
        (None, _) => LockCheck::Free,
        (_, Some(true)) => LockCheck::Held,
        (_, Some(false)) => LockCheck::Abandoned,
        (_, None) => LockCheck::Unknown,
    }
}

impl Shared {
    fn cell(&self, index: usize) -> CellCheck {
        let ring = self.ring();
        let mut sequence = 0;
        for _ in 0..ATTEMPTS {
            // SYNC: even mark, as in `Ring::look`; what follows is read after it.
            sequence = ring.cells.cell(index).sequence.load(Ordering::Acquire);
            let (state, count) = meaning(sequence);
            if state != CellState::Complete {
                return CellCheck { index, state, count, frame: None };
            }
            // The numbers of a frame in a cell that is not its own cannot be looked up by its count.
            if count % ring.cells.len() as u64 != index as u64 {
                return CellCheck { index, state, count, frame: None };
            }
            let Look::Stable(stamp) = ring.look(count) else { continue };
            if ring.validate(&stamp) {
                let frame = Some(FrameInfo::new(&CellHeader { count, ..stamp.header }, 0));
                return CellCheck { index, state, count, frame };
            }
        }
        // It is written again and again while it is looked at.
        let (_, count) = meaning(sequence);
        CellCheck { index, state: CellState::Unfinished, count, frame: None }
    }
}

/// What a sequence says: 2n + 1 while frame n is written, 2n + 2 once it is complete.
fn meaning(sequence: u64) -> (CellState, u64) {
    match (sequence, sequence % 2) {
        (0, _) => (CellState::Empty, 0),
        (odd, 1) => (CellState::Unfinished, odd / 2),
        (even, _) => (CellState::Complete, even / 2 - 1),
    }
}

impl StreamCheck {
    fn judge_cells(&mut self, newest_before: u64) {
        let cells = self.cells.len() as u64;
        let (newest, lock) = (self.newest, self.lock);
        if newest < newest_before {
            self.problems
                .push(format!("the newest count went back from {newest_before} to {newest}"));
        }
        // Of an external stream, whoever carries frames out may have begun all that were announced.
        let begun = self.announced.unwrap_or(0).max(newest.saturating_add(1));
        for cell in &self.cells {
            let CellCheck { index, state, count, .. } = *cell;
            let due = last_frame_of(index as u64, cells, newest_before);
            let mut problem = |what: String| self.problems.push(format!("cell {index}: {what}"));
            if state == CellState::Empty {
                if due > 0 {
                    problem(format!("it is empty, expected frame {due}"));
                }
                continue;
            }
            if count == 0 || count % cells != index as u64 {
                problem(format!("its sequence is that of frame {count}, which has no place here"));
                continue;
            }
            match state {
                CellState::Complete if count < due => {
                    problem(format!("it holds frame {count}, expected frame {due}"));
                }
                CellState::Complete if count > newest.saturating_add(1) => {
                    problem(format!("it holds frame {count}, but the newest frame is {newest}"));
                }
                CellState::Complete if count > newest && lock != LockCheck::Held => {
                    self.notes.push(format!(
                        "frame {count} is complete and was not handed over, because its writer was \
                         killed; the next writer hands it over"
                    ));
                }
                CellState::Unfinished if count <= newest_before => {
                    problem(format!(
                        "frame {count} is unfinished, but the newest frame is {newest}, which comes \
                         after it or is it"
                    ));
                }
                CellState::Unfinished if count > begun => {
                    problem(format!("frame {count} was begun, but the newest frame is {newest}"));
                }
                CellState::Unfinished if lock != LockCheck::Held => {
                    let why = match lock {
                        LockCheck::Abandoned => "its writer was killed",
                        _ => "its writer gave it up, or was killed",
                    };
                    self.notes.push(format!(
                        "frame {count} is unfinished, because {why}; the next writer writes it anew"
                    ));
                }
                _ => {}
            }
        }
    }

    /// What complete frames say of themselves.
    fn judge_frames(&mut self, byte_len: usize) {
        let now = clock::monotonic_ns();
        let mut frames: Vec<FrameInfo> = self.cells.iter().filter_map(|cell| cell.frame).collect();
        frames.sort_by_key(|frame| frame.count);
        for frame in &frames {
            let count = frame.count;
            if frame.byte_len != byte_len {
                let found = frame.byte_len;
                self.problems
                    .push(format!("frame {count}: byte_len is {found}, expected {byte_len}"));
            }
            if frame.written_mono_ns > now {
                let ahead = Duration::from_nanos(frame.written_mono_ns - now);
                self.problems.push(format!(
                    "frame {count}: its time of publication lies in the future ({} s or more)",
                    ahead.as_secs()
                ));
            }
        }
        for pair in frames.windows(2) {
            if pair[1].written_mono_ns < pair[0].written_mono_ns {
                let (older, newer) = (pair[0].count, pair[1].count);
                self.problems.push(format!("frame {newer} was published before frame {older}"));
            }
        }
    }

    fn judge_lock(&mut self) {
        if self.lock == LockCheck::Abandoned {
            let who = match self.writer_pid {
                0 => "its last writer".to_owned(),
                pid => format!("its last writer (pid {pid})"),
            };
            self.notes
                .push(format!("{who} was killed holding the lock; the next one takes it over"));
        }
    }

    fn judge_announced(&mut self) {
        let Some(announced) = self.announced else { return };
        let in_flight = announced.saturating_sub(self.newest);
        if in_flight > IN_FLIGHT_MAX {
            self.problems.push(format!(
                "frame {announced} is announced, but the newest frame is {}",
                self.newest
            ));
        } else if in_flight > 0 && self.lock != LockCheck::Held {
            self.notes.push(format!(
                "{in_flight} announced frames are in flight without a writer; the next one takes back \
                 what is not carried out"
            ));
        }
    }
}

/// The last frame up to `newest` whose cell this is; 0 if there was none.
fn last_frame_of(index: u64, cells: u64, newest: u64) -> u64 {
    let back = (newest % cells + cells - index) % cells;
    newest.saturating_sub(back)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
