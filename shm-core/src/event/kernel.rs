//! Sleep in the models.

use super::Park;
use crate::sync::{AtomicU64, Ordering, check};
use loom::sync::{Condvar, Mutex};

/// What the kernel's futex guarantees: comparing and going to sleep is one step for a waker.
///
/// There is no timeout here. When everybody who has not finished sleeps, a wake-up was lost: that is
/// noted, and the sleepers are let go, so that the model ends and can say so.
pub(crate) struct Kernel {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    /// Threads of the model that have not finished.
    active: u32,
    sleeping: u32,
    /// Sleepers that were woken and have not left yet.
    woken: u32,
    lost: bool,
}

impl Kernel {
    pub(crate) fn new(active: u32) -> Kernel {
        let queue = Queue { active, sleeping: 0, woken: 0, lost: false };
        Kernel { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    /// A thread of the model ends.
    pub(crate) fn finish(&self) {
        let mut queue = self.queue.lock().unwrap();
        queue.active -= 1;
        self.check(&mut queue);
    }

    fn check(&self, queue: &mut Queue) {
        if queue.active > 0 && queue.sleeping - queue.woken == queue.active {
            queue.lost = true;
            self.wake.notify_all();
        }
    }

    /// True once a wake-up was lost: whoever waits gives up.
    pub(crate) fn has_lost(&self) -> bool {
        self.queue.lock().unwrap().lost
    }

    pub(crate) fn assert_nobody_overslept(&self) {
        check(!self.has_lost(), "a wake-up is never lost");
    }
}

impl Park for Kernel {
    type Timeout = ();

    fn park(&self, word: &AtomicU64, epoch: u32, _timeout: ()) {
        let mut queue = self.queue.lock().unwrap();
        if word.load(Ordering::Relaxed) as u32 != epoch {
            return;
        }
        queue.sleeping += 1;
        self.check(&mut queue);
        while queue.woken == 0 && !queue.lost {
            queue = self.wake.wait(queue).unwrap();
        }
        queue.sleeping -= 1;
        queue.woken = queue.woken.saturating_sub(1);
    }

    fn unpark(&self, _word: &AtomicU64, count: u32) {
        let mut queue = self.queue.lock().unwrap();
        queue.woken = queue.sleeping.min(queue.woken.saturating_add(count));
        self.wake.notify_all();
    }
}
