//! What the words of a slot mean.
//!
//! ```text
//!   state word:  63 ........ 16 | 15 .... 4 | 3 .. 0      lane word:  63 ........ 16 | 15 .. 8 | 7 .. 0
//!                generation     | party     | state                   generation     | held    | pending
//! ```
//!
//! Every change of a slot is one exchange of one of these words, and every exchange compares the
//! generation: whoever comes late, twice or by mistake changes nothing. A generation is used once;
//! a slot that has used up all of them is set aside for good. Upholds invariants 2 (any 64 bits are
//! a word, unknown states are never granted) and 7 (states, not flags).

/// Generations are below this.
pub(crate) const GENERATIONS: u64 = 1 << 48;
/// Seats whose flags share one lane word.
pub(crate) const SEATS_PER_LANE: usize = 8;
/// Party of a shared slot that the first consumer to redeem it will have.
pub(crate) const ANYBODY: u16 = 0xFFF;
/// Party of a quarantined slot that its lanes decide about.
pub(crate) const HOLDERS: u16 = 0xFFE;
/// Party of a quarantined slot that will not be used again.
pub(crate) const NOBODY: u16 = 0xFFD;

/// What a slot is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum SlotState {
    /// Nobody's.
    Free = 0,
    /// Lent to a producer, unreadable.
    Filling = 1,
    /// Published: consumers may redeem it, or hold it.
    Shared = 2,
    /// Part of a batch, whose first slot speaks for it.
    Linked = 3,
    /// On its way to free: its memory is being given back.
    Draining = 4,
    /// Revoked, or used up: not granted before everybody who may touch it is done or dead.
    Quarantined = 5,
    /// An entry of a store.
    Stored = 6,
    /// An entry that is being taken out of a store.
    Evicting = 7,
}

impl SlotState {
    fn from_code(code: u64) -> Option<SlotState> {
        Some(match code {
            0 => SlotState::Free,
            1 => SlotState::Filling,
            2 => SlotState::Shared,
            3 => SlotState::Linked,
            4 => SlotState::Draining,
            5 => SlotState::Quarantined,
            6 => SlotState::Stored,
            7 => SlotState::Evicting,
            _ => return None,
        })
    }
}

impl core::fmt::Display for SlotState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            SlotState::Free => "free",
            SlotState::Filling => "filling",
            SlotState::Shared => "shared",
            SlotState::Linked => "linked",
            SlotState::Draining => "draining",
            SlotState::Quarantined => "quarantined",
            SlotState::Stored => "stored",
            SlotState::Evicting => "evicting",
        })
    }
}

/// A state word, as loaded or to be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateWord(pub(crate) u64);

impl StateWord {
    #[inline]
    pub(crate) fn new(state: SlotState, generation: u64, party: u16) -> StateWord {
        StateWord(generation << 16 | u64::from(party & 0xFFF) << 4 | state as u64)
    }
    /// `None` for bits that no state has.
    #[inline]
    pub(crate) fn state(self) -> Option<SlotState> {
        SlotState::from_code(self.0 & 0xF)
    }
    #[inline]
    pub(crate) fn is(self, state: SlotState) -> bool {
        self.0 & 0xF == state as u64
    }
    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> 16
    }
    /// Member, seat + 1 or one of the special parties, depending on the state.
    #[inline]
    pub(crate) fn party(self) -> u16 {
        (self.0 >> 4) as u16 & 0xFFF
    }
    #[inline]
    pub(crate) fn with(self, state: SlotState, party: u16) -> StateWord {
        StateWord::new(state, self.generation(), party)
    }
}

impl core::fmt::Debug for StateWord {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}/{}/{:#x}", self.state(), self.generation(), self.party())
    }
}

/// A lane word: the flags of eight seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneWord(pub(crate) u64);

impl LaneWord {
    #[inline]
    pub(crate) fn new(generation: u64, held: u8, pending: u8) -> LaneWord {
        LaneWord(generation << 16 | u64::from(held) << 8 | u64::from(pending))
    }
    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> 16
    }
    #[inline]
    pub(crate) fn held(self) -> u8 {
        (self.0 >> 8) as u8
    }
    #[inline]
    pub(crate) fn pending(self) -> u8 {
        self.0 as u8
    }
    #[inline]
    pub(crate) fn is_clear(self) -> bool {
        self.0 & 0xFFFF == 0
    }
    #[inline]
    pub(crate) fn without(self, seats: u8) -> LaneWord {
        LaneWord::new(self.generation(), self.held() & !seats, self.pending() & !seats)
    }
}
