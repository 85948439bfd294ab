//! A registered model: its specification, and the generation whose slots are lent now.
//!
//! Upholds invariants 5 (waiting for a slot has the caller's deadline) and 8.

use crate::config::{ModelConfig, SharedMemory};
use crate::datatype::DataType;
use crate::error::{CallError, InferError, InputError, RegionError, RegisterError};
use crate::generation::{Generation, Waited};
use crate::hub::{Hub, unexpected};
use crate::layout::SlotLayout;
use crate::lent::{Given, Lent};
use crate::options::Options;
use crate::spec::{ModelSpec, TensorSpec};
use crate::transport::{Reply, Request};
use parking_lot::Mutex;
use shm_core::Deadline;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// A registered model.
#[derive(Debug)]
pub(crate) struct Registration {
    pub hub: Arc<Hub>,
    pub spec: ModelSpec,
    /// Samples of one slot; 1 where there is no batch dimension.
    pub batch: usize,
    pub slots: usize,
    closed: AtomicBool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    layout: SlotLayout,
    generation: Option<Arc<Generation>>,
}

impl Registration {
    /// Asks the server about the model, and has it map the first generation of slots.
    pub(crate) fn new(
        hub: &Arc<Hub>,
        config: &ModelConfig,
        deadline: Deadline,
    ) -> Result<Registration, RegisterError> {
        let wrong = |field: &str, expected: &str, found: String| RegisterError::Config {
            model: config.name.clone(),
            field: field.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if config.slots == 0 {
            return Err(wrong("slots", "at least 1", "0".to_owned()));
        }
        let spec = crate::specification::of(hub, config, deadline)?;
        let most = spec.max_batch_size.max(1);
        let batch = config.batch.unwrap_or(most);
        if !(1..=most).contains(&batch) {
            let expected = match spec.max_batch_size {
                0 => "1, for the model has no batch dimension".to_owned(),
                most => format!("1 to {most} samples"),
            };
            return Err(wrong("batch", &expected, batch.to_string()));
        }
        let layout = SlotLayout::new(&spec, batch, config)?;
        let current = Mutex::new(Current { layout, generation: None });
        let registration = Registration {
            hub: hub.clone(),
            spec,
            batch,
            slots: config.slots,
            closed: AtomicBool::new(false),
            current,
        };
        registration.generation(deadline)?;
        Ok(registration)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.hub.is_open()
    }

    /// Lends no more slots, ever. Tells how many still are, and the region's name.
    pub(crate) fn close(&self) -> Option<Arc<Generation>> {
        self.closed.store(true, Ordering::Release);
        let generation = self.current.lock().generation.take()?;
        generation.retire();
        Some(generation)
    }

    /// The generation whose slots are lent, a new one if need be.
    fn generation(&self, deadline: Deadline) -> Result<Arc<Generation>, RegionError> {
        let timeout =
            || CallError::Timeout { what: "register shared memory", after: Duration::ZERO };
        let mut current = match deadline.remaining() {
            Some(left) => self.current.try_lock_for(left).ok_or_else(timeout)?,
            None => self.current.lock(),
        };
        if !self.is_open() {
            return Err(CallError::Closed.into());
        }
        if let Some(generation) = current.generation.as_ref().filter(|now| !now.is_retired()) {
            return Ok(generation.clone());
        }
        // The old one's memory is freed before new memory is asked for, as far as nobody has a slot.
        current.generation = None;
        let make = || {
            let layout = current.layout.clone();
            Generation::create(&self.hub, &self.spec.name, self.slots, layout, deadline)
        };
        let made = match make() {
            Err(RegionError::Disabled { .. })
                if self.hub.config.shared_memory == SharedMemory::Preferred =>
            {
                self.hub.inline.store(true, Ordering::Relaxed);
                make()?
            }
            made => made?,
        };
        current.generation = Some(made.clone());
        Ok(made)
    }

    /// The generation, if there is one that lends.
    fn ready(&self) -> Option<Arc<Generation>> {
        let current = self.current.try_lock()?;
        current.generation.as_ref().filter(|now| !now.is_retired()).cloned()
    }

    /// Lends a slot, waiting for one until `deadline`.
    pub(crate) fn lend(
        &self,
        deadline: Deadline,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Result<Lent, InferError> {
        let began = Instant::now();
        loop {
            if !self.is_open() {
                return Err(InferError::Closed);
            }
            let generation =
                self.generation(deadline).map_err(|error| self.unready(error, began))?;
            // Somebody else's doing to the file costs the caller nothing yet: there is a next generation.
            if generation.check().is_err() {
                continue;
            }
            let slot = match generation.try_lend() {
                Some(slot) => Some(slot),
                None if generation.is_retired() => None,
                None => generation
                    .lend(deadline, interrupt)
                    .map_err(|Waited| self.no_slot(&generation, began))?,
            };
            if let Some(slot) = slot {
                return Ok(Lent::new(slot, generation));
            }
        }
    }

    /// As [`Registration::lend`], for futures. Making a generation takes system calls and an answer of
    /// the server's, which a thread of its own waits for.
    pub(crate) async fn lend_async(
        self: &Arc<Self>,
        deadline: Deadline,
    ) -> Result<Lent, InferError> {
        let began = Instant::now();
        loop {
            if !self.is_open() {
                return Err(InferError::Closed);
            }
            let Some(generation) = self.ready() else {
                let registration = self.clone();
                let made = crate::aside::run(move || registration.generation(deadline)).await;
                made.map_err(|error| self.unready(error, began))?;
                continue;
            };
            if generation.check().is_err() {
                continue;
            }
            let alarm = crate::aside::Alarm::new(&self.hub, deadline);
            let slot = poll_fn(|context| {
                alarm.listen(context.waker());
                if let Some(slot) = generation.try_lend() {
                    return Poll::Ready(Some(slot));
                }
                generation.wake_later(context.waker());
                // One may have come free between the two.
                match generation.try_lend() {
                    Some(slot) => Poll::Ready(Some(slot)),
                    None if generation.is_retired() || deadline.has_passed() => Poll::Ready(None),
                    None => Poll::Pending,
                }
            })
            .await;
            match slot {
                Some(slot) => return Ok(Lent::new(slot, generation)),
                None if generation.is_retired() && !deadline.has_passed() => {}
                None => return Err(self.no_slot(&generation, began)),
            }
        }
    }

    /// Makes room for `bytes` bytes of a tensor, from the next generation on. False if there is no such
    /// room.
    pub(crate) fn reserve(&self, output: bool, index: usize, bytes: usize) -> bool {
        let mut current = self.current.lock();
        let places = if output { &current.layout.outputs } else { &current.layout.inputs };
        if places[index].capacity >= bytes {
            return true;
        }
        let Some(layout) = current.layout.grown(output, index, bytes) else { return false };
        current.layout = layout;
        if let Some(generation) = current.generation.take() {
            generation.retire();
        }
        true
    }

    /// Takes down that an input of that shape was given, whose bytes are then written to
    /// [`Lent::input_mut`]. The slot is exchanged for a larger one if it has to be.
    pub(crate) fn give(
        &self,
        lent: &mut Lent,
        name: &str,
        datatype: DataType,
        shape: &[i64],
        bytes: usize,
        deadline: Deadline,
    ) -> Result<usize, InferError> {
        let index = self.admit(name, datatype, shape)?;
        if bytes > lent.generation.layout.inputs[index].capacity {
            if !self.reserve(false, index, bytes) {
                let source = "more bytes than an address can tell".into();
                return Err(RegionError::Pool { model: self.spec.name.clone(), source }.into());
            }
            let mut larger = self.lend(deadline, &mut || false)?;
            lent.copy_inputs_to(&mut larger);
            *lent = larger;
        }
        lent.given[index] = Some(Given { shape: shape.to_vec(), bytes });
        Ok(index)
    }

    /// The input of that name, if it takes such a tensor in one slot.
    pub(crate) fn admit(
        &self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
    ) -> Result<usize, InputError> {
        let index = self.find(name, datatype, shape)?;
        if self.spec.max_batch_size > 0 && shape[0] > self.batch as i64 {
            let expected = format!("at most {}", self.batch);
            return Err(InputError::Batch { name: name.to_owned(), expected, found: shape[0] });
        }
        Ok(index)
    }

    /// The input of that name, if it takes such a tensor, with however many samples.
    pub(crate) fn find(
        &self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
    ) -> Result<usize, InputError> {
        let index = self.spec.inputs.iter().position(|tensor| tensor.name == name);
        let index = index.ok_or_else(|| InputError::Unknown {
            name: name.to_owned(),
            known: self.spec.inputs.iter().map(|tensor| tensor.name.clone()).collect(),
        })?;
        let tensor = &self.spec.inputs[index];
        if tensor.datatype != datatype {
            return Err(InputError::DataType {
                name: name.to_owned(),
                expected: tensor.datatype.name().to_owned(),
                found: datatype.name().to_owned(),
            });
        }
        let expected = self.shape_of(tensor);
        let fits = expected.len() == shape.len()
            && expected
                .iter()
                .zip(shape)
                .all(|(&dim, &found)| found >= 0 && (dim < 0 || dim == found));
        match fits {
            true => Ok(index),
            false => {
                Err(InputError::Shape { name: name.to_owned(), expected, found: shape.to_vec() })
            }
        }
    }

    /// A tensor's shape in a request, -1 for any length.
    fn shape_of(&self, tensor: &TensorSpec) -> Vec<i64> {
        let batch = (self.spec.max_batch_size > 0).then_some(-1);
        batch.into_iter().chain(tensor.dims.iter().copied()).collect()
    }

    /// The outputs that the options ask for, by the order of the specification.
    pub(crate) fn wanted(&self, options: &Options) -> Result<Vec<usize>, InferError> {
        let Some(names) = &options.outputs else {
            return Ok((0..self.spec.outputs.len()).collect());
        };
        names
            .iter()
            .map(|name| {
                let index = self.spec.outputs.iter().position(|tensor| tensor.name == *name);
                index.ok_or_else(|| {
                    let known =
                        self.spec.outputs.iter().map(|tensor| tensor.name.clone()).collect();
                    crate::OutputError::Unknown { name: name.clone(), known }.into()
                })
            })
            .collect()
    }

    /// Checks a model's readiness; used by the client.
    pub(crate) fn ask_ready(&self, deadline: Deadline) -> Result<bool, CallError> {
        match self.hub.ask(
            "model readiness",
            Request::ModelReady(&self.spec.name, &self.spec.version),
            deadline,
        )? {
            Reply::Yes(ready) => Ok(ready),
            reply => Err(unexpected("model readiness", &reply)),
        }
    }

    fn unready(&self, error: RegionError, began: Instant) -> InferError {
        match error {
            RegionError::Call(CallError::Closed) => InferError::Closed,
            RegionError::Call(CallError::Timeout { .. }) => {
                InferError::Timeout { model: self.spec.name.clone(), after: began.elapsed() }
            }
            RegionError::Call(CallError::Unavailable { address, source, .. }) => {
                InferError::Unavailable { address, source }
            }
            // Nothing of the caller's was sent.
            RegionError::Call(CallError::Lost { address, source, .. }) => {
                InferError::Unavailable { address, source }
            }
            error => error.into(),
        }
    }

    fn no_slot(&self, generation: &Generation, began: Instant) -> InferError {
        InferError::NoSlot {
            model: self.spec.name.clone(),
            waited: began.elapsed(),
            in_use: generation.in_use(),
            slots: self.slots,
        }
    }
}
