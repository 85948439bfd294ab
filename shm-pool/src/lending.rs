//! Lending: at once, or in line.
//!
//! Upholds invariants 5 (waits have deadlines and can be cancelled) and 8 (what happens when a pool is full
//! is the caller's choice, and is counted).

use crate::error::LendError;
use crate::lent::Slot;
use crate::line::RECHECK;
use crate::policy::{Cancel, Policy, Wait};
use crate::pool::Pool;
use crate::request::Request;
use crate::storage::Storage;
use shm_core::segment::Access;
use std::time::Instant;

/// Who is refused at once may ask often, so only so many slots are looked at for the reason.
const LOOK_AT: usize = 256;

impl<S: Storage> Pool<S> {
    /// Lends a slot of at least `bytes` bytes, to be filled and published.
    ///
    /// [`Policy::Block`] waits as `wait` says, in line with everybody else who needs the same.
    ///
    /// # Errors
    /// [`LendError::Full`], [`LendError::Timeout`] name who has the slots; see [`LendError`].
    #[inline]
    pub fn lend(&self, bytes: usize, wait: Wait, policy: Policy) -> Result<Slot<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        match self.core().ledger.try_grant(need, owner) {
            Some(grant) => Ok(Slot::new(self.core(), grant, bytes)),
            None => self.lend_slowly(bytes, wait, policy, None),
        }
    }

    /// As [`Pool::lend`] without waiting, for callers that go on with a [`Request`]: `None` if there is
    /// nothing now, which counts neither as a wait nor as a refusal.
    ///
    /// # Errors
    /// As for [`Pool::lend`], but for [`LendError::Full`].
    #[inline]
    pub fn try_lend(&self, bytes: usize, policy: Policy) -> Result<Option<Slot<S>>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        let ledger = &self.core().ledger;
        let grant = ledger.try_grant(need, owner).or_else(|| ledger.grant_now(need, owner, policy));
        Ok(grant.map(|grant| Slot::new(self.core(), grant, bytes)))
    }

    /// As [`Pool::lend`], until `cancel` says to stop.
    ///
    /// # Errors
    /// [`LendError::Cancelled`], else as for [`Pool::lend`].
    pub fn lend_or_cancel(
        &self,
        bytes: usize,
        wait: Wait,
        policy: Policy,
        cancel: &Cancel,
    ) -> Result<Slot<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        match self.core().ledger.try_grant(need, owner) {
            Some(grant) => Ok(Slot::new(self.core(), grant, bytes)),
            None => self.lend_slowly(bytes, wait, policy, Some(cancel)),
        }
    }

    /// A place in the line for `bytes` bytes, for callers that wait in turns: it is kept until it is
    /// served or dropped.
    ///
    /// # Errors
    /// As for [`Pool::lend`], but for waiting.
    pub fn request(&self, bytes: usize) -> Result<Request<S>, LendError> {
        let (need, owner) = self.admit(bytes)?;
        Ok(Request::new(self.core(), self.core().ledger.wait_for(need, owner), bytes))
    }

    #[inline]
    pub(crate) fn admit(&self, bytes: usize) -> Result<(usize, u16), LendError> {
        let ledger = &self.core().ledger;
        if bytes == 0 || bytes > ledger.layout.slot_size {
            return Err(self.impossible(bytes));
        }
        if ledger.is_retired() {
            return Err(LendError::Retired { name: self.core().name() });
        }
        if ledger.segment.access() != Access::Full {
            return Err(LendError::ReadOnly { name: self.core().name() });
        }
        let owner =
            ledger.own().map_err(|source| LendError::Io { name: self.core().name(), source })?;
        Ok((ledger.need_of(bytes), owner))
    }

    #[cold]
    fn impossible(&self, bytes: usize) -> LendError {
        let name = self.core().name();
        match bytes {
            0 => LendError::Nothing { name },
            found => LendError::TooLarge { name, most: self.slot_size(), found },
        }
    }

    #[cold]
    fn lend_slowly(
        &self,
        bytes: usize,
        wait: Wait,
        policy: Policy,
        cancel: Option<&Cancel>,
    ) -> Result<Slot<S>, LendError> {
        let begun = Instant::now();
        let (need, owner) = self.admit(bytes)?;
        let ledger = &self.core().ledger;
        if let Some(grant) = ledger.grant_now(need, owner, policy) {
            return Ok(Slot::new(self.core(), grant, bytes));
        }
        let deadline = match (policy, wait) {
            (Policy::Fail, _) | (_, Wait::Try) => return Err(self.full(bytes)),
            (_, Wait::Until(deadline)) => deadline,
        };
        let mut request = Request::new(self.core(), ledger.wait_for(need, owner), bytes);
        let _registered = cancel.map(|cancel| request.listen_to(cancel));
        loop {
            if cancel.is_some_and(Cancel::is_cancelled) {
                return Err(LendError::Cancelled { name: self.core().name(), bytes });
            }
            let left = deadline.remaining().map_or(RECHECK, |left| left.min(RECHECK));
            if let Some(slot) = request.nap(left)? {
                return Ok(slot);
            }
            if policy == Policy::DropOldestUnread {
                request.make_room();
            }
            if deadline.has_passed() {
                return Err(self.timed_out(bytes, need, begun));
            }
        }
    }

    pub(crate) fn full(&self, bytes: usize) -> LendError {
        let free = self.note_refusal(self.core().ledger.need_of(bytes));
        let holders = self.core().ledger.longest_held(LOOK_AT);
        LendError::Full { name: self.core().name(), bytes, free, holders }
    }

    pub(crate) fn timed_out(&self, bytes: usize, need: usize, begun: Instant) -> LendError {
        let free = self.note_refusal(need);
        let (waited, holders) = (begun.elapsed(), self.core().ledger.longest_held(usize::MAX));
        LendError::Timeout { name: self.core().name(), bytes, waited, free, holders }
    }
}
