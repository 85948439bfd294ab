//! The writer lock as Python threads see it: one per stream and process, re-entrant per thread.
//!
//! Upholds invariants 1 and 3 through [`shm_core::Writer`], whose lock dies with the process. This
//! module adds what several threads and handles of one process need: an owner thread, a depth, and
//! a place to wait that neither holds the interpreter nor survives `fork` half-way.

use crate::cuda::{DeviceHeld, Side};
use crate::errors;
use crate::wait;
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use shm_core::{Deadline, LockError, Stream, Writer, fork_generation};
use shm_cuda::DeviceLockError;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// A thread that has waited longer is handed the lock; before, whoever comes first may have it.
const PATIENCE: Duration = Duration::from_millis(1);

/// One stream's lock in this process, shared by all handles on it.
#[derive(Debug)]
pub(crate) struct StreamLock {
    stream: Stream,
    state: Mutex<State>,
    /// The devices that handles of this process have the stream open on.
    sides: Mutex<Vec<Weak<Side>>>,
}

/// The right to publish, of one kind of stream or the other.
#[derive(Debug)]
enum Held {
    Host(Writer),
    Device(Box<DeviceHeld>),
}

#[derive(Debug, Default)]
struct State {
    /// The process generation that the rest belongs to: a forked child holds nothing.
    generation: u64,
    owner: Option<ThreadMark>,
    depth: u32,
    writer: Option<Held>,
    /// A write view of the owner is open.
    viewing: bool,
    /// Who waits, longest first.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    mark: ThreadMark,
    thread: Thread,
    since: Instant,
}

/// The locks of this process by stream instance. Python code opens a stream wherever it needs it,
/// and expects its lock to be one; nothing else could know of the other handles.
static LOCKS: LazyLock<Mutex<HashMap<[u8; 16], Weak<StreamLock>>>> = LazyLock::new(Mutex::default);

impl StreamLock {
    /// The lock of `stream` in this process.
    pub(crate) fn of(stream: Stream) -> Arc<StreamLock> {
        let mut locks = LOCKS.lock();
        let instance = stream.instance();
        if let Some(lock) = locks.get(&instance).and_then(Weak::upgrade) {
            return lock;
        }
        let (state, sides) = (Mutex::default(), Mutex::default());
        let lock = Arc::new(StreamLock { stream, state, sides });
        locks.insert(instance, Arc::downgrade(&lock));
        lock
    }

    /// The stream, mapped once for all handles.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The device that this process has the stream open on, and that `wanted` accepts; made by `open`
    /// if there is none yet.
    pub(crate) fn side(
        &self,
        wanted: impl Fn(&Side) -> bool,
        open: impl FnOnce() -> PyResult<Arc<Side>>,
    ) -> PyResult<Arc<Side>> {
        if let Some(side) = self.present_side(&wanted) {
            return Ok(side);
        }
        // Opening lets other threads of the interpreter run, so the list is not locked meanwhile.
        let side = open()?;
        let mut sides = self.sides.lock();
        sides.retain(|side| side.strong_count() > 0);
        sides.push(Arc::downgrade(&side));
        Ok(side)
    }

    fn present_side(&self, wanted: impl Fn(&Side) -> bool) -> Option<Arc<Side>> {
        let sides: Vec<Arc<Side>> = self.sides.lock().iter().filter_map(Weak::upgrade).collect();
        // What is dropped here was dropped elsewhere meanwhile, and is not freed under the list's lock.
        sides.into_iter().find(|side| side.is_ours() && wanted(side))
    }

    /// The device to publish through: of `handle`, or of another handle of this process.
    fn side_for(&self, handle: Option<&Arc<Side>>) -> Option<Arc<Side>> {
        self.stream.external()?;
        let own = handle.filter(|side| side.is_ours()).cloned();
        own.or_else(|| self.present_side(|_| true))
    }

    /// Takes the lock, or one more level of it; frames of a device stream can then be published on
    /// `device`.
    #[inline]
    pub(crate) fn acquire(
        &self,
        py: Python<'_>,
        device: Option<&Arc<Side>>,
        deadline: Deadline,
        ended: impl Fn() -> bool,
    ) -> PyResult<()> {
        let me = ThreadMark::own();
        let taken = self.state().take(me);
        match taken {
            Taken::Again => return Ok(()),
            Taken::First => {}
            Taken::ByAnother => self.wait_for_turn(py, me, deadline, &ended)?,
        }
        // This thread owns the lock among those of the process; now among processes.
        match self.lock_stream(py, device, deadline, &ended) {
            Ok(writer) => {
                self.state().writer = Some(writer);
                Ok(())
            }
            Err(error) => {
                self.let_go();
                Err(error)
            }
        }
    }

    /// Waits until no other thread of this process has the lock, or it is handed to this one.
    #[cold]
    fn wait_for_turn(
        &self,
        py: Python<'_>,
        me: ThreadMark,
        deadline: Deadline,
        ended: &impl Fn() -> bool,
    ) -> PyResult<()> {
        let since = Instant::now();
        let waiter = Waiter { mark: me, thread: thread::current(), since };
        self.state().waiting.push_back(waiter);
        loop {
            let mut outcome = Ok(());
            if !deadline.has_passed() {
                py.detach(|| thread::park_timeout(wait::slice(deadline)));
                outcome = self.check_waiter(py, ended);
            }
            let mut state = self.state();
            if outcome.is_ok() && state.take(me) != Taken::ByAnother {
                state.depth = 1;
                state.waiting.retain(|waiter| waiter.mark != me);
                return Ok(());
            }
            if outcome.is_ok() && !deadline.has_passed() {
                continue;
            }
            state.waiting.retain(|waiter| waiter.mark != me);
            let handed_over = state.owner == Some(me);
            drop(state);
            if handed_over {
                self.let_go();
            }
            return outcome.and_then(|()| Err(self.held_by_thread(since)));
        }
    }

    fn held_by_thread(&self, since: Instant) -> PyErr {
        PyTimeoutError::new_err(format!(
            "timed out waiting for the lock of shared memory {} after {:.3} s: held by another thread \
             of process {}",
            errors::quoted(self.stream.name()),
            since.elapsed().as_secs_f64(),
            std::process::id()
        ))
    }

    fn lock_stream(
        &self,
        py: Python<'_>,
        device: Option<&Arc<Side>>,
        deadline: Deadline,
        ended: &impl Fn() -> bool,
    ) -> PyResult<Held> {
        let side = self.side_for(device);
        let attempt_within = |deadline: Deadline| match &side {
            None => self.stream.writer(deadline).map(Held::Host).map_err(DeviceLockError::Lock),
            Some(side) => DeviceHeld::lock(side, deadline).map(Box::new).map(Held::Device),
        };
        let mut attempt = attempt_within(Deadline::NOW);
        let mut begun = None;
        loop {
            match attempt {
                Ok(writer) => return Ok(writer),
                Err(DeviceLockError::Lock(LockError::Timeout { .. })) if !deadline.has_passed() => {
                    begun.get_or_insert_with(Instant::now);
                }
                Err(DeviceLockError::Lock(LockError::Timeout { name, holder, .. })) => {
                    let waited = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
                    return Err(errors::lock(py, LockError::Timeout { name, holder, waited }));
                }
                Err(DeviceLockError::Lock(error)) => return Err(errors::lock(py, error)),
                Err(error) => return Err(PyRuntimeError::new_err(errors::chain(&error))),
            }
            attempt = py.detach(|| attempt_within(Deadline::after(wait::slice(deadline))));
            self.check_waiter(py, ended)?;
        }
    }

    fn check_waiter(&self, py: Python<'_>, ended: &impl Fn() -> bool) -> PyResult<()> {
        py.check_signals()?;
        match ended() {
            true => Err(errors::closed_while_waiting(self.stream.name())),
            false => Ok(()),
        }
    }

    /// Gives one level back. The last one waits for frames that are still in flight on a device.
    ///
    /// Fails if one of those was not published; the level is given back all the same.
    #[inline]
    pub(crate) fn release(&self) -> PyResult<()> {
        let mut state = self.state();
        match state.owner {
            None => {
                return Err(PyRuntimeError::new_err(
                    "cannot release an unlocked shared memory lock; acquire it first",
                ));
            }
            Some(owner) if owner != ThreadMark::own() => {
                return Err(PyRuntimeError::new_err(
                    "cannot release a shared memory lock that another thread owns",
                ));
            }
            Some(_) => state.depth -= 1,
        }
        if state.depth > 0 {
            return Ok(());
        }
        // The thread still owns the lock: a depth of 0 is looked at by nobody else.
        let mut settled = Ok(());
        if matches!(state.writer, Some(Held::Device(_))) {
            let writer = state.writer.take();
            drop(state);
            if let Some(Held::Device(mut held)) = writer {
                settled = Python::attach(|py| held.settle(py));
                self.state().writer = Some(Held::Device(held));
            }
        } else {
            drop(state);
        }
        self.let_go();
        settled
    }

    /// Gives back levels whose handle is gone, whichever thread took them.
    pub(crate) fn release_orphaned(&self, levels: u32) {
        let mut state = self.state();
        state.depth = state.depth.saturating_sub(levels);
        if state.owner.is_some() && state.depth == 0 {
            drop(state);
            self.let_go();
        }
    }

    fn let_go(&self) {
        let mut state = self.state();
        (state.owner, state.depth, state.viewing) = (None, 0, false);
        let writer = state.writer.take();
        let longest = state
            .waiting
            .front()
            .map(|waiter| (waiter.mark, waiter.thread.clone(), waiter.since.elapsed() > PATIENCE));
        if let Some((mark, _, true)) = longest {
            (state.owner, state.depth) = (Some(mark), 1);
        }
        drop(state);
        // Other processes get their chance in between, too.
        drop(writer);
        if let Some((_, thread, _)) = longest {
            thread.unpark();
        }
    }

    /// How many levels the calling thread holds.
    pub(crate) fn depth(&self) -> u32 {
        let state = self.state();
        if state.owner == Some(ThreadMark::own()) { state.depth } else { 0 }
    }

    /// True while a thread of this process holds the lock.
    pub(crate) fn is_held_by_other_thread(&self) -> bool {
        self.state().owner.is_some_and(|owner| owner != ThreadMark::own())
    }

    /// Lends the writer to the thread that holds the lock, outside the lock's own state, so that it
    /// may work with the interpreter released.
    #[inline]
    pub(crate) fn with_writer<R>(
        &self,
        name: &str,
        use_it: impl FnOnce(&mut Writer) -> PyResult<R>,
    ) -> PyResult<R> {
        let mut held = self.take_writer(name)?;
        let outcome = match &mut held {
            Held::Host(writer) if self.stream.external().is_none() => use_it(writer),
            _ => Err(errors::needs_device("write to", name)),
        };
        self.state().writer = Some(held);
        outcome
    }

    /// As [`StreamLock::with_writer`], for a stream whose frames are on `side`.
    pub(crate) fn with_device_writer<R>(
        &self,
        name: &str,
        side: &Arc<Side>,
        use_it: impl FnOnce(&mut DeviceHeld) -> PyResult<R>,
    ) -> PyResult<R> {
        let mut held = self.take_writer(name)?;
        let outcome = match &mut held {
            Held::Device(writer) if writer.is_on(side) => use_it(writer),
            _ => Err(taken_without_device(name)),
        };
        self.state().writer = Some(held);
        outcome
    }

    /// Takes the writer out for a write view on `side`, until [`StreamLock::put_back`].
    pub(crate) fn take_device_writer(
        &self,
        name: &str,
        side: &Arc<Side>,
    ) -> PyResult<Box<DeviceHeld>> {
        match self.take_writer(name)? {
            Held::Device(writer) if writer.is_on(side) => Ok(writer),
            other => {
                self.state().writer = Some(other);
                Err(taken_without_device(name))
            }
        }
    }

    /// Gives back what [`StreamLock::take_device_writer`] took; if the thread has let go of the lock
    /// meanwhile, so does this.
    pub(crate) fn put_back(&self, writer: Box<DeviceHeld>) {
        let mut state = self.state();
        if state.owner == Some(ThreadMark::own()) && state.writer.is_none() {
            state.writer = Some(Held::Device(writer));
        }
    }

    fn take_writer(&self, name: &str) -> PyResult<Held> {
        let mut state = self.state();
        if state.viewing {
            return Err(view_open(name));
        }
        state.writer.take().ok_or_else(|| view_open(name))
    }

    /// Marks the beginning or the end of a write view of the owner.
    pub(crate) fn set_viewing(&self, viewing: bool) {
        self.state().viewing = viewing;
    }

    #[inline]
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let generation = fork_generation();
        if state.generation != generation {
            // The parent's threads and its lock stayed with the parent.
            *state = State { generation, ..State::default() };
        }
        state
    }
}

impl State {
    fn take(&mut self, me: ThreadMark) -> Taken {
        match self.owner {
            Some(owner) if owner == me => {
                self.depth += 1;
                Taken::Again
            }
            Some(_) => Taken::ByAnother,
            None => {
                (self.owner, self.depth) = (Some(me), 1);
                Taken::First
            }
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Taken {
    /// The thread has the lock now.
    First,
    /// It had the lock before, and has one more level.
    Again,
    /// Another thread has it.
    ByAnother,
}

impl Drop for StreamLock {
    fn drop(&mut self) {
        let mut locks = LOCKS.lock();
        let instance = self.stream.instance();
        if locks.get(&instance).is_some_and(|present| present.strong_count() == 0) {
            locks.remove(&instance);
        }
    }
}

fn taken_without_device(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "the lock of shared memory {name:?} was taken through a handle without this device; release it, \
         and take it through the handle that writes"
    ))
}

fn view_open(name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "a write_view of shared memory {name:?} is open in this thread; leave its block first"
    ))
}

/// Tells threads of one process apart, at the cost of reading an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ThreadMark(usize);

impl ThreadMark {
    #[inline]
    fn own() -> ThreadMark {
        thread_local!(static MARK: u8 = const { 0 });
        MARK.with(|mark| ThreadMark(core::ptr::from_ref(mark) as usize))
    }
}
