//! Nobody's stream hangs: whoever watches lets those go on whose producer died, or whose time is up.
//!
//! Upholds invariants 1, 3 (dead is who the kernel says is dead), 5 and 10 (the thread belongs to its
//! consumer, and lives only while streams wait).

use super::arena::DeviceArena;
use super::arrival::Verdict;
use super::companion::{Companion, Counter, Progress};
use super::mutate::{Mutation, mutated};
use parking_lot::{Condvar, Mutex};
use shm_core::Deadline;
use shm_pool::Pool;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the words are looked at while a stream waits.
const LOOK: Duration = Duration::from_micros(500);

#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    companion: Companion,
    seat: usize,
}

#[derive(Debug)]
struct State {
    waits: Vec<Watched>,
    running: bool,
    thread: Option<JoinHandle<()>>,
    /// Whoever waits is let go on, whatever its deadline.
    closing: bool,
}

#[derive(Debug)]
struct Watched {
    verdict: Arc<Verdict>,
    deadline: Deadline,
}

impl Watcher {
    pub(super) fn new(companion: Companion, seat: usize) -> Watcher {
        let state = State { waits: Vec::new(), running: false, thread: None, closing: false };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), companion, seat };
        Watcher { shared: Arc::new(shared) }
    }

    /// Watches over a wait that is about to be queued.
    pub(super) fn watch(
        &self,
        pool: &Pool<DeviceArena>,
        verdict: &Arc<Verdict>,
        deadline: Deadline,
    ) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        if !state.running {
            if let Some(ended) = state.thread.take() {
                // It has let go of the lock for the last time.
                let _ = ended.join();
            }
            let (shared, pool) = (self.shared.clone(), pool.clone());
            let thread = std::thread::Builder::new()
                .name("shm-cuda-watcher".to_owned())
                .spawn(move || shared.run(&pool))?;
            (state.thread, state.running) = (Some(thread), true);
        }
        state.waits.push(Watched { verdict: verdict.clone(), deadline });
        Ok(())
    }

    /// Forgets a wait that could not be queued.
    pub(super) fn forget(&self, verdict: &Arc<Verdict>) {
        let mut state = self.shared.state.lock();
        state.waits.retain(|watched| !Arc::ptr_eq(&watched.verdict, verdict));
    }

    /// Lets everybody go on who waits.
    pub(super) fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self, pool: &Pool<DeviceArena>) {
        let mut state = self.state.lock();
        loop {
            let closing = state.closing;
            state.waits.retain(|watched| !self.is_over(pool, watched, closing));
            if state.waits.is_empty() {
                state.running = false;
                return;
            }
            self.changed.wait_for(&mut state, LOOK);
        }
    }

    /// True once the stream goes on.
    fn is_over(&self, pool: &Pool<DeviceArena>, watched: &Watched, closing: bool) -> bool {
        let verdict = &watched.verdict;
        let released = match self.companion.progress(verdict.slot, verdict.generation) {
            // The gate is opened all the same: who stored `ready` may have been killed before it
            // stored that, too.
            Progress::Ready => false,
            // Used for something else: the lease was released before the stream had passed.
            Progress::Another => false,
            Progress::Pending(producer) => {
                let gone = !pool.is_member_alive(producer);
                // It may have come while its producer's life was asked about.
                if verdict.conclude(&self.companion) != 0 {
                    false
                } else if mutated(Mutation::NoRelease) {
                    return false;
                } else if gone && mutated(Mutation::BelieveTheDead) {
                    false
                } else if gone {
                    self.companion.count(Counter::ProducerGone);
                    verdict.give_up()
                } else if closing || watched.deadline.has_passed() {
                    verdict.run_out()
                } else {
                    return false;
                }
            }
        };
        if released {
            self.companion.count(Counter::ReleasedWaits);
        }
        self.companion.open_gate(verdict.slot, self.seat, verdict.generation);
        true
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.close();
        let thread = self.shared.state.lock().thread.take();
        if let Some(thread) = thread {
            // A panic in there has been reported already.
            let _ = thread.join();
        }
    }
}
