//! Contexts: which one a thread uses, and the order of work in one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{self, ThreadId};

use parking_lot::{Mutex, RwLock};

use crate::address::Kind;
use crate::driver::{Driver, State, driver};
use crate::inject::{self, Fault};
use crate::status::{Result, Status};
use crate::stream::{Lane, Mark, Stream, Work};

pub struct Context {
    pub handle: usize,
    /// The ordinal of its device.
    pub device: usize,
    pub flags: u32,
    /// Unique among all contexts of the process, also of the past.
    pub id: u64,
    pub peers: Mutex<HashSet<usize>>,
    pub limits: Mutex<HashMap<i32, usize>>,
    dead: AtomicBool,
    /// The error that every call returns from now on; nil for none.
    sticky: AtomicI32,
    /// Shared by work while it touches memory or breaks the context.
    touching: RwLock<()>,
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    legacy: Option<Arc<Stream>>,
    per_thread: HashMap<ThreadId, Arc<Stream>>,
    named: Vec<Arc<Stream>>,
}

thread_local! {
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The handle on top of this thread's stack, whatever became of it.
pub fn top() -> Option<usize> {
    with_stack(|stack| stack.last().copied())
}

pub fn push(handle: usize) {
    with_stack(|stack| stack.push(handle));
}

pub fn pop() -> Option<usize> {
    with_stack(Vec::pop)
}

/// Replaces the top of the stack; nil takes it away.
pub fn set_top(handle: usize) {
    with_stack(|stack| {
        stack.pop();
        if handle != 0 {
            stack.push(handle);
        }
    });
}

/// A thread that is ending has no stack any more, so no current context.
fn with_stack<T: Default>(change: impl FnOnce(&mut Vec<usize>) -> T) -> T {
    STACK.try_with(|stack| change(&mut stack.borrow_mut())).unwrap_or_default()
}

/// The current context, for a call that does something with it.
pub fn current() -> Result<(&'static Driver, Arc<Context>)> {
    let driver = driver()?;
    let handle = top().ok_or(Status::INVALID_CONTEXT)?;
    let context = driver.state().context(driver, handle)?;
    if inject::check(Fault::DeviceLost).is_err() {
        context.fail(Status::LAUNCH_FAILED);
    }
    context.healthy()?;
    Ok((driver, context))
}

impl State {
    /// The context of a handle: destroyed ones are told from numbers that never were one.
    pub fn context(&self, driver: &Driver, handle: usize) -> Result<Arc<Context>> {
        match self.contexts.get(&handle) {
            Some(context) => Ok(Arc::clone(context)),
            None if driver.was_id(handle) => Err(Status::CONTEXT_IS_DESTROYED),
            None if driver.devices.iter().any(|device| device.primary == handle) => {
                Err(Status::CONTEXT_IS_DESTROYED)
            }
            None => Err(Status::INVALID_CONTEXT),
        }
    }
}

/// Makes a context; a primary one has a fixed handle.
pub fn create(driver: &Driver, state: &mut State, device: usize, flags: u32, handle: usize) {
    let context = Arc::new(Context {
        handle,
        device,
        flags,
        id: driver.new_id() as u64,
        peers: Mutex::default(),
        limits: Mutex::default(),
        dead: AtomicBool::new(false),
        sticky: AtomicI32::new(0),
        touching: RwLock::default(),
        lanes: Mutex::default(),
    });
    let legacy = Stream::new(driver.new_id(), Lane::Legacy, 0, &context);
    context.lanes.lock().legacy = Some(legacy);
    state.contexts.insert(handle, context);
}

/// Ends a context with all that belongs to it. Work that is running is waited for.
pub fn destroy(driver: &Driver, handle: usize) -> Result {
    let (context, freed) = {
        let mut state = driver.state();
        let context = state.contexts.remove(&handle).ok_or(Status::INVALID_CONTEXT)?;
        state.streams.retain(|_, stream| stream.context_handle != handle);
        state.events.retain(|_, event| event.context != handle);
        let owned: Vec<u64> = state
            .map
            .all()
            .filter(|region| region.context == handle && region.kind != Kind::Mapped)
            .map(|region| region.base)
            .collect();
        let freed: Vec<_> = owned.iter().filter_map(|base| state.map.remove(*base)).collect();
        (context, freed)
    };
    context.end();
    for region in freed {
        if region.kind != Kind::Imported
            && let Some(block) = &region.block
        {
            block.retire();
        }
    }
    Ok(())
}

impl Context {
    /// Whether nothing more happens in it.
    pub fn is_over(&self) -> bool {
        self.dead.load(Ordering::Acquire) || self.sticky.load(Ordering::Acquire) != 0
    }

    pub fn fail(&self, status: Status) {
        let _ = self.sticky.compare_exchange(0, status.0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Forgets the sticky error, once nothing is left of what was queued before it.
    pub fn heal(&self) {
        drop(self.touching.write());
        if self.sticky.load(Ordering::Acquire) != 0 {
            for mark in self.marks() {
                mark.wait(|| self.dead.load(Ordering::Acquire));
            }
            self.sticky.store(0, Ordering::Release);
        }
    }

    /// The error that every call returns. By the time that the host hears of it the device is at rest:
    /// nothing that was queued touches memory any more.
    pub fn healthy(&self) -> Result {
        if self.dead.load(Ordering::Acquire) {
            return Err(Status::CONTEXT_IS_DESTROYED);
        }
        match self.sticky.load(Ordering::Acquire) {
            0 => Ok(()),
            code => {
                drop(self.touching.write());
                Err(Status(code))
            }
        }
    }

    /// Work of the device that touches memory, or breaks the context: in one go, and not at all in a
    /// context that is over.
    pub fn touch(&self, work: impl FnOnce() -> Result) -> Result {
        let _touching = self.touching.read();
        if self.is_over() {
            return Ok(());
        }
        work().inspect_err(|status| self.fail(*status))
    }

    pub fn legacy_stream(&self) -> Result<Arc<Stream>> {
        self.lanes.lock().legacy.clone().ok_or(Status::CONTEXT_IS_DESTROYED)
    }

    /// The default stream of the calling thread.
    pub fn thread_stream(self: &Arc<Self>) -> Result<Arc<Stream>> {
        let id = driver()?.new_id();
        let mut lanes = self.lanes.lock();
        let stream = lanes
            .per_thread
            .entry(thread::current().id())
            .or_insert_with(|| Stream::new(id, Lane::Blocking, 0, self));
        Ok(Arc::clone(stream))
    }

    pub fn adopt(&self, stream: Arc<Stream>) {
        self.lanes.lock().named.push(stream);
    }

    /// Queues work with the order that default streams promise.
    pub fn submit(&self, stream: &Arc<Stream>, work: Work) -> Result<Mark> {
        let mut lanes = self.lanes.lock();
        lanes.named.retain(|stream| !stream.is_over());
        let before = match stream.lane {
            Lane::NonBlocking => Vec::new(),
            Lane::Blocking => lanes.legacy.iter().map(Stream::mark).collect(),
            Lane::Legacy => lanes
                .named
                .iter()
                .chain(lanes.per_thread.values())
                .filter(|stream| stream.lane == Lane::Blocking)
                .map(Stream::mark)
                .collect(),
        };
        stream.push(before.into_iter().filter(|mark| !mark.is_done()).collect(), work)
    }

    /// What work that is queued on the legacy default stream from now on comes after.
    pub fn legacy_marks(&self) -> Vec<Mark> {
        let lanes = self.lanes.lock();
        lanes
            .legacy
            .iter()
            .chain(&lanes.named)
            .chain(lanes.per_thread.values())
            .filter(|stream| stream.lane != Lane::NonBlocking)
            .map(Stream::mark)
            .collect()
    }

    /// Waits for everything that is queued.
    pub fn synchronize(&self) -> Result {
        let marks = self.marks();
        self.wait(marks)
    }

    pub fn wait(&self, marks: Vec<Mark>) -> Result {
        for mark in marks {
            mark.wait(|| self.dead.load(Ordering::Acquire));
        }
        self.healthy()
    }

    fn marks(&self) -> Vec<Mark> {
        let lanes = self.lanes.lock();
        lanes
            .legacy
            .iter()
            .chain(&lanes.named)
            .chain(lanes.per_thread.values())
            .map(Stream::mark)
            .collect()
    }

    /// Drops what has not begun, waits for what has, and ends the workers.
    fn end(&self) {
        let marks = self.marks();
        self.dead.store(true, Ordering::Release);
        for mark in marks {
            mark.wait(|| false);
        }
        let lanes = std::mem::take(&mut *self.lanes.lock());
        for stream in lanes.legacy.iter().chain(&lanes.named).chain(lanes.per_thread.values()) {
            stream.close();
        }
    }
}

/// Waits for everything that any context has queued: memory is about to go.
pub fn synchronize_all(driver: &Driver) {
    let contexts: Vec<_> = driver.state().contexts.values().cloned().collect();
    for context in contexts {
        // A broken context has nothing that still runs after its queue is empty.
        let _ = context.synchronize();
    }
}
