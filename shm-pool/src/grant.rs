//! Finding a slot, and the memory for it.
//!
//! Upholds invariants 1 (a slot names its member from the exchange on that takes it, so a member that
//! is killed at any point leaks nothing) and 5 (a request that waits has a deadline and its place).

use crate::arena::tag;
use crate::fault;
use crate::layout::{Kind, at};
use crate::ledger::{Ledger, record};
use crate::line::{Place, RECHECK, Watched};
use crate::policy::Policy;
use crate::slot::Claim;
use crate::sync::Ordering;
use crate::word::{SlotState, StateWord};
use core::ops::Range;
use shm_core::clock;
use std::time::{Duration, Instant};

/// How long a waiter looks before it sleeps: about what a wake-up of a core that is not parked costs.
const SPIN: Duration = Duration::from_micros(2);
/// A waiter that is not the first takes room that has been there for so long.
const PATIENCE: Duration = Duration::from_millis(2);
/// A waiter that has not looked for so long is stopped: it looks every 50 ms.
const SILENCE: Duration = Duration::from_millis(300);

/// A slot that was just taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) owner: u16,
    /// Its granules: first one and number.
    pub(crate) run: (u32, u32),
}

/// Somebody who waits for memory.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) need: usize,
    owner: u16,
    place: Option<Place>,
    /// Since when somebody before could have been served, and was not.
    unclaimed: Option<Instant>,
    /// Those before, while they are watched for being stopped.
    watched: Vec<Watched>,
}

impl Ledger {
    /// What is compared in the line: granules, or 0 for a slot.
    #[inline]
    pub(crate) fn need_of(&self, bytes: usize) -> usize {
        match self.layout.kind {
            Kind::Slots => 0,
            Kind::Chunks => self.layout.granules_for(bytes),
        }
    }

    /// A slot right now, unless somebody waits for the same.
    #[inline]
    pub(crate) fn try_grant(&self, need: usize, owner: u16) -> Option<Grant> {
        if self.somebody_waits() {
            return self.try_grant_past_the_line(need, owner);
        }
        self.grab(need, owner, 0..0, false)
    }

    /// A slot without waiting, after the dead have given back what they had, and with `policy` after
    /// what nobody reads was taken back.
    #[cold]
    pub(crate) fn grant_now(&self, need: usize, owner: u16, policy: Policy) -> Option<Grant> {
        self.reap_paced();
        loop {
            if let Some(grant) = self.try_grant(need, owner) {
                return Some(grant);
            }
            // Where there is room for it others are in front, and dropping more would not help.
            let helps = policy == Policy::DropOldestUnread && !self.has_room(need);
            if !helps || !self.drop_oldest_unread() {
                return None;
            }
        }
    }

    /// Takes back what nobody reads for one who waits, if there is no room yet. Those in front get it
    /// first, and the line moves.
    pub(crate) fn make_room(&self, waiting: &Waiting) -> bool {
        !self.has_room(waiting.need) && self.drop_oldest_unread()
    }

    #[cold]
    fn try_grant_past_the_line(&self, need: usize, owner: u16) -> Option<Grant> {
        match self.somebody_waits_for(need) {
            true => None,
            false => self.grab(need, owner, self.kept(), false),
        }
    }

    /// Takes a slot and its memory, leaving out the granules of `avoid`.
    #[inline]
    fn grab(
        &self,
        need: usize,
        owner: u16,
        avoid: Range<usize>,
        thoroughly: bool,
    ) -> Option<Grant> {
        match self.layout.kind {
            Kind::Slots => self.grab_slot(owner, thoroughly),
            Kind::Chunks => self.grab_chunk(need, owner, avoid, thoroughly),
        }
    }

    #[inline]
    fn grab_slot(&self, owner: u16, thoroughly: bool) -> Option<Grant> {
        if let Some(slot) = self.habit.guess().filter(|_| !thoroughly) {
            if let Claim::Taken(generation) = self.slot(slot).claim(owner) {
                self.habit.right();
                self.habit.lent(slot);
                return Some(self.claimed(slot, generation, owner));
            }
            self.habit.wrong();
        }
        self.grab_hinted(owner, thoroughly)
    }

    fn grab_hinted(&self, owner: u16, thoroughly: bool) -> Option<Grant> {
        let hints = self.hints();
        // Hints of slots that are not free vanish by being taken, so this ends.
        for _ in 0..=self.layout.slots {
            let slot = match thoroughly {
                true => hints.take_thoroughly(),
                false => hints.take(),
            }?;
            fault::hit("lend.hinted");
            match self.slot(slot).claim(owner) {
                Claim::Taken(generation) => {
                    self.habit.lent(slot);
                    self.note_high_water(at::HIGH_WATER, slot as u64 + 1);
                    return Some(self.claimed(slot, generation, owner));
                }
                Claim::NotFree => {}
                Claim::Exhausted => self.count(at::QUARANTINED, 1),
            }
        }
        None
    }

    #[inline]
    fn claimed(&self, slot: usize, generation: u64, owner: u16) -> Grant {
        self.record(slot)[record::NEXT].store(0, Ordering::Relaxed);
        fault::hit("lend.claimed");
        Grant { slot, generation, owner, run: (0, 0) }
    }

    fn grab_chunk(
        &self,
        need: usize,
        owner: u16,
        avoid: Range<usize>,
        thoroughly: bool,
    ) -> Option<Grant> {
        // Looking first spares a slot that there is no memory for.
        let mut next = Some(self.find_run(need, &avoid, thoroughly)?);
        let grant = self.grab_slot(owner, thoroughly)?;
        let tag = tag(grant.slot, grant.generation);
        // Each turn that fails has met another process's claim, which has succeeded then or will
        // give way; so many in a row mean that the table is being scribbled over.
        for _ in 0..64 {
            let Some(run) = next.take().or_else(|| self.find_run(need, &avoid, thoroughly)) else {
                break;
            };
            self.set_run(grant.slot, run.clone());
            // Before claiming: who is stopped in between must not make others try the same for ever.
            self.note_high_water(at::FRONTIER, run.end as u64);
            fault::hit("lend.granule");
            if self.arena().claim(run.clone(), tag) {
                self.note_claim(&run);
                return Some(Grant { run: (run.start as u32, need as u32), ..grant });
            }
        }
        self.set_run(grant.slot, 0..0);
        let drain = false;
        self.count(at::LENT, 1);
        if self.slot(grant.slot).abort(owner, grant.generation, drain) {
            self.finish(grant.slot, grant.generation, drain);
        }
        None
    }

    /// A run of `need` granules that seems free: one that has just come free, else the one that fits
    /// best, without a search where nothing came free since the frontier was there. Who looks
    /// thoroughly gets the one that fits best.
    fn find_run(
        &self,
        need: usize,
        avoid: &Range<usize>,
        thoroughly: bool,
    ) -> Option<Range<usize>> {
        if thoroughly {
            return self.find_best_run(need, avoid);
        }
        let arena = self.arena();
        let used = self.counter(at::IN_USE_BYTES) / self.layout.granule as u64;
        // While there is plenty, what is at hand; later, what fits.
        let plenty = used.saturating_mul(2) < self.layout.granules as u64;
        while let Some(run) = self.recent().take(need, avoid) {
            if plenty || arena.is_hole(&run) {
                return Some(run);
            }
        }
        let frontier = arena.frontier;
        let holes = (frontier as u64).saturating_sub(used);
        let fresh = frontier..frontier.saturating_add(need);
        if holes < need as u64 && avoid.is_empty() && fresh.end <= self.layout.granules {
            return Some(fresh);
        }
        self.find_best_run(need, avoid)
    }

    fn find_best_run(&self, need: usize, avoid: &Range<usize>) -> Option<Range<usize>> {
        let start = self.arena().find(need, avoid.clone(), |tag| self.length_of(tag))?;
        Some(start..start + need)
    }

    fn note_claim(&self, run: &Range<usize>) {
        let bytes = (run.len() * self.layout.granule) as u64;
        let before = self.word(at::IN_USE_BYTES).fetch_add(bytes, Ordering::Relaxed);
        self.note_high_water(at::HIGH_WATER_BYTES, before.wrapping_add(bytes));
    }

    /// How many granules the chunk of a tag has.
    pub(crate) fn length_of(&self, tag: u64) -> usize {
        match crate::arena::tenant(tag) {
            Some((slot, _)) if slot < self.layout.slots => self.run(slot).len(),
            _ => 1,
        }
    }

    /// Notes what a slot was lent for.
    #[inline]
    pub(crate) fn sign(&self, grant: Grant, bytes: usize, pid: u32) {
        let record = self.record(grant.slot);
        let lent = ((clock::coarse_ns() / 1_000_000) << 24) | (u64::from(pid) & 0xFF_FFFF);
        record[record::BYTE_LEN].store(bytes as u64, Ordering::Relaxed);
        record[record::SINCE].store(lent, Ordering::Relaxed);
        let order = self.word(at::LENT).fetch_add(1, Ordering::Relaxed);
        record[record::ORDER].store(order, Ordering::Relaxed);
        fault::hit("lend.ready");
    }

    /// Gives a slot back that was taken and not published.
    pub(crate) fn give_back(&self, grant: Grant) -> bool {
        let drain = self.needs_draining(grant.slot);
        self.slot(grant.slot).abort(grant.owner, grant.generation, drain)
            && self.finish(grant.slot, grant.generation, drain)
    }

    /// Gives a slot back that was not even lent.
    pub(crate) fn give_back_unused(&self, grant: Grant) {
        self.count(at::LENT, 1);
        self.give_back(grant);
    }

    /// Takes back the oldest publication that nobody has begun to read. True if one came free.
    pub(crate) fn drop_oldest_unread(&self) -> bool {
        let mut shared: Vec<(u64, usize, StateWord)> = (0..self.layout.slots)
            .map(|slot| (slot, self.slot(slot).load()))
            .filter(|(_, state)| state.is(SlotState::Shared))
            .map(|(slot, state)| {
                (self.record(slot)[record::ORDER].load(Ordering::Relaxed), slot, state)
            })
            .collect();
        shared.sort_unstable_by_key(|(order, ..)| *order);
        shared.into_iter().any(|(_, slot, state)| {
            let drain = self.needs_draining(slot);
            let taken = self.slot(slot).take_back(state.generation(), drain);
            fault::hit("drop.cleared");
            if taken {
                self.count(at::DROPPED, 1);
                self.finish(slot, state.generation(), drain);
            }
            taken
        })
    }

    /// Joins the line.
    pub(crate) fn wait_for(&self, need: usize, owner: u16) -> Waiting {
        self.count(at::WAITS, 1);
        Waiting { need, owner, place: None, unclaimed: None, watched: Vec::new() }
    }

    /// Waits for at most `longest`, and at most once asleep. `None` says nothing about why.
    pub(crate) fn nap(&self, waiting: &mut Waiting, longest: Duration) -> Option<Grant> {
        let (need, owner) = (waiting.need, waiting.owner);
        self.nap_until(waiting, longest, &mut |avoid| self.grab(need, owner, avoid, true))
    }

    /// One grant per entry of `needs` right now, or none: each is put where it fits best, which leaves
    /// the others the most. The largest come first in `needs`.
    pub(crate) fn grant_all(&self, needs: &[usize], owner: u16) -> Option<Vec<Grant>> {
        if self.somebody_waits() {
            return None;
        }
        let mut held = Vec::new();
        if self.grab_missing(needs, owner, &(0..0), &mut held) {
            return Some(held);
        }
        self.give_all_back(&mut held);
        None
    }

    /// Grabs what is missing of `needs`. True if all are there then.
    fn grab_missing(
        &self,
        needs: &[usize],
        owner: u16,
        avoid: &Range<usize>,
        held: &mut Vec<Grant>,
    ) -> bool {
        while let Some(need) = needs.get(held.len()) {
            let Some(grant) = self.grab(*need, owner, avoid.clone(), true) else { return false };
            held.push(grant);
        }
        true
    }

    /// Whether what is `held` itself is in the way of what is missing: it was granted while others had
    /// the memory around it, and lies in the middle of what has come free since.
    fn is_in_its_own_way(&self, needs: &[usize], held: &[Grant]) -> bool {
        let missing = needs[held.len()];
        let runs = held.iter().map(|grant| {
            let start = grant.run.0 as usize;
            start..start + grant.run.1 as usize
        });
        let length = |tag| self.length_of(tag);
        self.layout.kind == Kind::Chunks
            && self.arena().find(missing, 0..0, length).is_none()
            && self.arena().packs(needs, runs, length)
    }

    pub(crate) fn give_all_back(&self, held: &mut Vec<Grant>) {
        held.drain(..).for_each(|grant| self.give_back_unused(grant));
    }

    /// As [`Ledger::nap`], for one grant per entry of `needs`, the largest first. What is granted is
    /// kept in `held` from one nap to the next, but only by the first of the line: of two who hold a part
    /// of what they need, each could wait for the other. True if all are there.
    pub(crate) fn nap_for_all(
        &self,
        waiting: &mut Waiting,
        needs: &[usize],
        held: &mut Vec<Grant>,
        longest: Duration,
    ) -> bool {
        if waiting.place.is_some_and(|place| !self.is_first_of_all(place)) {
            self.give_all_back(held);
        }
        let owner = waiting.owner;
        let everything = self.nap_until(waiting, longest, &mut |avoid| {
            let mut all = self.grab_missing(needs, owner, &avoid, held);
            if !all && avoid.is_empty() && self.is_in_its_own_way(needs, held) {
                self.give_all_back(held);
                all = self.grab_missing(needs, owner, &avoid, held);
            }
            all.then_some(())
        });
        everything.is_some()
    }

    fn nap_until<T>(
        &self,
        waiting: &mut Waiting,
        longest: Duration,
        take: &mut dyn FnMut(Range<usize>) -> Option<T>,
    ) -> Option<T> {
        let begun = Instant::now();
        let place = match waiting.place {
            Some(place) => place,
            None => match self.enter_line(waiting.need, waiting.owner) {
                Some(place) => *waiting.place.insert(place),
                None => {
                    // More than a hundred wait already: look again in a moment.
                    self.reap_paced();
                    std::thread::sleep(longest.min(PATIENCE));
                    return None;
                }
            },
        };
        self.show_up(place);
        let mut count = self.wake_count(place);
        loop {
            if let Some(taken) = self.try_serve(waiting, place, take) {
                return Some(taken);
            }
            if begun.elapsed() >= SPIN.min(longest) {
                break;
            }
            core::hint::spin_loop();
            count = self.wake_count(place);
        }
        let left = longest.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return None;
        }
        let patience = if waiting.unclaimed.is_some() { PATIENCE } else { RECHECK };
        let nap = left.min(patience);
        self.sleep_in_line(place, count, nap);
        self.show_up(place);
        if let Some(taken) = self.try_serve(waiting, place, take) {
            return Some(taken);
        }
        if begun.elapsed() >= nap {
            // Nobody woke this one: whoever should have may be dead, or stopped.
            self.reap_quickly();
            self.look_for_name();
            return self.try_overtake(waiting, place, take);
        }
        None
    }

    /// Stops waiting.
    pub(crate) fn stop_waiting(&self, waiting: &mut Waiting) {
        if let Some(place) = waiting.place.take() {
            if self.layout.kind == Kind::Chunks && self.is_first_of_all(place) {
                self.keep_nothing();
            }
            self.leave_line(place);
        }
    }

    fn try_serve<T>(
        &self,
        waiting: &mut Waiting,
        place: Place,
        take: &mut dyn FnMut(Range<usize>) -> Option<T>,
    ) -> Option<T> {
        if !self.is_first(place) {
            return None;
        }
        let first = self.layout.kind == Kind::Chunks && self.is_first_of_all(place);
        let taken = take(if first { 0..0 } else { self.kept() });
        match taken {
            Some(_) => self.stop_waiting(waiting),
            None if first => self.keep(waiting.need),
            None => {}
        }
        taken
    }

    /// Passes those who came earlier and are stopped: they have not taken for a while what they could
    /// have, or have not looked for longer. Who waits because there is no room for it yet is not passed.
    fn try_overtake<T>(
        &self,
        waiting: &mut Waiting,
        place: Place,
        take: &mut dyn FnMut(Range<usize>) -> Option<T>,
    ) -> Option<T> {
        if self.pass_the_silent(place, &mut waiting.watched, SILENCE) {
            self.keep_nothing();
        }
        let needs = self.needs_ahead(place);
        if !needs.into_iter().any(|need| self.has_room(need)) {
            waiting.unclaimed = None;
            return self.try_serve(waiting, place, take);
        }
        match waiting.unclaimed {
            Some(since) if since.elapsed() >= PATIENCE => {
                waiting.unclaimed = None;
                self.pass_those_ahead(place);
                self.keep_nothing();
                self.try_serve(waiting, place, take)
            }
            Some(_) => None,
            None => {
                waiting.unclaimed = Some(Instant::now());
                None
            }
        }
    }

    /// Whether a request would be served if nobody was in its way.
    pub(crate) fn has_room(&self, need: usize) -> bool {
        match self.layout.kind {
            Kind::Slots => {
                (0..self.layout.slots).any(|slot| self.slot(slot).load().is(SlotState::Free))
            }
            Kind::Chunks => self.arena().find(need, 0..0, |tag| self.length_of(tag)).is_some(),
        }
    }
}
