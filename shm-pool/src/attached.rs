//! Who is attached to a pool, for storages that keep words of their own about it.
//!
//! Upholds invariant 3: a member lives as long as the kernel says so, and a number that somebody else
//! has by now is not taken for it.

use crate::member::MEMBERS;
use crate::pool::Pool;
use crate::storage::Storage;
use crate::word::SlotState;
use std::io;

/// One handle of one process on a pool, never the same again in the life of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member(u64);

impl Member {
    fn new(number: usize, incarnation: u64) -> Member {
        Member(incarnation << 16 | number as u64)
    }

    fn number(self) -> usize {
        (self.0 & 0xFFFF) as usize
    }

    fn incarnation(self) -> u64 {
        self.0 >> 16
    }

    /// As a word, never 0.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The member that a word stands for; any word may be tried.
    pub fn from_bits(bits: u64) -> Member {
        Member(bits)
    }
}

impl<S: Storage> Pool<S> {
    /// Who this handle is in this process.
    ///
    /// ```
    /// use shm_pool::{Member, Pool, PoolConfig};
    /// let pool = Pool::process_local("doc", &PoolConfig::slots(1, 64)?)?;
    /// let member = pool.member()?;
    /// assert!(pool.is_member_alive(Member::from_bits(member.to_bits())));
    /// assert!(!pool.is_member_alive(Member::from_bits(member.to_bits() + (1 << 16))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The system's refusal of a lock, or that the table of members is full.
    pub fn member(&self) -> io::Result<Member> {
        let number = usize::from(self.ledger().own()?);
        Ok(Member::new(number, self.ledger().member_word(number).incarnation()))
    }

    /// Whether a member is still there, by the kernel's word: false once it has let go of the pool, or
    /// died. Of a storage [whose work outlives locks](Storage::WORKS_ON) a process that was killed counts
    /// until it is gone altogether.
    pub fn is_member_alive(&self, member: Member) -> bool {
        let (ledger, number) = (self.ledger(), member.number());
        if number >= MEMBERS {
            return false;
        }
        let is_the_same = || {
            let word = ledger.member_word(number);
            word.is_live() && word.incarnation() == member.incarnation()
        };
        // A number that is another's afterwards was not asked about.
        is_the_same() && ledger.is_alive(number) && is_the_same()
    }

    /// How many others are attached: handles of other processes, and further ones of this process.
    pub fn others_attached(&self) -> usize {
        let ledger = self.ledger();
        let own = ledger.own().map_or(MEMBERS, usize::from);
        (0..MEMBERS)
            .filter(|&member| member != own)
            .filter(|&member| ledger.member_word(member).is_live() && ledger.is_alive(member))
            .count()
    }

    /// Whether that use of a slot is still going on: false from the moment on at which the slot is free,
    /// and for ever after, because no generation comes twice.
    pub fn is_in_use(&self, index: usize, generation: u64) -> bool {
        let ledger = self.ledger();
        index < ledger.layout.slots && {
            let state = ledger.slot(index).load();
            state.generation() == generation && !state.is(SlotState::Free)
        }
    }

    /// The memory that the storage asked for in the pool's own segment, on whole pages of this mapping:
    /// address and length. It begins as zeroes; every attached process may change it at any time, and
    /// it is there for as long as any handle, slot, lease or consumer of the pool.
    pub fn companion(&self) -> (*mut u8, usize) {
        let segment = &self.ledger().segment;
        let len = self.storage().companion_len(self.slots(), self.seats());
        (segment.payload(0, len), len)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::storage::Storage;
    use crate::sync::Ordering;
    use crate::{Audience, Member, OpenError, Policy, Pool, PoolConfig, Wait};
    use std::error::Error;

    /// Memory elsewhere, with `PER_SLOT` bytes of its own words per slot.
    #[derive(Debug)]
    struct Elsewhere<const PER_SLOT: usize>(usize);

    impl<const PER_SLOT: usize> Storage for Elsewhere<PER_SLOT> {
        const ALIGNMENT: usize = 512;
        const WORKS_ON: bool = true;
        fn len(&self) -> usize {
            self.0
        }
        fn companion_len(&self, slots: usize, seats: usize) -> usize {
            slots * (PER_SLOT + seats)
        }
        fn descriptor(&self) -> Vec<u8> {
            Vec::new()
        }
        fn attach(_: &[u8], len: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
            Ok(Elsewhere(len))
        }
    }

    fn pool(name: &str) -> (String, Pool<Elsewhere<24>>) {
        let name = format!("test-attached-{name}-{}", std::process::id());
        let config = PoolConfig::slots(4, 100).unwrap();
        let storage = Elsewhere(config.storage_len(512));
        assert_eq!(storage.0, 2048);
        (name.clone(), Pool::create_over(&name, &config, storage).unwrap())
    }

    #[test]
    fn the_companion_is_shared_begins_as_zeroes_and_lies_on_whole_pages() {
        let (name, pool) = pool("companion");
        let other = Pool::<Elsewhere<24>>::open_over(&name).unwrap();
        let ((mine, len), (theirs, same)) = (pool.companion(), other.companion());
        assert_eq!((len, same), (4 * (24 + 8), len));
        assert!(mine != theirs && (mine as usize).is_multiple_of(4096));
        pool.ledger().segment.payload(len - 1, 1);
        // As long as the pool's own storage says: another's words would not be these.
        let refused = Pool::<Elsewhere<25>>::open_over(&name).unwrap_err();
        assert!(matches!(refused, OpenError::Segment(_)), "{refused}");
        assert!(refused.to_string().contains("payload_len"), "{refused}");
    }

    #[test]
    fn members_live_until_they_let_go_and_no_number_stands_for_the_next_one() {
        let (name, pool) = pool("members");
        assert_eq!(pool.others_attached(), 0);
        let other = Pool::<Elsewhere<24>>::open_over(&name).unwrap();
        let (own, theirs) = (pool.member().unwrap(), other.member().unwrap());
        assert!(own != theirs && own.to_bits() != 0);
        assert!([own, theirs].iter().all(|member| pool.is_member_alive(*member)));
        assert_eq!((pool.others_attached(), other.others_attached()), (1, 1));
        drop(other);
        assert!(!pool.is_member_alive(theirs));
        assert_eq!(pool.others_attached(), 0);
        let next = Pool::<Elsewhere<24>>::open_over(&name).unwrap();
        assert_eq!(next.member().unwrap().number(), theirs.number());
        assert!(!pool.is_member_alive(theirs) && next.member().unwrap() != theirs);
        for bits in [0, u64::MAX, 300] {
            assert!(!pool.is_member_alive(Member::from_bits(bits)));
        }
    }

    #[test]
    fn whose_lock_is_free_and_whose_process_is_there_still_works_on() {
        let (name, pool) = pool("taken-apart");
        let other = Pool::<Elsewhere<24>>::open_over(&name).unwrap();
        let (member, ledger) = (other.member().unwrap(), pool.ledger());
        // Taken, and nobody's to give back.
        assert!(other.ledger().try_grant(0, member.number() as u16).is_some());
        let entry = ledger.member(member.number());
        let words: Vec<u64> = entry.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        drop(other);
        // As one that was killed: its entry is live, its lock is free. The process is this one.
        for (word, value) in entry.iter().zip(&words) {
            word.store(*value, Ordering::Relaxed);
        }
        assert!(pool.is_member_alive(member));
        assert_eq!((pool.reap().members, pool.stats().filling), (0, 1));
        // The same number with another start is another process.
        entry[3].fetch_add(1, Ordering::Relaxed);
        assert!(!pool.is_member_alive(member));
        assert_eq!((pool.reap().members, pool.stats().free), (1, 4));
    }

    #[test]
    fn a_use_is_over_for_good() {
        let (_, pool) = pool("uses");
        let consumer = pool.consumer().unwrap();
        let ticket = {
            let slot = pool.lend(100, Wait::Try, Policy::Fail).unwrap();
            assert!(pool.is_in_use(slot.index(), slot.generation()));
            slot.publish(Audience::Everyone).unwrap()
        };
        let (index, generation) = (ticket.index as usize, ticket.generation);
        assert!(pool.is_in_use(index, generation));
        assert!(!pool.is_in_use(index, generation + 1) && !pool.is_in_use(4, 1));
        consumer.redeem(&ticket).unwrap().release();
        assert!(!pool.is_in_use(index, generation));
        let _again: Vec<_> =
            (0..4).map(|_| pool.lend(100, Wait::Try, Policy::Fail).unwrap()).collect();
        assert!(!pool.is_in_use(index, generation));
    }
}
