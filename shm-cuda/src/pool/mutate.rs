//! Single synchronisations that a test can take away, to show that its checks notice; without the
//! feature `testing` there is nothing here.

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mutation {
    /// The slot is given back when the copy is queued, and not when it is done.
    AcknowledgeEarly = 1,
    /// The bytes are said to be there when the copy is queued.
    ReadyEarly = 2,
    /// Nobody opens the gate for a producer that died, or once the deadline has passed.
    NoRelease = 3,
    /// Memory with work that is going on is lent again.
    LendUnsettled = 4,
    /// Whoever waits for a producer that died is told that the bytes are there.
    BelieveTheDead = 5,
}

#[cfg(feature = "testing")]
pub use switch::mutate;
#[cfg(feature = "testing")]
pub(crate) use switch::mutated;

#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn mutated(_mutation: Mutation) -> bool {
    false
}

#[cfg(feature = "testing")]
mod switch {
    use super::Mutation;
    use core::sync::atomic::{AtomicU8, Ordering};

    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Takes one synchronisation away in this process, or none.
    pub fn mutate(mutation: Option<Mutation>) {
        CHOSEN.store(mutation.map_or(0, |mutation| mutation as u8), Ordering::SeqCst);
    }

    pub(crate) fn mutated(mutation: Mutation) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutation as u8
    }
}
