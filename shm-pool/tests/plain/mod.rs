//! A plain model of a pool, and a driver that does the same to both.

use proptest::sample::Index;
use shm_pool::{
    Audience, Batch, BatchLease, Consumer, Lease, LendError, Policy, Pool, PublishError,
    RedeemError, Revoked, Slot, SlotState, Ticket, Wait,
};
use std::collections::BTreeMap;
use std::ops::Range;

/// Something that is done to a pool. What does not exist yet is skipped.
#[derive(Clone, Debug)]
pub enum Step {
    Lend { bytes: usize, drop: bool },
    Publish { slot: Index, audience: u8 },
    Abort(Index),
    Batch { bytes: Vec<usize>, audience: u8 },
    Redeem { seat: Index, ticket: Index },
    Release { lease: Index, drop: bool },
    Revoke(Index),
    Leave(Index),
    Join,
    Reap,
}

/// What a slot was filled with.
#[derive(Clone, Debug)]
struct Piece {
    index: usize,
    range: Range<usize>,
    bytes: usize,
    seed: u8,
}

impl Piece {
    fn contents(&self) -> Vec<u8> {
        (0..self.bytes).map(|at| self.seed.wrapping_add((at * 7 % 251) as u8)).collect()
    }
}

/// A publication, as the model has it.
#[derive(Debug)]
struct Publication {
    ticket: Ticket,
    pieces: Vec<Piece>,
    /// Seats that it waits for.
    waiting: u64,
    held: u64,
    /// For the first who comes, and nobody came yet.
    for_anybody: bool,
    claimed: bool,
    revoked: bool,
    over: bool,
}

impl Publication {
    fn settle(&mut self) {
        self.over |= !self.for_anybody && self.waiting | self.held == 0;
    }
    fn forget(&mut self, seat: usize) {
        self.waiting &= !(1 << seat);
        self.held &= !(1 << seat);
        self.settle();
    }
}

#[derive(Debug)]
enum Held {
    One(Lease),
    Batch(BatchLease),
}

impl Held {
    fn contents(&self) -> Vec<Vec<u8>> {
        match self {
            Held::One(lease) => vec![lease.to_vec()],
            Held::Batch(batch) => {
                (0..batch.parts().len()).map(|part| batch.to_vec(part).unwrap()).collect()
            }
        }
    }
}

/// A pool, its model, and everything that was got from the pool.
pub struct Driver<'a> {
    pool: &'a Pool,
    present: u64,
    seats: BTreeMap<usize, Option<Consumer>>,
    filling: Vec<(Slot, Piece)>,
    publications: Vec<Publication>,
    leases: Vec<(usize, usize, Held)>,
    seed: u8,
}

impl<'a> Driver<'a> {
    pub fn new(pool: &'a Pool, expected: usize) -> Driver<'a> {
        Driver {
            pool,
            present: (1 << expected) - 1,
            seats: BTreeMap::new(),
            filling: Vec::new(),
            publications: Vec::new(),
            leases: Vec::new(),
            seed: 0,
        }
    }

    pub fn step(&mut self, step: Step) {
        match step {
            Step::Lend { bytes, drop } => self.lend(bytes, drop),
            Step::Publish { slot, audience } => self.publish(slot, audience),
            Step::Abort(slot) => {
                if let Some(slot) = pick(slot, self.filling.len()) {
                    self.filling.swap_remove(slot).0.abort();
                }
            }
            Step::Batch { bytes, audience } => self.batch(&bytes, audience),
            Step::Redeem { seat, ticket } => self.redeem(seat, ticket),
            Step::Release { lease, drop } => self.release(lease, drop),
            Step::Revoke(ticket) => self.revoke(ticket),
            Step::Leave(seat) => self.leave(seat),
            Step::Join => self.join(),
            Step::Reap => assert_eq!(self.pool.reap(), shm_pool::Reaped::default()),
        }
    }

    /// The pool says the same as the model.
    pub fn check(&self) {
        let (stats, fsck) = (self.pool.stats(), self.pool.fsck());
        assert_eq!(fsck.problems, Vec::<String>::new());
        let live = || self.publications.iter().filter(|publication| !publication.over);
        let (revoked, shared): (Vec<_>, Vec<_>) = live().partition(|one| one.revoked);
        let parts = live().map(|one| one.pieces.len() - 1).sum::<usize>();
        assert_eq!(stats.filling, self.filling.len());
        assert_eq!((stats.shared, stats.quarantined), (shared.len(), revoked.len()));
        assert_eq!((stats.linked, stats.draining), (parts, 0));
        let used = stats.filling + stats.shared + stats.quarantined + stats.linked;
        assert_eq!(stats.free + used, stats.slots);
        let present = self.seats.len();
        assert_eq!(stats.consumers, present);
        for publication in live() {
            let report = &fsck.slots[publication.ticket.index as usize];
            assert_eq!(report.generation, publication.ticket.generation);
            assert_eq!(report.waiting_for, publication.waiting | publication.held);
            assert_eq!(report.held_by, publication.held);
        }
        self.check_memory(stats.free_bytes);
    }

    fn check_memory(&self, free_bytes: u64) {
        let mut pieces: Vec<&Piece> = self.pieces().collect();
        pieces.sort_by_key(|piece| piece.range.start);
        for pair in pieces.windows(2) {
            assert!(pair[0].range.end <= pair[1].range.start, "{pair:?} overlap");
        }
        let lent: usize = pieces.iter().map(|piece| piece.range.len()).sum();
        assert_eq!(lent as u64 + free_bytes, self.pool.capacity() as u64);
    }

    /// Everything is given back, and all is free.
    pub fn end(mut self) {
        self.filling.clear();
        while !self.leases.is_empty() {
            self.let_go(0, true);
            self.check();
        }
        for at in 0..self.publications.len() {
            let publication = &mut self.publications[at];
            if !publication.over {
                assert_eq!(self.pool.revoke(&publication.ticket), Ok(Revoked::Freed));
                publication.over = true;
            }
        }
        assert_eq!(self.pool.stats().free, self.pool.slots());
        assert_eq!(self.pool.stats().free_bytes, self.pool.capacity() as u64);
        for publication in &self.publications {
            for consumer in self.seats.values().flatten() {
                let refused = consumer.redeem(&publication.ticket);
                assert!(matches!(refused, Err(RedeemError::Stale { .. })), "{refused:?}");
            }
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let live = self.publications.iter().filter(|publication| !publication.over);
        let published = live.flat_map(|publication| &publication.pieces);
        self.filling.iter().map(|(_, piece)| piece).chain(published)
    }

    fn lend(&mut self, bytes: usize, drop: bool) {
        let policy = if drop { Policy::DropOldestUnread } else { Policy::Fail };
        let outcome = self.pool.lend(bytes, Wait::Try, policy);
        let dropped = self.note_dropped();
        assert!(drop || dropped == 0, "only who asks for it drops what others published");
        match outcome {
            Ok(mut slot) => {
                let piece = self.fill(&mut slot);
                assert!(!self.pieces().any(|other| other.index == piece.index), "{piece:?}");
                self.filling.push((slot, piece));
            }
            Err(error) => {
                self.check_refusal(bytes, &error);
                let unread =
                    self.publications.iter().any(|one| !one.over && one.held == 0 && !one.revoked);
                let too_large = matches!(error, LendError::TooLarge { .. });
                assert!(!drop || too_large || !unread, "what nobody reads could have been dropped");
            }
        }
    }

    fn check_refusal(&self, bytes: usize, error: &LendError) {
        let stats = self.pool.stats();
        match error {
            LendError::TooLarge { most, .. } => {
                assert!(bytes > *most && *most == self.pool.slot_size())
            }
            LendError::Full { .. } => {
                let chunks = self.pool.describe().chunks;
                // A class of chunks is at most a quarter larger than what it is for.
                let needed = (bytes + bytes / 4 + self.pool.describe().granule) as u64;
                let lacks = if chunks { stats.largest_free < needed } else { stats.free == 0 };
                assert!(lacks, "{error}; {stats:?}");
            }
            other => panic!("{other}"),
        }
    }

    /// Marks what was taken back as over; returns how many publications were.
    fn note_dropped(&mut self) -> usize {
        let slots = self.pool.fsck().slots;
        let mut dropped = 0;
        for publication in self.publications.iter_mut().filter(|publication| !publication.over) {
            let report = &slots[publication.ticket.index as usize];
            let there = report.generation == publication.ticket.generation
                && report.state != Some(SlotState::Free);
            if !there {
                assert!(publication.held == 0 && !publication.revoked, "{publication:?} was read");
                publication.over = true;
                dropped += 1;
            }
        }
        dropped
    }

    fn fill(&mut self, slot: &mut Slot) -> Piece {
        self.seed = self.seed.wrapping_add(1);
        let range = slot.offset()..slot.offset() + slot.capacity();
        let (index, bytes, seed) = (slot.index(), slot.byte_len(), self.seed);
        let piece = Piece { index, range, bytes, seed };
        slot.copy_from(&piece.contents()).unwrap();
        piece
    }

    fn audience(&self, number: u8) -> Audience {
        match number {
            0..=2 => Audience::Everyone,
            3 => Audience::Any,
            4 => Audience::Seats(self.present & 0b101),
            _ => Audience::Seats(0b11),
        }
    }

    fn publish(&mut self, slot: Index, audience: u8) {
        let Some(slot) = pick(slot, self.filling.len()) else { return };
        let (slot, piece) = self.filling.swap_remove(slot);
        let audience = self.audience(audience);
        let outcome = slot.publish(audience);
        self.note_published(outcome, vec![piece], audience);
    }

    fn batch(&mut self, bytes: &[usize], audience: u8) {
        let outcome = self.pool.lend_many(bytes, Wait::Try, Policy::Fail);
        let mut batch: Batch = match outcome {
            Ok(batch) => batch,
            Err(LendError::Full { .. }) => {
                let stats = self.pool.stats();
                assert!(self.pool.describe().chunks || stats.free < bytes.len(), "{stats:?}");
                return;
            }
            Err(LendError::TooLarge { .. }) => {
                let info = self.pool.describe();
                let rounded = |one: &usize| one.next_multiple_of(info.granule.max(1));
                let whole: usize = bytes.iter().map(rounded).sum();
                assert!(
                    bytes.len() > info.slots
                        || bytes.iter().any(|one| *one > info.slot_size)
                        || info.chunks && whole > info.capacity,
                    "{bytes:?} fit"
                );
                return;
            }
            Err(other) => panic!("{other}"),
        };
        let mut pieces = Vec::new();
        for slot in batch.slots() {
            pieces.push(self.fill(slot));
        }
        let audience = self.audience(audience);
        let outcome = batch.publish(audience);
        self.note_published(outcome, pieces, audience);
    }

    fn note_published(
        &mut self,
        outcome: Result<Ticket, PublishError>,
        pieces: Vec<Piece>,
        audience: Audience,
    ) {
        let waiting = match audience {
            Audience::Everyone => self.present,
            Audience::Seats(seats) => seats,
            Audience::Any => 0,
        };
        match outcome {
            Ok(ticket) => {
                assert_eq!(waiting & !self.present, 0);
                assert!(audience == Audience::Any || waiting != 0);
                assert_eq!(ticket.index as usize, pieces[0].index);
                assert_eq!(ticket.byte_len as usize, pieces[0].bytes);
                assert_eq!(ticket.parts as usize, pieces.len());
                self.publications.push(Publication {
                    ticket,
                    pieces,
                    waiting,
                    held: 0,
                    for_anybody: audience == Audience::Any,
                    claimed: false,
                    revoked: false,
                    over: false,
                });
            }
            Err(PublishError::NoConsumers { .. }) => {
                assert_eq!((audience, self.present), (Audience::Everyone, 0));
            }
            Err(PublishError::Nobody { .. }) => assert_eq!(audience, Audience::Seats(0)),
            Err(PublishError::Absent { absent, .. }) => assert_eq!(absent, waiting & !self.present),
            Err(other) => panic!("{other}"),
        }
    }

    fn redeem(&mut self, seat: Index, ticket: Index) {
        let Some(at) = pick(ticket, self.publications.len()) else { return };
        let sitting: Vec<usize> =
            self.seats.iter().filter(|(_, one)| one.is_some()).map(|(seat, _)| *seat).collect();
        let Some(seat) = pick(seat, sitting.len()).map(|seat| sitting[seat]) else { return };
        let consumer = self.seats[&seat].as_ref().unwrap();
        let publication = &mut self.publications[at];
        let ticket = &publication.ticket;
        let outcome = match publication.pieces.len() {
            1 => consumer.redeem(ticket).map(Held::One),
            _ => consumer.redeem_batch(ticket).map(Held::Batch),
        };
        let bit = 1 << seat;
        let stale = publication.over || publication.revoked;
        match outcome {
            Ok(held) => {
                assert!(!stale && publication.held & bit == 0);
                assert!(publication.for_anybody || publication.waiting & bit != 0);
                publication.claimed |= std::mem::take(&mut publication.for_anybody);
                publication.held |= bit;
                publication.waiting |= bit;
                let contents: Vec<_> = publication.pieces.iter().map(Piece::contents).collect();
                assert_eq!(held.contents(), contents);
                self.leases.push((at, seat, held));
            }
            Err(RedeemError::Stale { .. }) => assert!(stale),
            Err(RedeemError::AlreadyRedeemed { .. }) => {
                assert!(!stale && publication.held & bit != 0);
            }
            Err(RedeemError::Taken { .. }) => {
                assert!(!stale && publication.claimed && publication.held & bit == 0);
            }
            Err(RedeemError::NotAddressed { .. }) => {
                assert!(!stale && !publication.for_anybody && !publication.claimed);
                assert_eq!(publication.waiting & bit, 0);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn release(&mut self, lease: Index, drop: bool) {
        if let Some(lease) = pick(lease, self.leases.len()) {
            self.let_go(lease, drop);
        }
    }

    fn let_go(&mut self, lease: usize, by_drop: bool) {
        let (at, seat, held) = self.leases.swap_remove(lease);
        let contents: Vec<_> = self.publications[at].pieces.iter().map(Piece::contents).collect();
        assert_eq!(held.contents(), contents, "what is held is not changed");
        match held {
            held if by_drop => drop(held),
            Held::One(lease) => lease.release(),
            Held::Batch(batch) => batch.release(),
        }
        self.publications[at].forget(seat);
        self.give_up_if_gone(seat);
    }

    fn revoke(&mut self, ticket: Index) {
        let Some(at) = pick(ticket, self.publications.len()) else { return };
        let publication = &mut self.publications[at];
        let outcome = self.pool.revoke(&publication.ticket);
        if publication.over || publication.revoked {
            assert!(outcome.is_err(), "{outcome:?}");
            return;
        }
        publication.for_anybody = false;
        publication.waiting = publication.held;
        publication.revoked = true;
        publication.settle();
        let expected = match publication.held {
            0 => Revoked::Freed,
            held_by => Revoked::Quarantined { held_by },
        };
        assert_eq!(outcome, Ok(expected));
    }

    fn join(&mut self) {
        let vacant = (0..self.pool.seats()).find(|seat| !self.seats.contains_key(seat));
        match self.pool.consumer() {
            Ok(consumer) => {
                assert_eq!(Some(consumer.seat()), vacant);
                self.present |= 1 << consumer.seat();
                self.seats.insert(consumer.seat(), Some(consumer));
            }
            Err(error) => assert_eq!(vacant, None, "{error}"),
        }
    }

    fn leave(&mut self, seat: Index) {
        let seats: Vec<usize> = self.seats.keys().copied().collect();
        let Some(seat) = pick(seat, seats.len()).map(|seat| seats[seat]) else { return };
        if let Some(consumer) = self.seats.get_mut(&seat).and_then(Option::take) {
            consumer.leave();
        }
        self.give_up_if_gone(seat);
    }

    /// The seat of a consumer is vacant when it has left and its last lease is released.
    fn give_up_if_gone(&mut self, seat: usize) {
        let left = matches!(self.seats.get(&seat), Some(None));
        if left && !self.leases.iter().any(|(_, holder, _)| *holder == seat) {
            self.seats.remove(&seat);
            self.present &= !(1 << seat);
            for publication in self.publications.iter_mut().filter(|one| !one.over) {
                publication.forget(seat);
            }
        }
    }
}

fn pick(index: Index, count: usize) -> Option<usize> {
    (count > 0).then(|| index.index(count))
}
