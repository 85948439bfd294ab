//! A bare stack of free indices whose head carries a tag: the least that a pool without locks does
//! to give a slot and to take it back. It records no owner, so a process that dies loses slots.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// No index: the end of the stack.
const NONE: u32 = u32::MAX;

/// The free indices.
#[derive(Debug)]
pub struct FreeList {
    /// The tag in the upper half, the first free index in the lower.
    head: CachePadded<AtomicU64>,
    next: Vec<AtomicU32>,
}

impl FreeList {
    /// All indices below `len` are free.
    pub fn new(len: u32) -> FreeList {
        let next =
            (0..len).map(|index| AtomicU32::new(if index + 1 < len { index + 1 } else { NONE }));
        let first = if len == 0 { NONE } else { 0 };
        FreeList { head: CachePadded::new(AtomicU64::new(join(0, first))), next: next.collect() }
    }

    /// Takes an index.
    #[inline]
    pub fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let (tag, first) = split(head);
            if first == NONE {
                return None;
            }
            let next = self.next[first as usize].load(Ordering::Relaxed);
            match self.exchange(head, join(tag.wrapping_add(1), next)) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }

    /// Gives an index back.
    #[inline]
    pub fn push(&self, index: u32) {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let (tag, first) = split(head);
            self.next[index as usize].store(first, Ordering::Relaxed);
            match self.exchange(head, join(tag.wrapping_add(1), index)) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn exchange(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.head.compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Acquire)
    }
}

#[inline]
fn join(tag: u32, index: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(index)
}

#[inline]
fn split(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread;

    #[test]
    fn every_index_is_given_once_and_the_last_one_back_comes_first() {
        let list = FreeList::new(3);
        let taken: BTreeSet<u32> = std::iter::from_fn(|| list.pop()).collect();
        assert_eq!(taken, BTreeSet::from([0, 1, 2]));
        list.push(1);
        list.push(2);
        assert_eq!([list.pop(), list.pop(), list.pop()], [Some(2), Some(1), None]);
        assert_eq!(FreeList::new(0).pop(), None);
    }

    #[test]
    fn two_threads_never_hold_the_same_index() {
        const LEN: u32 = 4;
        let list = FreeList::new(LEN);
        let held: Vec<AtomicU32> = (0..LEN).map(|_| AtomicU32::new(0)).collect();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(index) = list.pop() {
                            let holders = &held[index as usize];
                            assert_eq!(holders.fetch_add(1, Ordering::AcqRel), 0);
                            holders.fetch_sub(1, Ordering::AcqRel);
                            list.push(index);
                        }
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(|| list.pop()).count(), LEN as usize);
    }
}
