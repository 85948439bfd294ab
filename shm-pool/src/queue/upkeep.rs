//! The queues of a pool, as its bookkeeping sees them.
//!
//! Upholds invariants 1 and 3: what a dead creator or remover has left half done is finished by
//! whoever reaps, and a dead consumer keeps no broadcast queue full, because it is not present any more.

use crate::bell::{Bell, Call};
use crate::layout::{QUEUES, at};
use crate::ledger::Ledger;
use crate::member::MemberWord;
use crate::queue::Mode;
use crate::queue::cell::{CellShape, Entry, short_of};
use crate::queue::directory::{Claimed, Directory, EntryWord, Phase, field};
use crate::queue::ring::Ring;
use crate::seat::SeatWord;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::word::{SEATS_PER_LANE, SlotState};

/// What a handle has to know of a queue: copied once, and checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueShape {
    pub(crate) entry: usize,
    pub(crate) word: EntryWord,
    pub(crate) mode: Mode,
    pub(crate) first: usize,
    pub(crate) cells: CellShape,
}

impl Ledger {
    /// Which queues there are.
    pub(crate) fn directory(&self) -> Directory<'_> {
        let stride = self.queue(0).len();
        let words = self.range(self.layout.at_queues, QUEUES * stride);
        Directory { words, stride, cells: self.layout.queue_cells }
    }

    /// The queue of an entry, as far as its words can be believed.
    pub(crate) fn shape_of(&self, entry: usize, word: EntryWord) -> Option<QueueShape> {
        let (first, count) = self.directory().run(entry)?;
        let mode = Mode::from_code(self.queue(entry)[field::MODE].load(Ordering::Relaxed))?;
        let cells = CellShape::new(count, self.layout.slots);
        Some(QueueShape { entry, word, mode, first, cells })
    }

    /// The cells and hints of a queue.
    #[inline]
    pub(crate) fn ring(&self, queue: &QueueShape) -> Ring<'_> {
        let words = self.queue(queue.entry);
        let count = queue.cells.cells() as usize;
        Ring {
            life: &words[field::WORD],
            alive: queue.word.0,
            shape: queue.cells,
            cells: &self.queue_cells()[queue.first..queue.first + count],
            head: &words[field::HEAD],
            tail: &words[field::TAIL],
        }
    }

    /// Fills a granted entry in and opens the queue for everybody. `None` if all positions are used up.
    pub(crate) fn prepare_queue(
        &self,
        claimed: Claimed,
        first: usize,
        count: usize,
        mode: Mode,
    ) -> Option<QueueShape> {
        let directory = self.directory();
        let (entry, base) = (claimed.entry, directory.base()?);
        let words = self.queue(entry);
        let cells = CellShape::new(count, self.layout.slots);
        words[field::MODE].store(mode.code(), Ordering::Relaxed);
        words[field::BEGIN].store(base, Ordering::Relaxed);
        for counter in [field::STALE, field::MISSED] {
            words[counter].store(0, Ordering::Relaxed);
        }
        for cursor in &words[field::CURSORS..] {
            // SYNC: cursor. Release: as in `prepare`.
            cursor.store(base, Ordering::Release);
        }
        let shape = QueueShape { entry, word: claimed.live(), mode, first, cells };
        self.ring(&shape).prepare(base);
        directory.go_live(claimed).then_some(shape)
    }

    /// What getters sleep on.
    #[inline]
    pub(crate) fn not_empty(&self, entry: usize) -> Bell<'_> {
        Bell { word: &self.queue(entry)[field::NOT_EMPTY] }
    }

    /// What putters sleep on.
    #[inline]
    pub(crate) fn not_full(&self, entry: usize) -> Bell<'_> {
        Bell { word: &self.queue(entry)[field::NOT_FULL] }
    }

    /// Where a seat is in a broadcast queue.
    #[inline]
    pub(crate) fn cursor(&self, entry: usize, seat: usize) -> &AtomicU64 {
        &self.queue(entry)[field::CURSORS + seat]
    }

    /// The least cursor of the consumers that are waited for.
    #[inline]
    pub(crate) fn slowest(&self, entry: usize) -> Option<u64> {
        self.present_seats()
            // SYNC: cursor. Acquire: who has moved it on is done with the cells before.
            .map(|seat| self.cursor(entry, seat).load(Ordering::Acquire))
            .min()
    }

    /// The consumers that keep a broadcast queue full, one bit each.
    pub(crate) fn behind(&self, entry: usize) -> u64 {
        let slowest = self.slowest(entry);
        self.present_seats()
            .filter(|&seat| Some(self.cursor(entry, seat).load(Ordering::Relaxed)) == slowest)
            .fold(0, |seats, seat| seats | 1 << seat)
    }

    #[inline]
    fn present_seats(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.layout.lanes).flat_map(move |lane| {
            let mut present = self.present(lane);
            core::iter::from_fn(move || {
                let seat = present.trailing_zeros() as usize;
                (present != 0).then(|| {
                    present &= present - 1;
                    lane * SEATS_PER_LANE + seat
                })
            })
        })
    }

    /// Called when a consumer sits down, before it is present: broadcast queues begin for it at their
    /// end, unless it is one that they have waited for.
    pub(crate) fn start_at_the_end_of_queues(&self, seat: usize, word: SeatWord) {
        if seat < self.layout.expected && word.incarnation() == 1 {
            return;
        }
        let directory = self.directory();
        for entry in 0..QUEUES {
            let live = directory.word(entry);
            let words = self.queue(entry);
            let mode = Mode::from_code(words[field::MODE].load(Ordering::Relaxed));
            if live.phase() == Phase::Live && mode == Some(Mode::Broadcast) {
                let tail = words[field::TAIL].load(Ordering::Acquire);
                // Should the queue have gone meanwhile, the next one there finds a cursor of long ago,
                // and moves it on.
                self.cursor(entry, seat).store(tail, Ordering::Release);
            }
        }
    }

    /// Gives back what dead creators and removers of queues had, and lets everybody look who waits for
    /// a consumer that is gone.
    pub(crate) fn reap_queues(&self, dead: &[(usize, MemberWord)]) {
        let directory = self.directory();
        for entry in 0..QUEUES {
            let word = directory.word(entry);
            // Looking after loading: a number that is still the dead one's was nobody else's then.
            let of_the_dead = || {
                dead.iter().any(|(member, incarnation)| {
                    *member == word.member() && self.member_word(*member) == *incarnation
                })
            };
            match word.phase() {
                Phase::Claimed | Phase::Granted if of_the_dead() => {
                    directory.exchange(entry, word, word.at(Phase::Vacant));
                }
                Phase::Closing => self.finish_closing(entry, word),
                Phase::Live => self.wake_queue(entry),
                _ => {}
            }
        }
    }

    /// Ends a queue. False if it was not there any more.
    pub(crate) fn close_queue(&self, entry: usize, live: EntryWord) -> bool {
        let closing = live.at(Phase::Closing);
        if !self.directory().exchange(entry, live, closing) {
            return false;
        }
        // SYNC: closing. Pairs with the fence of a putter: its ticket is found below, or it finds that
        // the queue is closing.
        fence(Ordering::SeqCst);
        self.finish_closing(entry, closing);
        true
    }

    /// Finishes what others have begun to remove, for those who need room.
    pub(crate) fn finish_all_closing(&self) {
        for entry in 0..QUEUES {
            let word = self.directory().word(entry);
            if word.phase() == Phase::Closing {
                self.finish_closing(entry, word);
            }
        }
    }

    /// Gives back what nobody has got, and makes the entry vacant. Anybody may, any number of times.
    fn finish_closing(&self, entry: usize, closing: EntryWord) {
        let directory = self.directory();
        let still = || directory.word(entry) == closing;
        let words = self.queue(entry);
        let (head, tail) = (&words[field::HEAD], &words[field::TAIL]);
        if let Some(shape) = self.shape_of(entry, closing) {
            let ring = self.ring(&shape);
            let cells = shape.cells.cells();
            let tail = tail.load(Ordering::Acquire);
            let from = match shape.mode {
                Mode::Work => head.load(Ordering::Acquire),
                Mode::Broadcast => tail.saturating_sub(cells),
            };
            for (position, found) in ring.entries(from) {
                // Looking after loading: the cell is still this queue's.
                if !still() {
                    return;
                }
                match shape.mode {
                    Mode::Work => self.take_back_entry(found),
                    Mode::Broadcast => self.skip_for_those_before(entry, position, found),
                }
            }
            if still() {
                directory.use_up(tail.saturating_add(cells));
            }
        }
        self.wake_queue(entry);
        directory.exchange(entry, closing, closing.at(Phase::Vacant));
    }

    /// What is in a work queue has been got by nobody.
    fn take_back_entry(&self, Entry { slot, short }: Entry) {
        let Some(generation) = self.generation_of(slot, short) else { return };
        let drain = self.needs_draining(slot);
        if self.slot(slot).take_back(generation, drain) {
            self.count(at::DROPPED, 1);
            self.finish(slot, generation, drain);
        }
    }

    /// What is in a broadcast queue has not been got by those whose cursors are not past it.
    fn skip_for_those_before(&self, entry: usize, position: u64, Entry { slot, short }: Entry) {
        let Some(generation) = self.generation_of(slot, short) else { return };
        let mut before = [0_u8; 8];
        for seat in self.present_seats() {
            if self.cursor(entry, seat).load(Ordering::Acquire) <= position {
                before[seat / SEATS_PER_LANE] |= 1 << (seat % SEATS_PER_LANE);
            }
        }
        let words = self.slot(slot);
        let mut changed = false;
        for (lane, before) in before.into_iter().enumerate() {
            changed |= words
                .clear(lane, generation, |word| {
                    let unread = word.pending() & !word.held() & before;
                    (unread != 0).then_some(unread)
                })
                .is_some();
        }
        let drain = self.needs_draining(slot);
        if changed && words.free_if_done(generation, 0, drain) {
            self.count(at::DROPPED, 1);
            self.finish(slot, generation, drain);
        }
    }

    /// The generation of a slot that is shared and has those low bits.
    fn generation_of(&self, slot: usize, short: u64) -> Option<u64> {
        let found = (slot < self.layout.slots).then(|| self.slot(slot).load())?;
        (found.is(SlotState::Shared) && short_of(found.generation()) == short)
            .then_some(found.generation())
    }

    fn wake_queue(&self, entry: usize) {
        self.not_empty(entry).ring(&self.segment, Call::All);
        self.not_full(entry).ring(&self.segment, Call::All);
    }
}
