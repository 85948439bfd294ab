//! A slot in the user's hands: filled in place, run, read in place, as often as one likes.
//!
//! Upholds invariants 6 (everything borrowed lives in the slot, which owns its mapping) and 7.

use crate::datatype::DataType;
use crate::error::{InferError, InputError};
use crate::inputs::datatype_of;
use crate::lent::Lent;
use crate::memory::SlotMemory;
use crate::options::Options;
use crate::outputs::Outputs;
use crate::registration::Registration;
use crate::run::{Errand, Mode, now, run};
use shm_core::Element;
use std::sync::Arc;

/// A slot of a model's shared memory: inputs are written where the server reads them, outputs are read
/// where it wrote them.
///
/// ```no_run
/// use shm_triton::{ModelConfig, Options, TritonClient};
/// use std::time::Duration;
///
/// let client = TritonClient::connect("localhost:8000")?;
/// let model = client.register_model(ModelConfig::new("identity"))?;
/// let mut slot = model.slot(Duration::from_secs(1))?;
/// for frame in 0..100 {
///     slot.input::<f32>("INPUT0", &[1, 16])?.fill(frame as f32);
///     let outputs = slot.run(&Options::new().within(Duration::from_millis(100)))?;
///     assert_eq!(outputs.get::<f32>("OUTPUT0")?, [frame as f32; 16]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// After [`InferError::Timeout`] and [`InferError::Lost`] the slot is gone: its memory belongs to the request
/// that is still open, and every further use is [`InferError::SlotGone`].
#[derive(Debug)]
pub struct InferSlot {
    registration: Arc<Registration>,
    lent: Option<Lent>,
}

impl InferSlot {
    pub(crate) fn new(registration: Arc<Registration>, lent: Lent) -> InferSlot {
        InferSlot { registration, lent: Some(lent) }
    }

    /// The elements of an input, to be filled in place; they begin with whatever an earlier request has
    /// left. `shape` has the batch dimension where the model has one.
    ///
    /// A tensor that the slot has no room for (of a dimension that is only known now) moves to a larger
    /// slot, with the inputs that were set before.
    ///
    /// # Errors
    /// [`InferError::Input`]; [`InferError::SlotGone`].
    pub fn input<T: Element>(&mut self, name: &str, shape: &[i64]) -> Result<&mut [T], InferError> {
        let datatype = datatype_of::<T>(name)?;
        Ok(bytemuck::cast_slice_mut(self.input_raw(name, datatype, shape)?))
    }

    /// The bytes of an input, to be filled in place, of any element type but BYTES.
    ///
    /// # Errors
    /// As for [`InferSlot::input`].
    pub fn input_bytes(&mut self, name: &str, shape: &[i64]) -> Result<&mut [u8], InferError> {
        let tensor = self.registration.spec.inputs.iter().find(|tensor| tensor.name == name);
        let datatype = tensor.map_or(DataType::Uint8, |tensor| tensor.datatype);
        if datatype == DataType::Bytes {
            return Err(InputError::DataType {
                name: name.to_owned(),
                expected: "items, see `set_items`".to_owned(),
                found: "bytes of one length".to_owned(),
            }
            .into());
        }
        self.input_raw(name, datatype, shape)
    }

    /// Copies `data` into an input.
    ///
    /// # Errors
    /// As for [`InferSlot::input`]; [`InputError::Length`].
    pub fn set<T: Element>(
        &mut self,
        name: &str,
        shape: &[i64],
        data: &[T],
    ) -> Result<(), InferError> {
        let one = crate::Inputs::new().tensor(name, shape, data)?;
        self.fill(&one)
    }

    /// Copies `items` into a BYTES input.
    ///
    /// # Errors
    /// As for [`InferSlot::set`].
    pub fn set_items<I: AsRef<[u8]>>(
        &mut self,
        name: &str,
        shape: &[i64],
        items: &[I],
    ) -> Result<(), InferError> {
        let one = crate::Inputs::new().items(name, shape, items)?;
        self.fill(&one)
    }

    /// Copies inputs into the slot.
    ///
    /// # Errors
    /// As for [`InferSlot::set`].
    pub fn fill(&mut self, inputs: &crate::Inputs<'_>) -> Result<(), InferError> {
        let deadline = self.registration.hub.usual_deadline();
        let lent = self.lent.as_mut().ok_or(InferError::SlotGone)?;
        for entry in &inputs.entries {
            let bytes = entry.byte_len(0, 1, 1);
            let index = self.registration.give(
                lent,
                &entry.name,
                entry.datatype,
                &entry.shape,
                bytes,
                deadline,
            )?;
            entry.copy_to(0, 1, 1, lent.input_mut(index, bytes));
        }
        Ok(())
    }

    /// Runs the model on the inputs, and lends its outputs. The inputs stay as they are: the slot can be
    /// run again, with or without changing some.
    ///
    /// # Errors
    /// [`InferError`].
    pub fn run(&mut self, options: &Options) -> Result<Outputs<'_>, InferError> {
        let errand = self.errand(options, Mode::Blocking);
        let (entries, about) = now(run(&self.registration, &mut self.lent, &errand))?;
        Ok(Outputs { entries, lent: self.lent.as_ref(), about })
    }

    /// As [`InferSlot::run`], without blocking, on any executor. Dropping the future gives up the wait;
    /// the slot is gone then, until the server answers.
    ///
    /// # Errors
    /// [`InferError`].
    pub async fn run_async(&mut self, options: &Options) -> Result<Outputs<'_>, InferError> {
        let errand = self.errand(options, Mode::Async);
        let (entries, about) = run(&self.registration, &mut self.lent, &errand).await?;
        Ok(Outputs { entries, lent: self.lent.as_ref(), about })
    }

    /// Forgets the inputs that were set.
    pub fn clear(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.given.fill(None);
        }
    }

    /// True once the slot belongs to a request that was given up.
    pub fn is_gone(&self) -> bool {
        self.lent.is_none()
    }

    /// Keeps the slot's memory mapped for longer than the slot; `None` once it is gone.
    pub fn memory(&self) -> Option<SlotMemory> {
        self.lent.as_ref().map(|lent| lent.generation.region.memory())
    }

    fn input_raw(
        &mut self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
    ) -> Result<&mut [u8], InferError> {
        let deadline = self.registration.hub.usual_deadline();
        let lent = self.lent.as_mut().ok_or(InferError::SlotGone)?;
        let negative = || InputError::Shape {
            name: name.to_owned(),
            expected: shape.iter().map(|&dim| dim.max(0)).collect(),
            found: shape.to_vec(),
        };
        let bytes = match datatype.byte_len(shape) {
            Some(bytes) => bytes,
            // What is wrong with the shape or the type is said first.
            None => {
                self.registration.find(name, datatype, shape)?;
                return Err(negative().into());
            }
        };
        let index = self.registration.give(lent, name, datatype, shape, bytes, deadline)?;
        Ok(lent.input_mut(index, bytes))
    }

    fn errand<'o>(&self, options: &'o Options, mode: Mode) -> Errand<'o> {
        let deadline = options.deadline.unwrap_or_else(|| self.registration.hub.usual_deadline());
        Errand { options, chunk: (0, 1), deadline, mode }
    }
}
