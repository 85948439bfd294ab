//! One slot that is lent: its inputs as far as they were given, and where its tensors lie.
//!
//! Upholds invariants 2 (what a response says is checked against the slot) and 6.

use crate::error::InputError;
use crate::generation::Generation;
use crate::layout::Place;
use crate::region::Lengthwise;
use crate::spec::ModelSpec;
use crate::transport::Prepared;
use crate::wire::{InputMessage, Payload, SharedBytes, WantedMessage};
use bytes::Bytes;
use shm_pool::Slot;
use std::sync::Arc;

/// One slot that is lent.
#[derive(Debug)]
pub(crate) struct Lent {
    /// Always there, but for the moment in which it is given back.
    slot: Option<Slot<Lengthwise>>,
    pub generation: Arc<Generation>,
    /// By the order of the specification.
    pub given: Vec<Option<Given>>,
    base: usize,
    /// The last request with this slot, as long as nothing about it changes.
    pub memo: Option<Memo>,
}

/// A request that can be sent again as it is: the same shapes, in the same slot.
#[derive(Clone, Debug)]
pub(crate) struct Memo {
    given: Vec<Option<Given>>,
    pub request: Arc<Prepared>,
}

/// An input that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub shape: Vec<i64>,
    pub bytes: usize,
}

impl Lent {
    pub(crate) fn new(slot: Slot<Lengthwise>, generation: Arc<Generation>) -> Lent {
        let given = vec![None; generation.layout.inputs.len()];
        let base = slot.offset();
        let memo = generation.memo(slot.index());
        Lent { slot: Some(slot), generation, given, base, memo }
    }

    /// The last request, if it had the same shapes.
    pub(crate) fn remembered(&self) -> Option<Arc<Prepared>> {
        let memo = self.memo.as_ref().filter(|memo| memo.given == self.given)?;
        Some(memo.request.clone())
    }

    pub(crate) fn remember(&mut self, request: Arc<Prepared>) {
        self.memo = Some(Memo { given: self.given.clone(), request });
    }

    /// The bytes of a place in the slot.
    fn at(&self, place: Place, len: usize) -> *mut u8 {
        assert!(len <= place.capacity, "{len} bytes in a place of {}", place.capacity);
        self.generation.region.payload(self.base + place.offset, len)
    }

    /// `len` bytes of an input, to be filled.
    pub(crate) fn input_mut(&mut self, index: usize, len: usize) -> &mut [u8] {
        let at = self.at(self.generation.layout.inputs[index], len);
        // SAFETY: `at` has `len` bytes, which live as long as the region, which `self` owns. The slot is
        // lent to this value alone and borrowed exclusively; the server touches it only while one of
        // this value's requests is open, and then this value belongs to whoever waits for its end.
        unsafe { core::slice::from_raw_parts_mut(at, len) }
    }

    /// `len` bytes of an input.
    pub(crate) fn input(&self, index: usize, len: usize) -> &[u8] {
        let at = self.at(self.generation.layout.inputs[index], len);
        // SAFETY: as for `input_mut`; while `self` is borrowed nobody fills it.
        unsafe { core::slice::from_raw_parts(at, len) }
    }

    /// The first `len` bytes of an output, of a request that has ended.
    pub(crate) fn output(&self, index: usize, len: usize) -> &[u8] {
        let at = self.at(self.generation.layout.outputs[index], len);
        // SAFETY: as for `input`: the server has answered, and with that is done with the slot.
        unsafe { core::slice::from_raw_parts(at, len) }
    }

    /// Copies the inputs that were given to another slot of the same model.
    pub(crate) fn copy_inputs_to(&self, other: &mut Lent) {
        for (index, given) in self.given.iter().enumerate() {
            let Some(given) = given else { continue };
            other.input_mut(index, given.bytes).copy_from_slice(self.input(index, given.bytes));
            other.given[index] = Some(given.clone());
        }
    }

    /// Number of samples, by the first dimension of every input.
    pub(crate) fn samples(&self, spec: &ModelSpec) -> Result<usize, InputError> {
        let mut samples: Option<i64> = None;
        for (tensor, given) in spec.inputs.iter().zip(&self.given) {
            let Some(given) = given else {
                if tensor.optional {
                    continue;
                }
                return Err(InputError::Missing { name: tensor.name.clone() });
            };
            if spec.max_batch_size == 0 {
                continue;
            }
            let found = given.shape[0];
            match samples {
                Some(expected) if expected != found => {
                    let (name, expected) = (tensor.name.clone(), expected.to_string());
                    return Err(InputError::Batch { name, expected, found });
                }
                _ => samples = Some(found),
            }
        }
        Ok(samples.map_or(1, |samples| samples as usize))
    }

    /// The inputs as the request says them.
    pub(crate) fn input_messages(&self, spec: &ModelSpec) -> Vec<InputMessage> {
        let shared = self.generation.region.is_shared();
        spec.inputs
            .iter()
            .zip(&self.given)
            .enumerate()
            .filter_map(|(index, (tensor, given))| {
                let given = given.as_ref()?;
                // A server takes no empty tensor in shared memory.
                let payload = match shared && given.bytes > 0 {
                    true => Payload::Shared(
                        self.shared(self.generation.layout.inputs[index], given.bytes),
                    ),
                    false => {
                        Payload::Inline(Bytes::copy_from_slice(self.input(index, given.bytes)))
                    }
                };
                Some(InputMessage {
                    name: tensor.name.clone(),
                    datatype: tensor.datatype.name().to_owned(),
                    shape: given.shape.clone(),
                    payload,
                    parameters: Default::default(),
                })
            })
            .collect()
    }

    /// An output as the request asks for it: `exact` bytes if that is known beforehand.
    pub(crate) fn wanted_message(
        &self,
        spec: &ModelSpec,
        index: usize,
        exact: Option<usize>,
    ) -> WantedMessage {
        let place = self.generation.layout.outputs[index];
        let bytes = exact.unwrap_or(place.capacity);
        let shared = self.generation.region.is_shared() && bytes > 0;
        WantedMessage {
            name: spec.outputs[index].name.clone(),
            shared: shared.then(|| self.shared(place, bytes)),
            parameters: Default::default(),
        }
    }

    fn shared(&self, place: Place, bytes: usize) -> SharedBytes {
        let region = &self.generation.region;
        SharedBytes {
            region: region.name.clone(),
            offset: (region.payload_offset() + self.base + place.offset) as u64,
            byte_size: bytes as u64,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot {
            self.generation.keep_memo(slot.index(), self.memo.take());
        }
        drop(self.slot.take());
        self.generation.wake();
    }
}
