//! Whether a response is one to the request, and where its outputs are.
//!
//! Upholds invariants 2 and 7: name, element type, shape and length of every output are checked against the
//! model and the slot before a byte of it is shown to anybody.

use crate::datatype::{DataType, elements};
use crate::error::OutputError;
use crate::items;
use crate::lent::Lent;
use crate::outputs::{Buffer, Data, OutputEntry};
use crate::spec::{ModelSpec, TensorSpec};
use crate::wire::{InferResponse, OutputMessage};
use bytes::Bytes;

/// The outputs of a response to a request for the outputs `wanted` of `samples` samples.
pub(crate) fn check(
    spec: &ModelSpec,
    lent: &Lent,
    wanted: &[usize],
    samples: usize,
    response: InferResponse,
) -> Result<Vec<OutputEntry>, OutputError> {
    let mut messages = response.outputs;
    let mut entries = Vec::with_capacity(wanted.len());
    for &index in wanted {
        let tensor = &spec.outputs[index];
        let at = messages.iter().position(|message| message.name == tensor.name);
        let at = at.ok_or_else(|| OutputError::Missing { name: tensor.name.clone() })?;
        let message = messages.swap_remove(at);
        entries.push(check_one(spec, lent, index, samples, message)?);
    }
    match messages.first() {
        Some(message) => Err(OutputError::Unknown {
            name: message.name.clone(),
            known: spec.outputs.iter().map(|tensor| tensor.name.clone()).collect(),
        }),
        None => Ok(entries),
    }
}

/// The outputs `wanted` of no samples at all.
pub(crate) fn nothing(spec: &ModelSpec, wanted: &[usize]) -> Vec<OutputEntry> {
    wanted
        .iter()
        .map(|&index| {
            let tensor = &spec.outputs[index];
            let mut shape = expected_shape(spec, tensor, 0);
            shape.iter_mut().for_each(|dim| *dim = (*dim).max(0));
            let data = Data::Owned(Buffer::default());
            OutputEntry { name: tensor.name.clone(), datatype: tensor.datatype, shape, data }
        })
        .collect()
}

/// The shape of an output of `samples` samples, -1 for any length.
pub(crate) fn expected_shape(spec: &ModelSpec, tensor: &TensorSpec, samples: usize) -> Vec<i64> {
    let batch = (spec.max_batch_size > 0).then_some(samples as i64);
    batch.into_iter().chain(tensor.dims.iter().copied()).collect()
}

fn check_one(
    spec: &ModelSpec,
    lent: &Lent,
    index: usize,
    samples: usize,
    message: OutputMessage,
) -> Result<OutputEntry, OutputError> {
    let tensor = &spec.outputs[index];
    let name = || tensor.name.clone();
    if message.datatype != tensor.datatype.name() {
        return Err(OutputError::datatype(&tensor.name, tensor.datatype, &message.datatype));
    }
    let expected = expected_shape(spec, tensor, samples);
    let fits = expected.len() == message.shape.len()
        && expected
            .iter()
            .zip(&message.shape)
            .all(|(&dim, &found)| found >= 0 && (dim < 0 || dim == found));
    if !fits {
        return Err(OutputError::Shape { name: name(), expected, found: message.shape });
    }
    let wrong = |expected, found| OutputError::Length {
        name: name(),
        shape: message.shape.clone(),
        expected,
        found,
    };
    let count = elements(&message.shape).ok_or_else(|| wrong(usize::MAX, 0))?;
    let data = match message.data {
        Some(bytes) => {
            let len = byte_len(tensor, count, &bytes)?;
            if len != bytes.len() {
                return Err(wrong(len, bytes.len()));
            }
            aligned(tensor.datatype, bytes)
        }
        None => {
            let capacity = lent.generation.layout.outputs[index].capacity;
            let len = match tensor.datatype.size() {
                Some(size) => count.checked_mul(size).ok_or_else(|| wrong(usize::MAX, capacity))?,
                None => byte_len(tensor, count, lent.output(index, capacity))?,
            };
            if len > capacity {
                return Err(wrong(len, capacity));
            }
            // Without shared memory nothing was written to the slot.
            if !lent.generation.region.is_shared() && len > 0 {
                return Err(OutputError::Missing { name: name() });
            }
            Data::Slot { index, len }
        }
    };
    Ok(OutputEntry { name: name(), datatype: tensor.datatype, shape: message.shape, data })
}

/// Bytes of `count` elements, which of BYTES are found by walking from item to item.
fn byte_len(tensor: &TensorSpec, count: usize, bytes: &[u8]) -> Result<usize, OutputError> {
    let too_many = |item| OutputError::Items {
        name: tensor.name.clone(),
        item,
        items: count,
        bytes: bytes.len(),
    };
    match tensor.datatype.size() {
        Some(size) => count.checked_mul(size).ok_or_else(|| too_many(0)),
        None => items::extent(bytes, count).map_err(too_many),
    }
}

/// Bytes of a message begin anywhere.
fn aligned(datatype: DataType, bytes: Bytes) -> Data {
    let size = datatype.size().unwrap_or(1);
    match (bytes.as_ptr() as usize).is_multiple_of(size) {
        true => Data::Message(bytes),
        false => Data::Owned(Buffer::of(&bytes)),
    }
}
