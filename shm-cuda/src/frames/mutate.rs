//! Synchronisation that a test can leave out, one at a time, to show that the suite notices; nothing
//! without the feature `testing`.

#[cfg(feature = "testing")]
pub use switch::{Mutation, leave_out};

#[cfg(feature = "testing")]
pub(crate) use switch::left_out;

#[cfg(not(feature = "testing"))]
pub(crate) use absent::{Mutation, left_out};

#[cfg(feature = "testing")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// One synchronisation of a device stream.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub enum Mutation {
        /// The cell is marked as being written before its payload is.
        BeginBeforeCopy = 1,
        /// The frame becomes the newest after its payload is there.
        FinishAfterCopy,
        /// A frame on one queue of work waits for the one before it on another.
        JoinQueues,
        /// A read waits until its copy has ended.
        AwaitCopy,
        /// A read asks whether its frame was overwritten meanwhile.
        Validate,
        /// A read asks whether the memory's process lives.
        CreatorLives,
    }

    static LEFT_OUT: AtomicU8 = AtomicU8::new(0);

    /// Leaves that synchronisation out from now on, in this process; `None` leaves out nothing.
    pub fn leave_out(mutation: Option<Mutation>) {
        LEFT_OUT.store(mutation.map_or(0, |mutation| mutation as u8), Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn left_out(mutation: Mutation) -> bool {
        LEFT_OUT.load(Ordering::Relaxed) == mutation as u8
    }
}

#[cfg(not(feature = "testing"))]
mod absent {
    #[derive(Clone, Copy)]
    pub(crate) enum Mutation {
        BeginBeforeCopy,
        FinishAfterCopy,
        JoinQueues,
        AwaitCopy,
        Validate,
        CreatorLives,
    }

    #[inline(always)]
    pub(crate) fn left_out(_mutation: Mutation) -> bool {
        false
    }
}
