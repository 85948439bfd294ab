//! Which queues there are: names, and runs of cells.
//!
//! ```text
//!   entry word:  63 ..... 16 | 15 .. 12 | 11 .. 0     vacant ──▶ claimed ──▶ granted ──▶ live ──▶ closing
//!                incarnation | phase    | member        ▲           │           │                    │
//!   last grant:  63 .. 32 | 31 ... 8    | 7 .. 0        └───────────┴───────────┴────────────────────┘
//!                serial   | incarnation | entry + 1
//! ```
//!
//! Names are unique and runs of cells disjoint without a lock: whoever wants to create a queue writes
//! name and run into an entry of its own, which means nothing yet, and is granted both by one exchange
//! of the directory's word `last grant`. The exchange succeeds only if nothing was granted since the
//! creator began to look at the entries that were granted before. Because the word names the entry
//! that was granted last, whoever comes next marks that entry before it looks: a creator that stops
//! right after the exchange has the name all the same.
//!
//! A creator that dies is vacant again when it is reaped. Positions of a new queue begin where no queue
//! of this pool has ever been, so that an exchange of a process that was stopped while it used a queue
//! that is gone changes nothing in the one that has the cells now. Upholds invariants 1, 2 and 3.

use crate::queue::cell::POSITIONS;
use crate::sync::{AtomicU64, Mutation, Ordering, mutated};

/// The most bytes of a queue's name.
pub(crate) const MAX_NAME: usize = 128;
/// Words of an entry.
pub(crate) mod field {
    pub(crate) const WORD: usize = 0;
    /// First cell and number of cells, 32 bits each.
    pub(crate) const RUN: usize = 1;
    pub(crate) const MODE: usize = 2;
    pub(crate) const NAME_LEN: usize = 3;
    /// Of the first entry only: the last grant, of the whole directory.
    pub(crate) const GRANT: usize = 4;
    /// Of the first entry only: where the positions of the next queue begin.
    pub(crate) const BASE: usize = 5;
    /// The queue's first position, for reports.
    pub(crate) const BEGIN: usize = 6;
    /// Up to [`MAX_NAME`](super::MAX_NAME) bytes.
    pub(crate) const NAME: usize = 8;
    pub(crate) const TAIL: usize = 24;
    pub(crate) const NOT_EMPTY: usize = 32;
    pub(crate) const HEAD: usize = 40;
    pub(crate) const NOT_FULL: usize = 48;
    /// Tickets that nobody could redeem any more, for reports.
    pub(crate) const STALE: usize = 56;
    /// Positions that a consumer of a broadcast queue came too late for, for reports.
    pub(crate) const MISSED: usize = 57;
    /// One for each seat.
    pub(crate) const CURSORS: usize = 64;
}

/// Positions that are left out between two queues: more than can still be filled by processes that
/// have not noticed yet that the first one is closing.
const GAP: u64 = 1 << 32;

/// What an entry is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Vacant = 0,
    /// Its creator is looking for a run of cells; name and run mean nothing yet.
    Claimed = 1,
    /// Name and run are its own; its creator is preparing the cells.
    Granted = 2,
    /// A queue.
    Live = 3,
    /// No queue any more; what is left in it is being given back.
    Closing = 4,
}

/// The word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryWord(pub(crate) u64);

impl EntryWord {
    fn new(incarnation: u64, phase: Phase, member: u16) -> EntryWord {
        EntryWord(incarnation << 16 | (phase as u64) << 12 | u64::from(member & 0xFFF))
    }
    pub(crate) fn phase(self) -> Phase {
        match self.0 >> 12 & 0xF {
            1 => Phase::Claimed,
            2 => Phase::Granted,
            3 => Phase::Live,
            4 => Phase::Closing,
            _ => Phase::Vacant,
        }
    }
    pub(crate) fn member(self) -> usize {
        (self.0 & 0xFFF) as usize
    }
    pub(crate) fn at(self, phase: Phase) -> EntryWord {
        EntryWord::new(self.0 >> 16, phase, (self.0 & 0xFFF) as u16)
    }
    fn incarnation(self) -> u64 {
        self.0 >> 16
    }
    /// Whether name and run are the entry's own.
    fn is_settled(self) -> bool {
        matches!(self.phase(), Phase::Granted | Phase::Live | Phase::Closing)
    }
}

/// An entry that the caller has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) entry: usize,
    word: EntryWord,
}

impl Claimed {
    /// What the entry's word will be once there is a queue.
    pub(crate) fn live(self) -> EntryWord {
        self.word.at(Phase::Live)
    }
}

/// How asking for a name and a run of cells ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Grant {
    /// They are the caller's; the run begins at this cell.
    First(usize),
    /// There is a queue of that name.
    Exists,
    /// No run is long enough; the longest one has so many cells.
    NoRoom(usize),
}

/// The entries, `stride` words each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory<'a> {
    pub(crate) words: &'a [AtomicU64],
    pub(crate) stride: usize,
    /// Cells that there are for all queues.
    pub(crate) cells: usize,
}

impl<'a> Directory<'a> {
    pub(crate) fn entries(&self) -> usize {
        self.words.len() / self.stride
    }

    /// The words of an entry.
    pub(crate) fn entry(&self, entry: usize) -> &'a [AtomicU64] {
        &self.words[entry * self.stride..(entry + 1) * self.stride]
    }

    /// The entry as it is now.
    #[inline]
    pub(crate) fn word(&self, entry: usize) -> EntryWord {
        // SYNC: entry. Acquire: what its creator wrote before it was live is seen.
        EntryWord(self.words[entry * self.stride + field::WORD].load(Ordering::Acquire))
    }

    /// One exchange of an entry's word.
    pub(crate) fn exchange(&self, entry: usize, from: EntryWord, to: EntryWord) -> bool {
        // SYNC: entry. Release: what was written into the entry comes before its new phase.
        self.entry(entry)[field::WORD]
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes a vacant entry for member `owner`.
    pub(crate) fn claim(&self, owner: u16) -> Option<Claimed> {
        (0..self.entries()).find_map(|entry| {
            let found = self.word(entry);
            let word = EntryWord::new(found.incarnation() + 1, Phase::Claimed, owner);
            (found.phase() == Phase::Vacant && self.exchange(entry, found, word))
                .then_some(Claimed { entry, word })
        })
    }

    /// Gives a claimed or granted entry back.
    pub(crate) fn abandon(&self, claimed: Claimed) {
        let Claimed { entry, word } = claimed;
        let vacant = word.at(Phase::Vacant);
        let _ = self.exchange(entry, word, vacant)
            || self.exchange(entry, word.at(Phase::Granted), vacant);
    }

    /// Asks for `name` and for a run of `count` cells.
    pub(crate) fn grant(&self, claimed: Claimed, name: &[u8], count: usize) -> Grant {
        let own = self.entry(claimed.entry);
        own[field::NAME_LEN].store(name.len() as u64, Ordering::Relaxed);
        for (word, bytes) in own[field::NAME..].iter().zip(name.chunks(8)) {
            word.store(packed(bytes), Ordering::Relaxed);
        }
        let last = &self.words[field::GRANT];
        // Each turn that fails is another creator's success.
        loop {
            // SYNC: grant. Acquire: the names and runs of all who were granted before are seen.
            let granted = last.load(Ordering::Acquire);
            self.mark(granted);
            if self.find_settled(name, claimed.entry) {
                return Grant::Exists;
            }
            let first = match self.first_of_free_run(count, claimed.entry) {
                Ok(first) => first,
                Err(longest) => return Grant::NoRoom(longest),
            };
            own[field::RUN].store((first as u64) << 32 | count as u64, Ordering::Relaxed);
            let next = (granted >> 32).wrapping_add(1) << 32
                | (claimed.word.incarnation() & 0xFF_FFFF) << 8
                | (claimed.entry as u64 + 1);
            // SYNC: grant. Release: name and run come before the grant.
            if last.compare_exchange(granted, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.mark(next);
                return Grant::First(first);
            }
        }
    }

    /// A granted entry, everything in it prepared, becomes a queue. False if it was taken away, which
    /// happens to nobody who lives.
    pub(crate) fn go_live(&self, claimed: Claimed) -> bool {
        self.exchange(claimed.entry, claimed.word.at(Phase::Granted), claimed.live())
    }

    /// The live queue of that name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(usize, EntryWord)> {
        (0..self.entries()).find_map(|entry| {
            let word = self.word(entry);
            let found = word.phase() == Phase::Live
                && self.has_name(entry, name)
                // The name was this queue's if the queue is still there.
                && self.word(entry) == word;
            found.then_some((entry, word))
        })
    }

    /// The name of an entry, as far as it can be believed.
    pub(crate) fn name(&self, entry: usize) -> Vec<u8> {
        let words = self.entry(entry);
        let len = words[field::NAME_LEN].load(Ordering::Relaxed).min(MAX_NAME as u64) as usize;
        let mut name: Vec<u8> = words[field::NAME..field::NAME + len.div_ceil(8)]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        name.truncate(len);
        name
    }

    /// First cell and number of cells of an entry; `None` unless there are such cells.
    pub(crate) fn run(&self, entry: usize) -> Option<(usize, usize)> {
        let run = self.entry(entry)[field::RUN].load(Ordering::Relaxed);
        let (first, count) = ((run >> 32) as usize, run as u32 as usize);
        (count > 0 && first + count <= self.cells).then_some((first, count))
    }

    /// Where the positions of a new queue begin; `None` once all are used up.
    pub(crate) fn base(&self) -> Option<u64> {
        let base = self.words[field::BASE].load(Ordering::Acquire);
        (base < POSITIONS - GAP).then_some(base)
    }

    /// Notes that positions before `end` were used, so that a new queue begins after them.
    pub(crate) fn use_up(&self, end: u64) {
        let next = end.min(POSITIONS).saturating_add(GAP).min(POSITIONS);
        self.words[field::BASE].fetch_max(next, Ordering::AcqRel);
    }

    /// Makes sure that the entry of a grant is known to have it.
    fn mark(&self, grant: u64) {
        let Some(entry) = ((grant & 0xFF) as usize).checked_sub(1) else { return };
        if entry >= self.entries() || mutated(Mutation::GrantUnmarked) {
            return;
        }
        let word = self.word(entry);
        if word.phase() == Phase::Claimed
            && word.incarnation() & 0xFF_FFFF == grant >> 8 & 0xFF_FFFF
        {
            self.exchange(entry, word, word.at(Phase::Granted));
        }
    }

    fn find_settled(&self, name: &[u8], own: usize) -> bool {
        (0..self.entries()).any(|entry| {
            let word = self.word(entry);
            entry != own
                && matches!(word.phase(), Phase::Granted | Phase::Live)
                && self.has_name(entry, name)
                && self.word(entry).is_settled()
        })
    }

    fn has_name(&self, entry: usize, name: &[u8]) -> bool {
        let words = self.entry(entry);
        words[field::NAME_LEN].load(Ordering::Relaxed) == name.len() as u64
            && words[field::NAME..]
                .iter()
                .zip(name.chunks(8))
                .all(|(word, bytes)| word.load(Ordering::Relaxed) == packed(bytes))
    }

    /// The first cell of a run of `count` that no settled entry has, or the length of the longest run.
    fn first_of_free_run(&self, count: usize, own: usize) -> Result<usize, usize> {
        let mut taken: Vec<(usize, usize)> = (0..self.entries())
            .filter(|&entry| entry != own && self.word(entry).is_settled())
            .filter_map(|entry| self.run(entry))
            .collect();
        taken.sort_unstable();
        taken.push((self.cells, 0));
        let (mut first, mut longest) = (0, 0);
        for (start, len) in taken {
            let free = start.saturating_sub(first);
            if free >= count {
                return Ok(first);
            }
            longest = longest.max(free);
            first = first.max(start + len);
        }
        Err(longest)
    }
}

fn packed(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
