//! Work that would block an executor, and deadlines of futures.
//!
//! Upholds invariant 10: such a thread ends with its work, which has the caller's deadline.

use crate::alarm::Sleeper;
use crate::hub::Hub;
use parking_lot::Mutex;
use shm_core::Deadline;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

/// Runs `work` on a thread of its own. Where no thread can be had it runs right here.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = Arc::new(Mutex::new((Some(work), None::<T>, None::<Waker>)));
    let theirs = work.clone();
    let begun = std::thread::Builder::new().name("shm-triton-aside".into()).spawn(move || {
        let Some(work) = theirs.lock().0.take() else { return };
        let done = work();
        let mut shared = theirs.lock();
        shared.1 = Some(done);
        if let Some(waker) = shared.2.take() {
            waker.wake();
        }
    });
    if begun.is_err() {
        let mine = work.lock().0.take();
        if let Some(mine) = mine {
            return mine();
        }
    }
    poll_fn(|context| {
        let mut shared = work.lock();
        match shared.1.take() {
            Some(done) => Poll::Ready(done),
            None => {
                shared.2 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Wakes a future at its deadline.
pub(crate) struct Alarm {
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    waker: Mutex<Option<Waker>>,
}

impl Alarm {
    pub(crate) fn new(hub: &Hub, deadline: Deadline) -> Alarm {
        let bell = Arc::new(Bell::default());
        if let Some(remaining) = deadline.remaining() {
            let weak: Weak<Bell> = Arc::downgrade(&bell);
            hub.alarms.set(&hub.transport, Instant::now() + remaining, weak);
        }
        Alarm { bell }
    }

    pub(crate) fn listen(&self, waker: &Waker) {
        *self.bell.waker.lock() = Some(waker.clone());
    }
}

impl Sleeper for Bell {
    fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}
