//! The class `TritonModel`: arrays in, arrays out.

use crate::triton::call::{Answer, Call, aside_of_interpreter};
use crate::triton::gather::{Failed, Gather};
use crate::triton::inputs::Given;
use crate::triton::interrupt::Interrupt;
use crate::triton::keywords::{Keywords, Patience};
use crate::triton::output::{self, Found};
use crate::triton::shelves::Shelves;
use crate::triton::slot::TritonSlot;
use crate::triton::{aside, awaited, errors, specs};
use crate::wait;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use shm_core::Deadline;
use shm_triton::{InferError, Model, Options};
use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

/// A model that a TritonClient has registered. Any thread may use it, and as many requests run at once
/// as it has slots.
#[pyclass(frozen, weakref, module = "shm_py")]
pub(crate) struct TritonModel {
    /// There until it is dropped.
    model: Option<Model>,
    shelves: Arc<Shelves>,
    usual: Option<Duration>,
}

impl TritonModel {
    /// `usual` is the client's timeout.
    pub(crate) fn new(model: Model, usual: Option<Duration>) -> TritonModel {
        TritonModel { model: Some(model), shelves: Arc::default(), usual }
    }

    fn model(&self) -> &Model {
        self.model.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for TritonModel {
    fn drop(&mut self) {
        aside_of_interpreter(self.model.take());
    }
}

#[pymethods]
impl TritonModel {
    /// Runs the model on arrays, and returns a dict of arrays of their own.
    ///
    /// inputs: a dict of names to values. A value is an array with the batch dimension where the model
    /// has one; a list of arrays, with or without the batch dimension, which are joined along the first
    /// dimension on their way into shared memory; or for BYTES an array or (nested) list of bytes or str,
    /// where one flat list has one item for each sample. Dtypes must be the model's: nothing is cast.
    /// BF16 is the dtype of ml_dtypes, or uint16 without that package. Arrays must not be changed before
    /// the call returns. More samples than `batch` are cut into requests that run at once.
    ///
    /// timeout: seconds for a free slot and the answer together (None for ever; the client's unless
    /// told). id: of the request. sequence_id (a number from 1 on, or a text), sequence_start and
    /// sequence_end: for models that keep state. priority: in the server's queue, 1 is the highest.
    /// server_timeout: seconds that it may wait there. parameters: of the request, by name (bool, int,
    /// float or str). outputs: names of those that are wanted; all unless told. version: of the model.
    ///
    /// The wait releases the interpreter. Large outputs use memory again that earlier ones had.
    ///
    /// Raises TimeoutError if there was no slot or no answer in time: the request stays open on the
    /// server. ConnectionRefusedError if nothing was sent, ConnectionResetError if the answer was lost;
    /// TritonError, with `code` and `message`, for the server's and the model's own errors, and for
    /// outputs that are not what the model declares; KeyError for a name, TypeError for a dtype,
    /// ValueError for a shape or a missing input.
    #[pyo3(signature = (
        inputs, *, timeout = Patience::Usual, id = "", sequence_id = None, sequence_start = false,
        sequence_end = false, priority = 0, server_timeout = None, parameters = None, outputs = None,
        version = None
    ), text_signature = "($self, inputs, *, timeout=..., id='', sequence_id=None, \
sequence_start=False, sequence_end=False, priority=0, server_timeout=None, parameters=None, \
outputs=None, version=None)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn infer<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
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
        let options = interrupt.watch(keywords.options()?);
        let model = self.model();
        let given = Given::read(model.spec(), inputs)?;
        let mut gather = Gather::new(model.spec(), &self.shelves, given.samples(model.spec()));
        let done = py.detach(|| -> Result<(), Failed> {
            let inputs = given.inputs().map_err(InferError::from)?;
            model.infer_each(&inputs, &options, |chunk| gather.add(&chunk))
        });
        interrupt.check()?;
        match done {
            Ok(()) => gather.finish(py),
            Err(Failed::Infer(error)) => Err(errors::infer(py, error)),
            Err(Failed::Python(error)) => Err(error),
        }
    }

    /// As infer(), awaited; no thread waits. Arrays must not be changed before it is over. Cancelling
    /// the task gives up the wait: the request stays open on the server.
    ///
    /// Raises as infer() does, when awaited.
    #[pyo3(signature = (
        inputs, *, timeout = Patience::Usual, id = "", sequence_id = None, sequence_start = false,
        sequence_end = false, priority = 0, server_timeout = None, parameters = None, outputs = None,
        version = None
    ), text_signature = "($self, inputs, *, timeout=..., id='', sequence_id=None, \
sequence_start=False, sequence_end=False, priority=0, server_timeout=None, parameters=None, \
outputs=None, version=None)")]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn infer_async<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
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
        let options = keywords.options()?.until(timeout.deadline(self.usual));
        let (model, shelves) = (self.model().clone(), self.shelves.clone());
        let given = Given::read(model.spec(), inputs)?;
        let job = async move {
            let done = match given.fits_one_slot(&model) {
                true => in_one_slot(&model, &given, &options).await,
                false => in_chunks(&model, &given, &options).await,
            };
            let answer: Answer = Box::new(move |py| {
                let (keeper, outputs) = done.map_err(|error| errors::infer(py, error))?;
                // SAFETY: what is kept this keeps, which is dropped below.
                let arrays = unsafe { output::copies(py, model.spec(), &shelves, &outputs) };
                // Perhaps the last of its client.
                py.detach(|| drop((keeper, model)));
                Ok(arrays?.into_any().unbind())
            });
            answer
        };
        awaited(py, Call::new(job)?)
    }

    /// Lends a slot, waiting for a free one until `timeout` (seconds, None for ever; the client's unless
    /// told): a TritonSlot, to fill and read in place. The wait releases the interpreter.
    ///
    /// Raises TimeoutError if none came free in time; ConnectionRefusedError if the server cannot be
    /// reached to map new memory; TritonError after unregister() and close().
    #[pyo3(signature = (timeout = Patience::Usual), text_signature = "($self, timeout=...)")]
    fn slot(&self, py: Python<'_>, timeout: Patience) -> PyResult<TritonSlot> {
        let model = self.model();
        let options = Options::new().until(timeout.deadline(self.usual));
        let slot = block_on(py, model.slot_async(&options))?;
        let slot = slot.map_err(|error| errors::infer(py, error))?;
        Ok(TritonSlot::new(model.clone(), slot))
    }

    /// As slot(), awaited.
    ///
    /// Raises as slot() does, when awaited.
    #[pyo3(signature = (timeout = Patience::Usual), text_signature = "($self, timeout=...)")]
    fn slot_async<'py>(&self, py: Python<'py>, timeout: Patience) -> PyResult<Bound<'py, PyAny>> {
        let model = self.model().clone();
        let options = Options::new().until(timeout.deadline(self.usual));
        let job = async move {
            let slot = model.slot_async(&options).await;
            let answer: Answer = Box::new(move |py| {
                let slot = slot.map_err(|error| errors::infer(py, error))?;
                Ok(Py::new(py, TritonSlot::new(model, slot))?.into_any())
            });
            answer
        };
        awaited(py, Call::new(job)?)
    }

    /// Makes room for `nbytes` bytes of an input or output in every slot that is lent from now on, so
    /// that none has to grow.
    ///
    /// Raises KeyError if the model has no such tensor.
    #[pyo3(signature = (name, nbytes), text_signature = "($self, name, nbytes)")]
    fn reserve(&self, py: Python<'_>, name: &str, nbytes: usize) -> PyResult<()> {
        let model = self.model();
        py.detach(|| model.reserve(name, nbytes)).map_err(|error| errors::infer(py, error))
    }

    /// Ends the registration: no more slots are lent. Waits until `timeout` (seconds, None for ever) for
    /// those that are, and has the server let go of the memory. Harmless if that has happened. Arrays
    /// that were handed out stay valid.
    ///
    /// Raises TimeoutError if slots are still lent or requests open; what is open is given back when it
    /// ends. TritonError if the server cannot be told.
    #[pyo3(signature = (timeout = Some(2.0)), text_signature = "($self, timeout=2.0)")]
    fn unregister(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = wait::deadline(timeout)?;
        let model = self.model().clone();
        let ended = aside::run(py, move || model.unregister(deadline))?;
        ended.or_else(|error| errors::close(py, error))
    }

    /// True if the server says that the model can run.
    ///
    /// Raises TimeoutError, ConnectionError and TritonError.
    fn is_ready(&self, py: Python<'_>) -> PyResult<bool> {
        let model = self.model().clone();
        let ready = aside::run(py, move || model.is_ready())?;
        ready.map_err(|error| errors::call(py, &error))
    }

    /// Its name on the server.
    #[getter]
    fn name(&self) -> &str {
        self.model().name()
    }

    /// The version that was registered; empty for whichever the server prefers.
    #[getter]
    fn version(&self) -> &str {
        &self.model().spec().version
    }

    /// What it takes: a dict of names to TritonTensor.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        specs::to_python(py, &self.model().spec().inputs)
    }

    /// What it gives: a dict of names to TritonTensor.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        specs::to_python(py, &self.model().spec().outputs)
    }

    /// Most samples of one request; 0 if tensors have no batch dimension.
    #[getter]
    fn max_batch_size(&self) -> usize {
        self.model().spec().max_batch_size
    }

    /// How many requests can be in flight at once.
    #[getter]
    fn slots(&self) -> usize {
        self.model().slots()
    }

    /// Samples of one slot; more are cut into several requests.
    #[getter]
    fn batch(&self) -> usize {
        self.model().batch()
    }

    fn __repr__(&self) -> String {
        let model = self.model();
        format!(
            "TritonModel(name='{}', slots={}, batch={})",
            model.name(),
            model.slots(),
            model.batch()
        )
    }
}

/// What was found, and what keeps it.
type Done = Result<(Box<dyn Any + Send>, Vec<Found>), InferError>;

/// One request, whose outputs are copied once: out of its slot.
async fn in_one_slot(model: &Model, given: &Given, options: &Options) -> Done {
    let mut slot = model.slot_async(options).await?;
    slot.fill(&given.inputs()?)?;
    let outputs = Found::all(&slot.run_async(options).await?)?;
    Ok((Box::new(slot), outputs))
}

/// As many requests as it takes.
async fn in_chunks(model: &Model, given: &Given, options: &Options) -> Done {
    let inputs = given.inputs()?;
    let outputs = model.infer_async(&inputs, options).await?;
    let found = Found::all_owned(&outputs)?;
    Ok((Box::new(outputs), found))
}

/// Waits for a future, and for signals.
fn block_on<T: Send>(py: Python<'_>, job: impl Future<Output = T> + Send) -> PyResult<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Unpark>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut job = Box::pin(job);
    loop {
        let polled = py.detach(|| {
            let mut context = Context::from_waker(&waker);
            let polled = job.as_mut().poll(&mut context);
            if polled.is_pending() {
                std::thread::park_timeout(wait::slice(Deadline::NEVER));
            }
            polled
        });
        match polled {
            Poll::Ready(value) => {
                py.detach(|| drop(job));
                return Ok(value);
            }
            Poll::Pending => {
                if let Err(error) = py.check_signals() {
                    py.detach(|| drop(job));
                    return Err(error);
                }
            }
        }
    }
}
