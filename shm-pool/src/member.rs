//! Who is attached, and who of them is dead.
//!
//! Each handle of a process has an entry, and keeps the byte of that number locked in the kernel for
//! as long as it lives. An entry is claimed by locking its byte; its word says which incarnation
//! lives there:
//!
//! ```text
//!   word:  63 ........ 8 | 7 .. 0        vacant ──join──▶ live ──leave, or reaped──▶ vacant
//!          incarnation   | live                  +1
//! ```
//!
//! Whatever a member owns names its number, and the number is not used again before everything of
//! the member before was given back. Upholds invariants 1 and 3: dead is who has an entry that is
//! live and a byte that nobody holds.

use crate::departure::start_of;
use crate::layout::at;
use crate::ledger::Ledger;
use crate::sync::{AtomicU64, Ordering};
use parking_lot::Mutex;
use shm_core::clock;
use shm_core::fork_generation;
use shm_core::segment::Held;
use std::io;

/// Entries of the table.
pub(crate) const MEMBERS: usize = 256;
/// The byte that the owner of a pool holds.
pub(crate) const OWNER_BYTE: u64 = MEMBERS as u64;

const LIVE: u64 = 1;

/// Words of an entry.
mod field {
    pub(super) const WORD: usize = 0;
    pub(super) const PID: usize = 1;
    pub(super) const SINCE: usize = 2;
    pub(super) const START: usize = 3;
}

/// This handle's own entry, claimed anew in each process that uses the handle.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// Fork generation, and entry + 1.
    known: AtomicU64,
    claim: Mutex<Option<(usize, Held)>>,
}

/// A member as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberWord(u64);

impl MemberWord {
    pub(crate) fn is_live(self) -> bool {
        self.0 & 0xFF == LIVE
    }
    pub(crate) fn incarnation(self) -> u64 {
        self.0 >> 8
    }
}

impl Ledger {
    /// The number of this process in this pool; joins if need be.
    #[inline]
    pub(crate) fn own(&self) -> io::Result<u16> {
        let known = self.membership.known.load(Ordering::Acquire);
        match known >> 16 == tag() && known & 0xFFFF != 0 {
            true => Ok((known & 0xFFFF) as u16 - 1),
            false => self.join(),
        }
    }

    #[cold]
    fn join(&self) -> io::Result<u16> {
        let mut claim = self.membership.claim.lock();
        if let Some((entry, _)) = claim.as_ref().filter(|(_, held)| held.is_ours()) {
            return Ok(*entry as u16);
        }
        let (entry, held) = match self.take_entry()? {
            Some(taken) => taken,
            None => {
                // All are taken: perhaps by the dead.
                self.reap();
                let full = || io::Error::other("all 256 entries for attached processes are taken");
                self.take_entry()?.ok_or_else(full)?
            }
        };
        *claim = Some((entry, held));
        self.membership.known.store(tag() << 16 | (entry as u64 + 1), Ordering::Release);
        Ok(entry as u16)
    }

    fn take_entry(&self) -> io::Result<Option<(usize, Held)>> {
        for entry in 0..MEMBERS {
            if self.member_word(entry).is_live() {
                continue;
            }
            let Some(held) = self.segment.try_hold(entry as u64)? else { continue };
            // Before it is live: whoever reaps looks as far as this says.
            self.note_high_water(at::MEMBERS_USED, entry as u64 + 1);
            let words = self.member(entry);
            let before = words[field::WORD].load(Ordering::Acquire);
            if MemberWord(before).is_live() {
                // Somebody came, and died, in between: not before it is reaped.
                self.segment.let_go(held);
                continue;
            }
            words[field::PID].store(std::process::id().into(), Ordering::Relaxed);
            words[field::SINCE].store(clock::monotonic_ns(), Ordering::Relaxed);
            if self.works_on {
                let start = start_of(std::process::id()).unwrap_or(0);
                words[field::START].store(start, Ordering::Relaxed);
            }
            let live = ((before >> 8) + 1) << 8 | LIVE;
            words[field::WORD].store(live, Ordering::Release);
            return Ok(Some((entry, held)));
        }
        Ok(None)
    }

    /// Entries that have ever been used.
    pub(crate) fn members_used(&self) -> usize {
        usize::try_from(self.counter(at::MEMBERS_USED)).map_or(MEMBERS, |used| used.min(MEMBERS))
    }

    /// The incarnation of an entry.
    pub(crate) fn member_word(&self, member: usize) -> MemberWord {
        MemberWord(self.member(member)[field::WORD].load(Ordering::Acquire))
    }

    /// The entry is vacant from now on, unless it changed. Everything of that incarnation was given
    /// back before.
    pub(crate) fn vacate(&self, member: usize, incarnation: MemberWord) -> bool {
        let vacant = incarnation.0 & !0xFF;
        self.member(member)[field::WORD]
            .compare_exchange(incarnation.0, vacant, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether the kernel says that the member lives. A member whose locks cannot be asked about
    /// does; and where its work outlives its locks, one whose process is still being taken apart.
    pub(crate) fn is_alive(&self, member: usize) -> bool {
        self.segment.is_held(member as u64).unwrap_or(true)
            || self.works_on && self.is_being_taken_apart(member)
    }

    fn is_being_taken_apart(&self, member: usize) -> bool {
        let word = |field: usize| self.member(member)[field].load(Ordering::Relaxed);
        let start = start_of(word(field::PID) as u32);
        start.is_some() && start == Some(word(field::START))
    }

    /// Process id of a member, as it wrote it; for reports.
    pub(crate) fn member_pid(&self, member: usize) -> u32 {
        self.member(member)[field::PID].load(Ordering::Relaxed) as u32
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let claim = self.membership.claim.get_mut().take();
        // Everything that this handle held kept the ledger alive, so there is nothing left to give
        // back. In a forked child the entry is still the parent's.
        if let Some((entry, held)) = claim.filter(|(_, held)| held.is_ours()) {
            let word = self.member_word(entry);
            self.vacate(entry, word);
            self.segment.let_go(held);
        }
    }
}

#[inline]
fn tag() -> u64 {
    fork_generation() & 0xFFFF_FFFF
}
