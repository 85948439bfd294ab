//! Events: marks in streams, also between processes.

use std::mem::size_of;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::fs::{
    MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};

use crate::block::random;
use crate::pages::{PAGE, Pages};
use crate::status::{Result, Status};
use crate::stream::poll;

pub struct Event {
    /// The handle of the context it belongs to.
    pub context: usize,
    pub flags: u32,
    pub state: Record,
}

pub const DISABLE_TIMING: u32 = 2;
pub const INTERPROCESS: u32 = 4;

/// What was recorded last, and whether the stream got there.
pub enum Record {
    Local(Mutex<Option<Arc<Moment>>>),
    Shared(Board),
}

/// One record of a local event.
#[derive(Default)]
pub struct Moment {
    reached: Mutex<Option<Instant>>,
    changed: Condvar,
}

/// One record on its way through a stream. It is reached when this is dropped too, since a
/// stream whose context ends never gets there, and other contexts' streams may be waiting.
pub struct Recording(Point);

/// One record, to be reached or waited for.
pub enum Point {
    Local(Arc<Moment>),
    Shared(Arc<Pages>, u64),
}

impl Event {
    pub fn new(context: usize, flags: u32) -> Result<Self> {
        let timed = flags & DISABLE_TIMING == 0;
        if flags & !7 != 0 || flags & INTERPROCESS != 0 && timed {
            return Err(Status::INVALID_VALUE);
        }
        let state = if flags & INTERPROCESS == 0 {
            Record::Local(Mutex::default())
        } else {
            Record::Shared(Board::create()?)
        };
        Ok(Self { context, flags, state })
    }

    /// A new record, which whoever waits from now on waits for.
    pub fn record(&self) -> Recording {
        Recording(match &self.state {
            Record::Local(last) => {
                let moment = Arc::new(Moment::default());
                *last.lock() = Some(Arc::clone(&moment));
                Point::Local(moment)
            }
            Record::Shared(board) => {
                let count = board.words().recorded.fetch_add(1, Ordering::AcqRel) + 1;
                Point::Shared(Arc::clone(&board.pages), count)
            }
        })
    }

    /// The newest record, if there is one.
    pub fn last(&self) -> Option<Point> {
        match &self.state {
            Record::Local(last) => last.lock().clone().map(Point::Local),
            Record::Shared(board) => match board.words().recorded.load(Ordering::Acquire) {
                0 => None,
                count => Some(Point::Shared(Arc::clone(&board.pages), count)),
            },
        }
    }

    /// When the newest record was reached.
    pub fn reached_at(&self) -> Result<Instant> {
        match &self.state {
            Record::Local(last) => {
                let last = last.lock().clone().ok_or(Status::INVALID_HANDLE)?;
                let reached = *last.reached.lock();
                reached.ok_or(Status::NOT_READY)
            }
            Record::Shared(_) => Err(Status::INVALID_HANDLE),
        }
    }

    /// Whether the exporter of an event between processes destroyed it.
    pub fn is_destroyed(&self) -> bool {
        match &self.state {
            Record::Local(_) => false,
            Record::Shared(board) => board.words().destroyed.load(Ordering::Acquire) != 0,
        }
    }
}

impl Recording {
    pub fn reach(self) {
        if let Point::Shared(pages, count) = &self.0 {
            slot(words(pages), *count).fetch_max(*count, Ordering::AcqRel);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Another process learns only of what happened.
        if let Point::Local(moment) = &self.0 {
            *moment.reached.lock() = Some(Instant::now());
            moment.changed.notify_all();
        }
    }
}

impl Point {
    pub fn is_reached(&self) -> bool {
        match self {
            Point::Local(moment) => moment.reached.lock().is_some(),
            Point::Shared(pages, count) => {
                slot(words(pages), *count).load(Ordering::Acquire) >= *count
            }
        }
    }

    /// Waits until it is reached, or `give_up` says that it need not be waited for.
    pub fn wait(&self, give_up: impl Fn() -> bool) {
        match self {
            Point::Local(moment) => {
                let mut reached = moment.reached.lock();
                while reached.is_none() && !give_up() {
                    moment.changed.wait_for(&mut reached, std::time::Duration::from_millis(5));
                }
            }
            Point::Shared(..) => {
                poll(|| self.is_reached(), give_up);
            }
        }
    }
}

/// The state of an event that other processes can open.
pub struct Board {
    file: OwnedFd,
    pages: Arc<Pages>,
    random: u64,
    /// Whether this process made it, and so ends it.
    is_owner: bool,
}

#[repr(C)]
struct Words {
    magic: AtomicU64,
    random: AtomicU64,
    destroyed: AtomicU32,
    recorded: AtomicU64,
    /// The newest record reached, for each remainder of its count.
    reached: [AtomicU64; SLOTS],
}

const MAGIC: u64 = u64::from_le_bytes(*b"simevent");
const SLOTS: usize = 256;

impl Board {
    fn create() -> Result<Self> {
        let file = memfd_create("cuda-sim-event", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, PAGE as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let pages = Arc::new(Pages::shared(file.as_fd(), PAGE)?);
        let random = random()?;
        words(&pages).random.store(random, Ordering::Relaxed);
        words(&pages).magic.store(MAGIC, Ordering::Release);
        Ok(Self { file, pages, random, is_owner: true })
    }

    /// Maps another process's.
    pub fn open(file: OwnedFd, random: u64) -> Result<Self> {
        let bad = |_| Status::INVALID_VALUE;
        let seals = fcntl_get_seals(&file).map_err(bad)?;
        if !seals.contains(SealFlags::SHRINK) || fstat(&file).map_err(bad)?.st_size != PAGE as i64 {
            return Err(Status::INVALID_VALUE);
        }
        let pages = Arc::new(Pages::shared(file.as_fd(), PAGE)?);
        let found = words(&pages);
        let is_it = found.magic.load(Ordering::Acquire) == MAGIC
            && found.random.load(Ordering::Relaxed) == random
            && found.destroyed.load(Ordering::Acquire) == 0;
        if !is_it {
            return Err(Status::INVALID_VALUE);
        }
        Ok(Self { file, pages, random, is_owner: false })
    }

    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    pub fn random(&self) -> u64 {
        self.random
    }

    pub fn is_owner(&self) -> bool {
        self.is_owner
    }

    fn words(&self) -> &Words {
        words(&self.pages)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if self.is_owner {
            self.words().destroyed.store(1, Ordering::Release);
        }
    }
}

fn words(pages: &Pages) -> &Words {
    const { assert!(size_of::<Words>() <= PAGE) };
    let words = ptr::with_exposed_provenance::<Words>(pages.base());
    // SAFETY: the mapping begins on a page and is a page long for as long as `pages` is there, and
    // its file's size is sealed; all fields are atomics.
    unsafe { &*words }
}

fn slot(words: &Words, count: u64) -> &AtomicU64 {
    &words.reached[count as usize % SLOTS]
}
