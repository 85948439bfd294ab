//! A registered model, and running it.
//!
//! Upholds invariants 5 and 8: chunks run over as many slots as are free, and in order where they must.

use crate::chunks::{Assembly, Cut, of_chunk};
use crate::error::{CloseError, InferError};
use crate::inputs::Inputs;
use crate::lent::Lent;
use crate::options::Options;
use crate::outputs::Outputs;
use crate::registration::Registration;
use crate::run::{Errand, Mode, now, run};
use crate::slot::InferSlot;
use crate::spec::ModelSpec;
use parking_lot::Mutex;
use shm_core::Deadline;
use shm_pool::Wait;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

/// A registered model. Clones are the same registration, and may be used from any thread.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) registration: Arc<Registration>,
}

/// One chunk of an inference of many samples.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// Which chunk, from 0. Chunks end in any order.
    pub index: usize,
    /// How many there are.
    pub of: usize,
    /// Its first sample.
    pub first: usize,
    /// How many samples it has.
    pub samples: usize,
    /// Its outputs, in the slot.
    pub outputs: &'a Outputs<'a>,
}

impl Model {
    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.registration.spec.name
    }

    /// What it takes and gives.
    pub fn spec(&self) -> &ModelSpec {
        &self.registration.spec
    }

    /// How many requests can be in flight at once.
    pub fn slots(&self) -> usize {
        self.registration.slots
    }

    /// Samples of one request at most; more are cut into chunks.
    pub fn batch(&self) -> usize {
        self.registration.batch
    }

    /// Lends a slot, to be filled in place.
    ///
    /// # Errors
    /// [`InferError::NoSlot`] if none came free in time; see [`InferError`].
    pub fn slot(&self, wait: impl Into<Wait>) -> Result<InferSlot, InferError> {
        let deadline = match wait.into() {
            Wait::Try => Deadline::NOW,
            Wait::Until(deadline) => deadline,
        };
        let lent = self.registration.lend(deadline, &mut || false)?;
        Ok(InferSlot::new(self.registration.clone(), lent))
    }

    /// As [`Model::slot`], on any executor, until the deadline of `options`.
    ///
    /// # Errors
    /// As for [`Model::slot`].
    pub async fn slot_async(&self, options: &Options) -> Result<InferSlot, InferError> {
        let lent = self.registration.lend_async(self.deadline(options)).await?;
        Ok(InferSlot::new(self.registration.clone(), lent))
    }

    /// Runs the model on copies of `inputs` and copies its outputs. More samples than
    /// [`Model::batch`] are cut into chunks, which run over the free slots at once.
    ///
    /// # Errors
    /// [`InferError`]; of several chunks the first that failed, as [`InferError::Chunk`].
    pub fn infer(
        &self,
        inputs: &Inputs<'_>,
        options: &Options,
    ) -> Result<Outputs<'static>, InferError> {
        self.infer_into(inputs, options, Outputs::default())
    }

    /// As [`Model::infer`], reusing the memory of earlier outputs: fresh memory for large ones costs as
    /// much as copying them.
    ///
    /// # Errors
    /// As for [`Model::infer`].
    pub fn infer_into(
        &self,
        inputs: &Inputs<'_>,
        options: &Options,
        earlier: Outputs<'static>,
    ) -> Result<Outputs<'static>, InferError> {
        let cut = Cut::new(&self.registration, inputs)?;
        let mut assembly = Assembly::new(&self.registration, cut, earlier);
        self.each(cut, inputs, options, |chunk| {
            assembly.add(chunk.index, chunk.outputs).map_err(InferError::from)
        })?;
        Ok(assembly.finish())
    }

    /// As [`Model::infer`], handing each chunk's outputs to `visit` where they lie, as soon as they are
    /// there: for progress, and for results that need not be together. An error of `visit` ends the rest,
    /// and it is not called again.
    ///
    /// # Errors
    /// As for [`Model::infer`], and those of `visit`.
    pub fn infer_each<E: From<InferError> + Send>(
        &self,
        inputs: &Inputs<'_>,
        options: &Options,
        visit: impl FnMut(Chunk<'_>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let cut = Cut::new(&self.registration, inputs).map_err(InferError::from)?;
        self.each(cut, inputs, options, visit)
    }

    /// As [`Model::infer`], without blocking, on any executor. Inputs are copied when the future runs.
    ///
    /// # Errors
    /// As for [`Model::infer`].
    pub async fn infer_async(
        &self,
        inputs: &Inputs<'_>,
        options: &Options,
    ) -> Result<Outputs<'static>, InferError> {
        let cut = Cut::new(&self.registration, inputs)?;
        let assembly = Mutex::new(Assembly::new(&self.registration, cut, Outputs::default()));
        let deadline = self.deadline(options);
        let (count, atonce) = (cut.count(), self.at_once(cut, options));
        let one = |index| {
            let assembly = &assembly;
            async move {
                let ended = async {
                    self.make_room(cut, index, inputs);
                    let lent = self.registration.lend_async(deadline).await?;
                    let mut held = Some(self.fill(lent, cut, index, inputs, deadline)?);
                    let errand =
                        Errand { options, chunk: (index, count), deadline, mode: Mode::Async };
                    let (entries, about) = run(&self.registration, &mut held, &errand).await?;
                    let outputs = Outputs { entries, lent: held.as_ref(), about };
                    Ok(assembly.lock().add(index, &outputs)?)
                };
                ended.await.map_err(|error| of_chunk(cut, index, error))
            }
        };
        let mut next = atonce;
        let mut running: Vec<Pin<Box<_>>> = (0..atonce).map(|index| Box::pin(one(index))).collect();
        poll_fn(|context| {
            let mut at = 0;
            while at < running.len() {
                match running[at].as_mut().poll(context) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) if next < count => {
                        running[at] = Box::pin(one(next));
                        next += 1;
                    }
                    Poll::Ready(Ok(())) => drop(running.swap_remove(at)),
                }
            }
            if running.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await?;
        drop(running);
        Ok(assembly.into_inner().finish())
    }

    /// Makes room for `bytes` bytes of an input or output in every slot that is lent from now on.
    ///
    /// # Errors
    /// [`InferError::Input`] if the model has no such tensor.
    pub fn reserve(&self, name: &str, bytes: usize) -> Result<(), InferError> {
        let spec = &self.registration.spec;
        let find = |tensors: &[crate::TensorSpec]| tensors.iter().position(|t| t.name == name);
        let (output, index) = match (find(&spec.inputs), find(&spec.outputs)) {
            (Some(index), _) => (false, index),
            (None, Some(index)) => (true, index),
            (None, None) => {
                let known =
                    spec.inputs.iter().chain(&spec.outputs).map(|t| t.name.clone()).collect();
                return Err(crate::InputError::Unknown { name: name.to_owned(), known }.into());
            }
        };
        self.registration.reserve(output, index, bytes);
        Ok(())
    }

    /// True if the server says that the model can run.
    ///
    /// # Errors
    /// [`CallError`](crate::CallError).
    pub fn is_ready(&self) -> Result<bool, crate::CallError> {
        self.registration.ask_ready(self.registration.hub.usual_deadline())
    }

    /// Ends the registration: no more slots are lent. Waits until `deadline` for those that are, and has
    /// the server let go of the memory.
    ///
    /// # Errors
    /// [`CloseError`]: what is still lent stays valid, and everything is given back when it ends.
    pub fn unregister(&self, deadline: impl Into<Deadline>) -> Result<(), CloseError> {
        let deadline = deadline.into();
        if !self.registration.hub.is_ours() {
            return Err(CloseError::Closed);
        }
        let Some(generation) = self.registration.close() else { return Err(CloseError::Closed) };
        let region = generation.region.name.clone();
        let shared = generation.region.is_shared();
        let gone = generation.gone.clone();
        let in_use = generation.in_use();
        drop(generation);
        // Whoever drops the last slot drops the generation.
        self.registration.hub.wait_until(deadline, |_| gone.load(Ordering::Acquire));
        if !gone.load(Ordering::Acquire) {
            return Err(CloseError::InUse { slots: in_use.max(1) });
        }
        match shared && !self.registration.hub.debts.wait_for(&region, deadline) {
            true => Err(CloseError::Registered { regions: vec![region] }),
            false => Ok(()),
        }
    }

    fn deadline(&self, options: &Options) -> Deadline {
        options.deadline.unwrap_or_else(|| self.registration.hub.usual_deadline())
    }

    /// How many chunks run at once: those of a sequence one after the other.
    fn at_once(&self, cut: Cut, options: &Options) -> usize {
        let ordered = options.sequence.is_some() || self.registration.spec.sequence;
        if ordered { 1 } else { self.registration.slots.min(cut.count()) }
    }

    fn each<E: From<InferError> + Send>(
        &self,
        cut: Cut,
        inputs: &Inputs<'_>,
        options: &Options,
        visit: impl FnMut(Chunk<'_>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let (count, deadline) = (cut.count(), self.deadline(options));
        // None once it has failed: it is not asked again then.
        let visit = Mutex::new(Some(visit));
        let one = |index| -> Result<(), E> {
            let (first, samples) = cut.chunk(index);
            let said = |error| E::from(of_chunk(cut, index, error));
            let mut held =
                self.filled(cut, index, inputs, options, deadline).map(Some).map_err(said)?;
            let errand = Errand { options, chunk: (index, count), deadline, mode: Mode::Blocking };
            let (entries, about) =
                now(run(&self.registration, &mut held, &errand)).map_err(said)?;
            let outputs = Outputs { entries, lent: held.as_ref(), about };
            let mut asked = visit.lock();
            let Some(visit) = asked.as_mut() else { return Ok(()) };
            let told = visit(Chunk { index, of: count, first, samples, outputs: &outputs });
            if told.is_err() {
                *asked = None;
            }
            told
        };
        let at_once = self.at_once(cut, options);
        if at_once == 1 {
            return (0..count).try_for_each(one);
        }
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while failed.lock().is_none() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                if let Err(error) = one(index) {
                    failed.lock().get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..at_once {
                // Fewer threads do the same work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    /// A slot with the inputs of a chunk.
    fn filled(
        &self,
        cut: Cut,
        index: usize,
        inputs: &Inputs<'_>,
        options: &Options,
        deadline: Deadline,
    ) -> Result<Lent, InferError> {
        self.make_room(cut, index, inputs);
        let mut interrupt = || options.interrupt.as_ref().is_some_and(|interrupt| interrupt());
        let lent = self.registration.lend(deadline, &mut interrupt)?;
        self.fill(lent, cut, index, inputs, deadline)
    }

    fn fill(
        &self,
        mut lent: Lent,
        cut: Cut,
        index: usize,
        inputs: &Inputs<'_>,
        deadline: Deadline,
    ) -> Result<Lent, InferError> {
        let (first, samples) = cut.chunk(index);
        for entry in &inputs.entries {
            let bytes = entry.byte_len(first, samples, cut.samples);
            let mut shape = entry.shape.clone();
            if let (true, Some(batch)) =
                (self.registration.spec.max_batch_size > 0, shape.first_mut())
            {
                *batch = samples as i64;
            }
            let at = self.registration.give(
                &mut lent,
                &entry.name,
                entry.datatype,
                &shape,
                bytes,
                deadline,
            )?;
            entry.copy_to(first, samples, cut.samples, lent.input_mut(at, bytes));
        }
        Ok(lent)
    }

    /// Has slots be large enough before one is taken.
    fn make_room(&self, cut: Cut, index: usize, inputs: &Inputs<'_>) {
        let (first, samples) = cut.chunk(index);
        let spec = &self.registration.spec;
        for (at, tensor) in spec.inputs.iter().enumerate().filter(|(_, tensor)| tensor.is_dynamic())
        {
            if let Some(entry) = inputs.entries.iter().find(|entry| entry.name == tensor.name) {
                self.registration.reserve(false, at, entry.byte_len(first, samples, cut.samples));
            }
        }
    }
}
