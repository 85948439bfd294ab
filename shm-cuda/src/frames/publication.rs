//! Who makes a frame readable: the device, in stream order, or a function on the host that it calls.
//!
//! Upholds invariant 8: which of the two it is can be asked, and falling back is counted.

use super::mutate::{Mutation, left_out};
use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::error::{CudaError, CudaErrorKind};
use crate::memop::MemOps;
use crate::pinned::Registration;
use parking_lot::Mutex;
use shm_core::{Announced, Stream, WordStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Who makes a frame readable when its payload is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The device stores the words itself, in the order of its work: no thread is involved.
    StreamOrdered,
    /// The driver calls a function on the host, in the order of the device's work.
    HostFunction,
}

/// How one handle publishes.
#[derive(Debug)]
pub(super) struct Route {
    /// The words of the stream, and its host cells, where the device finds them.
    pages: Option<Registration>,
    operations: Option<MemOps>,
}

/// What one handle knows about publishing, whether or not it has published.
#[derive(Debug, Default)]
pub(super) struct Habit {
    via_host: AtomicBool,
    /// The driver refused what the device said that it can.
    refused: AtomicBool,
    fallbacks: AtomicU64,
    route: Mutex<Option<Arc<Route>>>,
}

impl Habit {
    pub(super) fn new(via_host: bool) -> Habit {
        Habit { via_host: AtomicBool::new(via_host), ..Habit::default() }
    }

    pub(super) fn set_via_host(&self, via_host: bool) {
        self.via_host.store(via_host, Ordering::Relaxed);
    }

    /// Frames that went through host functions though nobody asked for that.
    pub(super) fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    pub(super) fn publication(&self, device: &Device) -> Publication {
        let stored = match &*self.route.lock() {
            Some(route) => route.pages.is_some() && route.operations.is_some(),
            None => MemOps::of(device).is_some(),
        };
        match stored && !self.is_on_host() {
            true => Publication::StreamOrdered,
            false => Publication::HostFunction,
        }
    }

    /// The way to publish, found when the first writer asks.
    pub(super) fn route(&self, device: &Device, stream: &Stream) -> Arc<Route> {
        let mut route = self.route.lock();
        route.get_or_insert_with(|| Arc::new(Route::find(device, stream))).clone()
    }

    fn is_on_host(&self) -> bool {
        self.via_host.load(Ordering::Relaxed) || self.refused.load(Ordering::Relaxed)
    }

    fn count_fallback(&self) {
        if !self.via_host.load(Ordering::Relaxed) {
            self.fallbacks.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Route {
    fn find(device: &Device, stream: &Stream) -> Route {
        let operations = MemOps::of(device);
        let wanted = operations.is_some() || stream.has_host_payload();
        let pages = stream.publication_pages().filter(|_| wanted).and_then(|(pages, len)| {
            // SAFETY: mapped and writable for as long as a handle on the stream, which the
            // registration keeps.
            unsafe { Registration::new(device, pages, len, Arc::new(stream.clone())) }.ok()
        });
        Route { pages, operations }
    }

    /// Queues the stores; `false` if the device does not make them.
    fn store<const N: usize>(
        &self,
        habit: &Habit,
        device: &Device,
        stream: StreamRef<'_>,
        words: [WordStore; N],
    ) -> Result<bool, CudaError> {
        let (Some(operations), Some(pages)) = (self.operations, &self.pages) else {
            return Ok(false);
        };
        if habit.is_on_host() {
            return Ok(false);
        }
        let words = words.map(|word| (pages.device_address(word.address.cast()), word.value));
        match operations.store(device, stream, &words) {
            Err(error) if error.kind() == CudaErrorKind::NotSupported => {
                habit.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            outcome => outcome.map(|()| true),
        }
    }
}

/// Lets host functions of one writer through until it closes it: what the driver calls later does
/// nothing.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    open: Arc<Mutex<bool>>,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate { open: Arc::new(Mutex::new(true)) }
    }

    /// When this returns no host function is at work, and none will be.
    pub(super) fn close(&self) {
        *self.open.lock() = false;
    }

    fn pass(&self, task: impl FnOnce()) {
        let open = self.open.lock();
        if *open {
            task();
        }
    }
}

/// One announced frame on its way into a queue of work.
#[derive(Debug)]
pub(super) struct Flight {
    announced: Arc<Announced>,
    on_host: bool,
}

impl Flight {
    pub(super) fn new(announced: Announced) -> Flight {
        Flight { announced: Arc::new(announced), on_host: false }
    }

    pub(super) fn count(&self) -> u64 {
        self.announced.count()
    }

    pub(super) fn cell(&self) -> usize {
        self.announced.cell()
    }

    /// The same frame, announced anew; what was queued of this one begins that one too.
    pub(super) fn replaced_by(self, announced: Announced) -> Flight {
        Flight { announced: Arc::new(announced), ..self }
    }

    /// Queues what comes before the payload.
    pub(super) fn begin(
        &mut self,
        (route, habit, gate): (&Route, &Habit, &Gate),
        device: &Device,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        if left_out(Mutation::BeginBeforeCopy)
            || route.store(habit, device, stream, self.announced.begin())?
        {
            return Ok(());
        }
        self.on_host = true;
        let (announced, gate) = (self.announced.clone(), gate.clone());
        stream.run_on_host(device, move || gate.pass(|| announced.begin_on_host()))
    }

    /// Queues what comes after the payload: when it is carried out, the frame is the newest.
    pub(super) fn finish(
        mut self,
        (route, habit, gate): (&Route, &Habit, &Gate),
        device: &Device,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        // What began on the host ends there, so that one frame has one kind of fences.
        if !self.on_host && route.store(habit, device, stream, self.announced.finish())? {
            return Ok(());
        }
        self.on_host = true;
        habit.count_fallback();
        let (announced, gate) = (self.announced, gate.clone());
        stream.run_on_host(device, move || {
            gate.pass(|| {
                // The function that began it has run, and let go of it.
                if let Some(announced) = Arc::into_inner(announced) {
                    announced.finish_on_host();
                }
            });
        })
    }
}
