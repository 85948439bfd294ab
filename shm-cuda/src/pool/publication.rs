//! Saying that the bytes are there, in the order of a stream.
//!
//! Upholds invariants 7 (never before the work that puts them there) and 8 (which way is taken can be
//! asked, and what falls back is counted).

use super::companion::{Companion, Counter};
use super::in_flight::InFlight;
use super::mutate::{Mutation, mutated};
use crate::cuda_stream::StreamRef;
use crate::device::Device;
use crate::error::CudaError;
use crate::memop::{self, MemOps};
use crate::pinned::Registration;
use core::sync::atomic::AtomicU64;

/// How the device says that a publication is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// It stores and waits for words itself, in the order of the streams.
    StreamOrdered,
    /// It cannot, or was told not to: the driver calls a function on a thread of its own, and consumers
    /// wait on the host.
    HostFunction,
}

/// The device's reach into the companion.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) companion: Companion,
    device: Device,
    words: Option<(MemOps, Registration)>,
    tasks: InFlight<()>,
}

impl Reach {
    pub(super) fn new(
        companion: Companion,
        device: &Device,
        words: Option<(MemOps, Registration)>,
    ) -> Reach {
        Reach { companion, device: device.clone(), words, tasks: InFlight::new() }
    }

    pub(super) fn publication(&self) -> Publication {
        match self.words {
            Some(_) => Publication::StreamOrdered,
            None => Publication::HostFunction,
        }
    }

    pub(super) fn can_wait(&self) -> bool {
        self.words.is_some()
    }

    pub(super) fn tasks(&self) -> &InFlight<()> {
        &self.tasks
    }

    /// Queues the stores of a publication for those seats.
    pub(super) fn announce(
        &self,
        slot: usize,
        generation: u64,
        seats: u64,
        stream: StreamRef<'_>,
    ) -> Result<(), CudaError> {
        if mutated(Mutation::ReadyEarly) {
            self.companion.announce(slot, generation, seats);
            return Ok(());
        }
        if let Some((ops, registration)) = &self.words {
            let at = |word: &AtomicU64| {
                (registration.device_address(word.as_ptr().cast::<u8>()), generation)
            };
            let companion = &self.companion;
            let named = (0..companion.seats()).filter(|seat| seats >> seat & 1 == 1);
            let mut stores = vec![at(companion.ready(slot))];
            stores.extend(named.map(|seat| at(companion.gate(slot, seat))));
            stores.push(at(companion.settled(slot)));
            let queued = stores
                .chunks(memop::MOST)
                .try_for_each(|stores| ops.store(&self.device, stream, stores));
            if queued.is_ok() {
                return Ok(());
            }
        }
        self.companion.count(Counter::HostFallbacks);
        let (companion, landing) = (self.companion, self.tasks.enter(()));
        let refused = landing.clone();
        let announce = move || {
            companion.announce(slot, generation, seats);
            let _done = landing.land();
        };
        stream.run_on_host(&self.device, announce).inspect_err(|_| {
            refused.land();
        })
    }

    /// Queues a wait until a seat's gate is open; `None` if the device cannot wait.
    pub(super) fn wait_at_gate(
        &self,
        slot: usize,
        seat: usize,
        generation: u64,
        stream: StreamRef<'_>,
    ) -> Option<Result<(), CudaError>> {
        let (ops, registration) = self.words.as_ref()?;
        let gate = self.companion.gate(slot, seat).as_ptr().cast::<u8>();
        Some(ops.wait(&self.device, stream, registration.device_address(gate), generation))
    }
}
