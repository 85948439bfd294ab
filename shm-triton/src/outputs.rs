//! The outputs of one inference: in the slot they were written to, or owned.
//!
//! Upholds invariants 2 and 7: nothing is handed out that was not checked against the response.

use crate::copying::copy;
use crate::datatype::{DataType, elements};
use crate::error::OutputError;
use crate::items;
use crate::lent::Lent;
use bytes::Bytes;
use shm_core::Element;

/// The outputs of one inference.
///
/// Those of [`InferSlot::run`](crate::InferSlot::run) lie where the server wrote them and are borrowed from
/// the slot; those of [`Model::infer`](crate::Model::infer) are owned.
#[derive(Debug, Default)]
pub struct Outputs<'a> {
    pub(crate) entries: Vec<OutputEntry>,
    pub(crate) lent: Option<&'a Lent>,
    pub(crate) about: About,
}

/// What a response says beside its outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub id: String,
    pub version: String,
}

#[derive(Debug)]
pub(crate) struct OutputEntry {
    pub name: String,
    pub datatype: DataType,
    pub shape: Vec<i64>,
    pub data: Data,
}

/// Where the bytes of an output are.
#[derive(Debug)]
pub(crate) enum Data {
    /// In the slot, at the place of that output.
    Slot {
        index: usize,
        len: usize,
    },
    Owned(Buffer),
    /// In the message, aligned for its elements.
    Message(Bytes),
}

impl<'a> Outputs<'a> {
    /// The names, in the order of the response.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The shape of an output, with the batch dimension where the model has one.
    ///
    /// # Errors
    /// [`OutputError::Missing`].
    pub fn shape(&self, name: &str) -> Result<&[i64], OutputError> {
        Ok(&self.entry(name)?.shape)
    }

    /// The element type of an output.
    ///
    /// # Errors
    /// [`OutputError::Missing`].
    pub fn datatype(&self, name: &str) -> Result<DataType, OutputError> {
        Ok(self.entry(name)?.datatype)
    }

    /// The elements of an output, in C order.
    ///
    /// # Errors
    /// [`OutputError::Missing`]; [`OutputError::DataType`] if they are no `T`.
    pub fn get<T: Element>(&self, name: &str) -> Result<&[T], OutputError> {
        let entry = self.entry(name)?;
        if entry.datatype.dtype() != Some(T::DTYPE) {
            return Err(OutputError::datatype(name, entry.datatype, T::DTYPE.name()));
        }
        Ok(bytemuck::cast_slice(self.data(entry)))
    }

    /// The bytes of an output as the protocol lays them out; of BYTES, with the length in front of
    /// each item.
    ///
    /// # Errors
    /// [`OutputError::Missing`].
    pub fn bytes(&self, name: &str) -> Result<&[u8], OutputError> {
        Ok(self.data(self.entry(name)?))
    }

    /// The items of a BYTES output, in C order.
    ///
    /// # Errors
    /// [`OutputError::Missing`], [`OutputError::DataType`]; [`OutputError::Items`] if somebody has changed
    /// the memory since it was checked.
    pub fn items(&self, name: &str) -> Result<Vec<&[u8]>, OutputError> {
        let entry = self.entry(name)?;
        if entry.datatype != DataType::Bytes {
            return Err(OutputError::datatype(name, DataType::Bytes, entry.datatype.name()));
        }
        let count = elements(&entry.shape).unwrap_or(0);
        let bytes = self.data(entry);
        items::read(bytes, count).map_err(|item| OutputError::Items {
            name: name.to_owned(),
            item,
            items: count,
            bytes: bytes.len(),
        })
    }

    /// True if an output lies in shared memory.
    ///
    /// # Errors
    /// [`OutputError::Missing`].
    pub fn is_shared(&self, name: &str) -> Result<bool, OutputError> {
        let in_slot = matches!(self.entry(name)?.data, Data::Slot { .. });
        Ok(in_slot && self.lent.is_some_and(|lent| lent.generation.region.is_shared()))
    }

    /// The request's own name, as the server repeated it.
    pub fn id(&self) -> &str {
        &self.about.id
    }

    /// The version of the model that ran.
    pub fn model_version(&self) -> &str {
        &self.about.version
    }

    /// The outputs in memory of their own.
    pub fn into_owned(self) -> Outputs<'static> {
        let mut owned = Outputs { entries: Vec::new(), lent: None, about: self.about.clone() };
        for entry in &self.entries {
            let data = match &entry.data {
                Data::Message(bytes) => Data::Message(bytes.clone()),
                Data::Slot { .. } | Data::Owned(_) => Data::Owned(Buffer::of(self.data(entry))),
            };
            owned.entries.push(OutputEntry {
                name: entry.name.clone(),
                datatype: entry.datatype,
                shape: entry.shape.clone(),
                data,
            });
        }
        owned
    }

    pub(crate) fn entry(&self, name: &str) -> Result<&OutputEntry, OutputError> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| OutputError::Missing { name: name.to_owned() })
    }

    pub(crate) fn data<'s>(&'s self, entry: &'s OutputEntry) -> &'s [u8] {
        match &entry.data {
            Data::Slot { index, len } => self.lent.map_or(&[], |lent| lent.output(*index, *len)),
            Data::Owned(buffer) => buffer.bytes(),
            Data::Message(bytes) => bytes,
        }
    }
}

/// Bytes aligned for every element type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    words: Vec<u128>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes; an earlier one's memory is used if it is large enough.
    pub(crate) fn reuse(mut earlier: Buffer, len: usize) -> Buffer {
        let words = len.div_ceil(16);
        // Zeroed by the system where it is new; what was there before is overwritten.
        if earlier.words.len() < words {
            earlier.words = vec![0; words];
        }
        earlier.words.truncate(words);
        earlier.len = len;
        earlier
    }

    pub(crate) fn of(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::reuse(Buffer::default(), bytes.len());
        buffer.write(0, bytes);
        buffer
    }

    /// Copies `bytes` to `at`.
    ///
    /// # Panics
    /// If they do not lie in the buffer.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        copy(bytes, &mut self.bytes_mut()[at..at + bytes.len()]);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}
