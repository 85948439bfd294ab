//! A stream: a queue of work and the thread that does it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::context::Context;
use crate::driver::driver;
use crate::inject::{self, Fault};
use crate::status::{Result, Status};

/// What a stream is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The legacy default stream: ordered with all blocking streams of its context.
    Legacy,
    Blocking,
    NonBlocking,
}

/// One piece of queued work.
pub type Work = Box<dyn FnOnce(&Context) -> Result + Send>;

pub struct Stream {
    pub id: usize,
    pub lane: Lane,
    pub priority: i32,
    pub context: Weak<Context>,
    pub context_handle: usize,
    closing: AtomicBool,
    queue: Mutex<Queue>,
    /// Work was queued, or the stream was closed.
    queued: Condvar,
    /// A piece of work was done.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    submitted: u64,
    completed: u64,
    has_worker: bool,
}

struct Entry {
    before: Vec<Mark>,
    work: Work,
}

/// All that was queued on a stream up to some moment.
pub struct Mark {
    stream: Arc<Stream>,
    ticket: u64,
}

/// Waiters look this often whether what they wait for can still happen.
const LOOK: Duration = Duration::from_millis(5);

impl Stream {
    pub fn new(id: usize, lane: Lane, priority: i32, context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            id,
            lane,
            priority,
            context: Arc::downgrade(context),
            context_handle: context.handle,
            closing: AtomicBool::new(false),
            queue: Mutex::default(),
            queued: Condvar::new(),
            done: Condvar::new(),
        })
    }

    /// Queues work that begins when everything in `before` is done.
    pub fn push(self: &Arc<Self>, before: Vec<Mark>, work: Work) -> Result<Mark> {
        let mut queue = self.queue.lock();
        if !queue.has_worker {
            let context = self.context.upgrade().ok_or(Status::CONTEXT_IS_DESTROYED)?;
            let stream = Arc::clone(self);
            thread::Builder::new()
                .name("cuda-sim".to_owned())
                .spawn(move || stream.work(&context))
                .map_err(|_| Status::OPERATING_SYSTEM)?;
            queue.has_worker = true;
        }
        queue.entries.push_back(Entry { before, work });
        queue.submitted += 1;
        self.queued.notify_one();
        Ok(Mark { stream: Arc::clone(self), ticket: queue.submitted })
    }

    pub fn mark(self: &Arc<Self>) -> Mark {
        Mark { stream: Arc::clone(self), ticket: self.queue.lock().submitted }
    }

    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.completed == queue.submitted
    }

    /// The worker ends when it has done what is queued.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let _queue = self.queue.lock();
        self.queued.notify_all();
    }

    pub fn is_over(&self) -> bool {
        self.closing.load(Ordering::Acquire) && self.is_idle()
    }

    fn work(&self, context: &Context) {
        while let Some(entry) = self.next() {
            // What fails has broken the context by now.
            let _ = perform(context, entry);
            self.queue.lock().completed += 1;
            self.done.notify_all();
        }
    }

    fn next(&self) -> Option<Entry> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(entry) = queue.entries.pop_front() {
                return Some(entry);
            }
            if self.closing.load(Ordering::Acquire) {
                queue.has_worker = false;
                return None;
            }
            self.queued.wait(&mut queue);
        }
    }
}

/// Does the work, unless its context is gone or broken: then it never happens.
fn perform(context: &Context, entry: Entry) -> Result {
    for mark in entry.before {
        mark.wait(|| context.is_over());
    }
    if context.is_over() {
        return Ok(());
    }
    context.touch(|| inject::check(Fault::Launch))?;
    (entry.work)(context)
}

impl Mark {
    /// Waits until all of it is done, or `give_up` says that it need not be waited for.
    pub fn wait(&self, give_up: impl Fn() -> bool) {
        let mut queue = self.stream.queue.lock();
        while queue.completed < self.ticket && !give_up() {
            self.stream.done.wait_for(&mut queue, LOOK);
        }
    }

    pub fn is_done(&self) -> bool {
        self.stream.queue.lock().completed >= self.ticket
    }
}

/// Sleeps a little longer each time; for what another process or the host will change.
pub fn poll(mut ready: impl FnMut() -> bool, give_up: impl Fn() -> bool) -> bool {
    let mut nap = Duration::from_micros(20);
    loop {
        if ready() {
            return true;
        }
        if give_up() {
            return false;
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_micros(500));
    }
}

/// The stream that a handle of the caller's means, in the current context or its own.
pub fn find(handle: usize, current: &Arc<Context>) -> Result<Arc<Stream>> {
    match handle {
        0 | 1 => current.legacy_stream(),
        2 => current.thread_stream(),
        _ => driver()?.state().streams.get(&handle).cloned().ok_or(Status::INVALID_HANDLE),
    }
}

/// The same, for work that must belong to the current context.
pub fn find_in(handle: usize, current: &Arc<Context>) -> Result<Arc<Stream>> {
    let stream = find(handle, current)?;
    if stream.context_handle == current.handle { Ok(stream) } else { Err(Status::INVALID_HANDLE) }
}
