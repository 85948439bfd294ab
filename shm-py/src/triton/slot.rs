//! The class `TritonSlot`: inputs filled and outputs read where the server reads and writes them.
//!
//! Upholds invariants 1 (no array can be written through while a request may read it) and 6 (arrays own
//! the mapping, and keep the slot lent while nobody said otherwise).

use crate::array::{ArrayForm, Frozen, GivenOut};
use crate::triton::call::{Answer, Call, aside_of_interpreter};
use crate::triton::inputs::{self, Given};
use crate::triton::interrupt::Interrupt;
use crate::triton::keywords::{Keywords, Patience};
use crate::triton::output::Found;
use crate::triton::{errors, specs};
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use shm_core::fork_generation;
use shm_triton::{DataType, InferError, InferSlot, Model, Options, SlotMemory};
use std::sync::Arc;

/// A slot of a model's shared memory, made by TritonModel.slot(): input() gives arrays to fill where the
/// server reads them, run() gives arrays of the outputs where it wrote them. It can be run any number of
/// times. Leaving a `with` block, close(), or dropping it and everything made from it, gives it back.
///
/// No array ever faults. While a request runs the arrays of inputs are read-only, and from then on if
/// the slot is gone: after a timeout its memory belongs to the request that is still open.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct TritonSlot {
    held: Arc<Held>,
}

/// The slot, shared by the handle and the arrays over it.
pub(crate) struct Held {
    state: Mutex<State>,
    /// The arrays of inputs that were given out.
    filled: GivenOut,
    /// There until it is dropped.
    model: Option<Model>,
    born: u64,
}

enum State {
    Idle(InferSlot),
    Running,
    /// It belongs to a request that was given up.
    Gone,
    Closed,
}

/// What an array over a slot has as its base.
#[pyclass(frozen, module = "shm_py._native")]
struct SlotBytes {
    #[expect(dead_code, reason = "keeps the slot lent")]
    held: Arc<Held>,
    #[expect(dead_code, reason = "owns the mapping")]
    memory: SlotMemory,
}

impl TritonSlot {
    pub(crate) fn new(model: Model, slot: InferSlot) -> TritonSlot {
        let held = Held {
            state: Mutex::new(State::Idle(slot)),
            filled: GivenOut::default(),
            model: Some(model),
            born: fork_generation(),
        };
        TritonSlot { held: Arc::new(held) }
    }
}

impl Held {
    fn model(&self) -> &Model {
        self.model.as_ref().expect("it is there until it is dropped")
    }

    /// Takes the slot out, for as long as it is used.
    fn take(&self, py: Python<'_>) -> PyResult<InferSlot> {
        if self.born != fork_generation() {
            return Err(errors::closed(py));
        }
        let mut state = self.state.lock();
        match core::mem::replace(&mut *state, State::Running) {
            State::Idle(slot) => Ok(slot),
            other => {
                let text = match &other {
                    State::Running => {
                        "this slot is being run; wait for the end, or take another one"
                    }
                    State::Closed => "this slot was given back; take another one",
                    State::Gone | State::Idle(_) => {
                        *state = State::Gone;
                        return Err(errors::infer(py, InferError::SlotGone));
                    }
                };
                *state = other;
                Err(errors::own(py, text))
            }
        }
    }

    /// Puts it back, as far as it is there.
    fn put(&self, py: Python<'_>, slot: InferSlot) {
        let (slot, state) = match slot.is_gone() {
            true => (Some(slot), State::Gone),
            false => (None, State::Idle(slot)),
        };
        *self.state.lock() = state;
        py.detach(|| drop(slot));
    }

    /// Uses the slot; arrays of inputs that it does not have any more become read-only.
    fn with<T>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut InferSlot) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut slot = self.take(py)?;
        let before = slot.memory();
        let done = work(&mut slot);
        if has_moved(before.as_ref(), &slot) {
            self.filled.freeze(py);
        }
        self.put(py, slot);
        done
    }

    /// After a run: back to filling, if the slot is still the same.
    fn settle(&self, py: Python<'_>, slot: InferSlot, before: Option<&SlotMemory>, frozen: Frozen) {
        if !has_moved(before, &slot) {
            // SAFETY: arrays of `input`, over memory of the slot, which is still this handle's.
            unsafe { self.filled.thaw(py, frozen) };
        }
        self.put(py, slot);
    }

    fn views<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        memory: SlotMemory,
        outputs: &[Found],
    ) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        let base = Bound::new(py, SlotBytes { held: self.clone(), memory })?.into_any();
        for output in outputs {
            // SAFETY: the output lies in the slot whose memory `base` keeps mapped.
            arrays.set_item(&output.name, unsafe { output.view(py, base.clone())? })?;
        }
        Ok(arrays)
    }
}

/// Whether the slot is another one, or none.
fn has_moved(before: Option<&SlotMemory>, slot: &InferSlot) -> bool {
    match (before, slot.memory()) {
        (Some(before), Some(now)) => !before.is_same(&now),
        _ => true,
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let slot = core::mem::replace(self.state.get_mut(), State::Closed);
        aside_of_interpreter((slot, self.model.take()));
    }
}

#[pymethods]
impl TritonSlot {
    /// A writable numpy array over an input, without a copy, to be filled before run(). `shape` has the
    /// batch dimension where the model has one. It has what was there before, from this slot's or an
    /// earlier request; asking again for the same shape gives the same memory.
    ///
    /// A tensor that the slot has no room for, of a dimension that is only known now, moves the slot to
    /// larger memory: arrays that were given out before become read-only then, and input() gives new
    /// ones with the same contents.
    ///
    /// Raises KeyError for a name, ValueError for a shape that the model does not have; TypeError for a
    /// BYTES input, which set() takes; TritonError if the slot is gone, given back or being run.
    #[pyo3(signature = (name, shape), text_signature = "($self, name, shape)")]
    fn input<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        shape: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let (name, tensor) = inputs::find(self.held.model().spec(), name)?;
        if tensor.datatype == DataType::Bytes {
            return Err(PyTypeError::new_err(format!(
                "input '{name}' is of items, which have no place of their own; use set('{name}', items)"
            )));
        }
        let shape = specs::shape(shape)?;
        let (at, memory) = self.held.with(py, |slot| {
            let at = py.detach(|| {
                slot.input_bytes(&name, &shape)
                    .map(|bytes| (Address(bytes.as_mut_ptr()), bytes.len()))
            });
            let at = at.map_err(|error| errors::infer(py, error))?;
            Ok((at, slot.memory()))
        })?;
        let memory = memory.ok_or_else(|| errors::infer(py, InferError::SlotGone))?;
        let (Address(start), len) = at;
        let form: ArrayForm = specs::form(py, &name, tensor.datatype, &shape)?;
        assert_eq!(form.byte_len, len, "the model's dtype and shape are the array's");
        let base = Bound::new(py, SlotBytes { held: self.held.clone(), memory })?.into_any();
        // SAFETY: `len` bytes of the slot, aligned for every element type, in a mapping that `base` owns
        // and that this process may write.
        let array = unsafe { form.over(py, start, true, base)? };
        self.held.filled.add(&array)?;
        Ok(array)
    }

    /// Copies a value into an input: an array, a list of arrays that are joined along the first
    /// dimension, or a list of bytes or str. As for TritonModel.infer(), of one slot's samples at most.
    ///
    /// Raises KeyError for a name, TypeError for a dtype, ValueError for a shape that the model does not
    /// have; TritonError if the slot is gone, given back or being run.
    #[pyo3(signature = (name, value), text_signature = "($self, name, value)")]
    fn set(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let given = Given::one(self.held.model().spec(), name, value)?;
        self.held.with(py, |slot| {
            py.detach(|| slot.fill(&given.inputs()?)).map_err(|error| errors::infer(py, error))
        })
    }

    /// Forgets the inputs that were set.
    ///
    /// Raises TritonError if the slot is gone, given back or being run.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.held.with(py, |slot| {
            slot.clear();
            Ok(())
        })
    }

    /// Runs the model on the inputs, and returns a dict of read-only arrays over the outputs, without a
    /// copy. They show these outputs until the slot is run again or given back: copy() what has to stay.
    /// BYTES are arrays of bytes objects, and copies. Inputs stay set.
    ///
    /// Keywords are those of TritonModel.infer(). The wait releases the interpreter.
    ///
    /// Raises as TritonModel.infer() does. After TimeoutError and ConnectionResetError the slot is gone.
    #[pyo3(signature = (
        *, timeout = Patience::Usual, id = "", sequence_id = None, sequence_start = false,
        sequence_end = false, priority = 0, server_timeout = None, parameters = None, outputs = None,
        version = None
    ), text_signature = "($self, *, timeout=..., id='', sequence_id=None, sequence_start=False, \
sequence_end=False, priority=0, server_timeout=None, parameters=None, outputs=None, version=None)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        timeout: Patience,
        id: &str,
        sequence_id: Option<&Bound<'py, PyAny>>,
        sequence_start: bool,
        sequence_end: bool,
        priority: u32,
        server_timeout: Option<f64>,
        parameters: Option<&Bound<'py, PyMapping>>,
        outputs: Option<Vec<String>>,
        version: Option<&str>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keywords = Keywords {
            timeout,
            id,
            sequence_id,
            sequence_start,
            sequence_end,
            priority,
            server_timeout,
            parameters,
            outputs,
            version,
        };
        let interrupt = Interrupt::default();
        let mut errand = self.errand(py, interrupt.watch(keywords.options()?))?;
        let found = py.detach(|| errand.run());
        let arrays = errand.end(py, found);
        interrupt.check()?;
        arrays
    }

    /// As run(), awaited. Cancelling the task gives up the wait, and the slot is gone then.
    ///
    /// Raises as run() does, when awaited.
    #[pyo3(signature = (
        *, timeout = Patience::Usual, id = "", sequence_id = None, sequence_start = false,
        sequence_end = false, priority = 0, server_timeout = None, parameters = None, outputs = None,
        version = None
    ), text_signature = "($self, *, timeout=..., id='', sequence_id=None, sequence_start=False, \
sequence_end=False, priority=0, server_timeout=None, parameters=None, outputs=None, version=None)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn run_async<'py>(
        &self,
        py: Python<'py>,
        timeout: Patience,
        id: &str,
        sequence_id: Option<&Bound<'py, PyAny>>,
        sequence_start: bool,
        sequence_end: bool,
        priority: u32,
        server_timeout: Option<f64>,
        parameters: Option<&Bound<'py, PyMapping>>,
        outputs: Option<Vec<String>>,
        version: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let keywords = Keywords {
            timeout,
            id,
            sequence_id,
            sequence_start,
            sequence_end,
            priority,
            server_timeout,
            parameters,
            outputs,
            version,
        };
        let mut errand = self.errand(py, keywords.options()?)?;
        let job = async move {
            let found = errand.run_async().await;
            let answer: Answer = Box::new(move |py| Ok(errand.end(py, found)?.into_any().unbind()));
            answer
        };
        super::awaited(py, Call::new(job)?)
    }

    /// Gives the slot back, at once. Harmless if that has happened.
    ///
    /// Raises TritonError while it is being run.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(&*self.held.state.lock(), State::Gone | State::Closed) {
            return Ok(());
        }
        let slot = self.held.take(py)?;
        // Before anybody else gets it.
        self.held.filled.freeze(py);
        *self.held.state.lock() = State::Closed;
        py.detach(|| drop(slot));
        Ok(())
    }

    /// True once it was given back, or belongs to a request that was given up.
    #[getter]
    fn closed(&self) -> bool {
        matches!(&*self.held.state.lock(), State::Gone | State::Closed)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let _ = (exc_type, exc, tb);
        if self.held.born == fork_generation() {
            self.close(py)?;
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        let state = match &*self.held.state.lock() {
            State::Idle(_) => "lent",
            State::Running => "running",
            State::Gone => "gone",
            State::Closed => "given back",
        };
        format!("TritonSlot(model='{}', {state})", self.held.model().name())
    }
}

struct Address(*mut u8);

// SAFETY: an address; who builds an array over it vouches for what lies there.
unsafe impl Send for Address {}

/// A run of a slot: until it ends the slot is here.
struct Errand {
    held: Arc<Held>,
    slot: Option<InferSlot>,
    before: Option<SlotMemory>,
    frozen: Frozen,
    options: Options,
}

impl TritonSlot {
    fn errand(&self, py: Python<'_>, options: Options) -> PyResult<Errand> {
        let slot = self.held.take(py)?;
        let before = slot.memory();
        let frozen = self.held.filled.freeze(py);
        Ok(Errand { held: self.held.clone(), slot: Some(slot), before, frozen, options })
    }
}

impl Errand {
    fn run(&mut self) -> Result<Vec<Found>, InferError> {
        let slot = self.slot.as_mut().ok_or(InferError::SlotGone)?;
        Ok(Found::all(&slot.run(&self.options)?)?)
    }

    async fn run_async(&mut self) -> Result<Vec<Found>, InferError> {
        let slot = self.slot.as_mut().ok_or(InferError::SlotGone)?;
        Ok(Found::all(&slot.run_async(&self.options).await?)?)
    }

    /// Puts the slot back; the arrays over the outputs that were found in it.
    fn end<'py>(
        mut self,
        py: Python<'py>,
        found: Result<Vec<Found>, InferError>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let memory = self.slot.as_ref().and_then(InferSlot::memory);
        if let Some(slot) = self.slot.take() {
            let frozen = core::mem::take(&mut self.frozen);
            self.held.settle(py, slot, self.before.as_ref(), frozen);
        }
        let found = found.map_err(|error| errors::infer(py, error))?;
        let memory = memory.ok_or_else(|| errors::infer(py, InferError::SlotGone))?;
        self.held.views(py, memory, &found)
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        // Given up: the slot is the open request's, or nobody may fill it any more through this handle.
        if self.slot.is_some() {
            *self.held.state.lock() = State::Gone;
        }
    }
}
