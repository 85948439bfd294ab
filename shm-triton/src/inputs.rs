//! The inputs of one inference, borrowed from the caller.

use crate::copying::copy;
use crate::datatype::{DataType, elements};
use crate::error::InputError;
use crate::items;
use shm_core::Element;

/// Inputs by name, borrowed until the call that takes them returns.
///
/// ```
/// use shm_triton::Inputs;
///
/// let pixels = vec![0.5_f32; 2 * 16];
/// let inputs = Inputs::new()
///     .tensor("INPUT0", &[2, 16], &pixels)?
///     .items("NAMES", &[2, 1], &[b"first".as_slice(), b"second"])?;
/// # Ok::<(), shm_triton::InputError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Inputs<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub name: String,
    pub datatype: DataType,
    pub shape: Vec<i64>,
    pub source: Source<'a>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source<'a> {
    Bytes(&'a [u8]),
    /// One after the other along the first dimension.
    Parts(Vec<&'a [u8]>),
    /// Of a BYTES tensor.
    Items(Vec<&'a [u8]>),
}

impl<'a> Inputs<'a> {
    /// No inputs, to which they are added.
    pub fn new() -> Inputs<'a> {
        Inputs::default()
    }

    /// Adds a tensor of elements in C order; `shape` has the batch dimension where the model has one.
    ///
    /// # Errors
    /// [`InputError::Length`], [`InputError::DataType`] for complex numbers, [`InputError::Twice`].
    pub fn tensor<T: Element>(
        self,
        name: &str,
        shape: &[i64],
        data: &'a [T],
    ) -> Result<Inputs<'a>, InputError> {
        let datatype = datatype_of::<T>(name)?;
        self.raw(name, datatype, shape, bytemuck::cast_slice(data))
    }

    /// Adds a tensor as its bytes; of BYTES, with the length in front of each item.
    ///
    /// # Errors
    /// As for [`Inputs::tensor`].
    pub fn raw(
        self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
        bytes: &'a [u8],
    ) -> Result<Inputs<'a>, InputError> {
        if datatype == DataType::Bytes {
            let count = count(name, shape)?;
            let found = items::extent(bytes, count).unwrap_or_else(|whole| whole);
            let whole = items::extent(bytes, count) == Ok(bytes.len());
            if !whole {
                return Err(length(name, shape, count, found, "whole items"));
            }
            let items = items::read(bytes, count).unwrap_or_default();
            return self.add(name, datatype, shape, Source::Items(items));
        }
        check_len(name, datatype, shape, bytes.len())?;
        self.add(name, datatype, shape, Source::Bytes(bytes))
    }

    /// Adds a tensor that lies in several pieces of memory, one after the other along the first
    /// dimension, each of shape `part_shape`. They need not be joined by the caller.
    ///
    /// # Errors
    /// As for [`Inputs::tensor`]; every part must have as many bytes as its shape.
    pub fn parts(
        self,
        name: &str,
        datatype: DataType,
        part_shape: &[i64],
        parts: Vec<&'a [u8]>,
    ) -> Result<Inputs<'a>, InputError> {
        for part in &parts {
            check_len(name, datatype, part_shape, part.len())?;
        }
        let mut shape = part_shape.to_vec();
        match shape.first_mut() {
            Some(first) => *first *= parts.len() as i64,
            None => shape.push(parts.len() as i64),
        }
        self.add(name, datatype, &shape, Source::Parts(parts))
    }

    /// Adds a BYTES tensor: any bytes, in C order.
    ///
    /// # Errors
    /// [`InputError::Length`], [`InputError::Twice`].
    pub fn items<I: AsRef<[u8]>>(
        self,
        name: &str,
        shape: &[i64],
        items: &'a [I],
    ) -> Result<Inputs<'a>, InputError> {
        let expected = count(name, shape)?;
        if expected != items.len() {
            return Err(length(name, shape, expected, items.len(), "items"));
        }
        let items = items.iter().map(AsRef::as_ref).collect();
        self.add(name, DataType::Bytes, shape, Source::Items(items))
    }

    fn add(
        mut self,
        name: &str,
        datatype: DataType,
        shape: &[i64],
        source: Source<'a>,
    ) -> Result<Inputs<'a>, InputError> {
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err(InputError::Twice { name: name.to_owned() });
        }
        self.entries.push(Entry { name: name.to_owned(), datatype, shape: shape.to_vec(), source });
        Ok(self)
    }
}

impl Entry<'_> {
    /// Bytes of the samples `first..first + samples` of `all`, or of the whole tensor.
    pub(crate) fn byte_len(&self, first: usize, samples: usize, all: usize) -> usize {
        match &self.source {
            Source::Items(items) => {
                items::byte_len(per_sample(items, first, samples, all).iter().copied())
            }
            Source::Bytes(bytes) => bytes.len() / all.max(1) * samples,
            Source::Parts(parts) => {
                parts.iter().map(|part| part.len()).sum::<usize>() / all.max(1) * samples
            }
        }
    }

    /// Copies those samples into `out`, which has as many bytes as they.
    pub(crate) fn copy_to(&self, first: usize, samples: usize, all: usize, out: &mut [u8]) {
        let sample = |total: usize| total / all.max(1);
        match &self.source {
            Source::Items(items) => {
                items::write(out, per_sample(items, first, samples, all).iter().copied());
            }
            Source::Bytes(bytes) => {
                let from = sample(bytes.len()) * first;
                copy(&bytes[from..from + out.len()], out);
            }
            Source::Parts(parts) => {
                let total: usize = parts.iter().map(|part| part.len()).sum();
                let (mut skip, mut rest) = (sample(total) * first, out);
                for part in parts {
                    if skip >= part.len() {
                        skip -= part.len();
                        continue;
                    }
                    let part = &part[std::mem::take(&mut skip)..];
                    let (now, after) = rest.split_at_mut(part.len().min(rest.len()));
                    copy(&part[..now.len()], now);
                    rest = after;
                }
            }
        }
    }
}

/// The items of some samples.
fn per_sample<'s, 'a>(
    items: &'s [&'a [u8]],
    first: usize,
    samples: usize,
    all: usize,
) -> &'s [&'a [u8]] {
    let each = items.len() / all.max(1);
    &items[each * first..each * (first + samples)]
}

/// The data type of `T`, which complex numbers do not have.
pub(crate) fn datatype_of<T: Element>(name: &str) -> Result<DataType, InputError> {
    DataType::of::<T>().ok_or_else(|| InputError::DataType {
        name: name.to_owned(),
        expected: "a data type of the protocol".to_owned(),
        found: T::DTYPE.name().to_owned(),
    })
}

fn count(name: &str, shape: &[i64]) -> Result<usize, InputError> {
    elements(shape).ok_or_else(|| negative(name, shape))
}

fn check_len(
    name: &str,
    datatype: DataType,
    shape: &[i64],
    found: usize,
) -> Result<(), InputError> {
    let expected = datatype.byte_len(shape).ok_or_else(|| negative(name, shape))?;
    if expected != found {
        return Err(length(name, shape, expected, found, "bytes"));
    }
    Ok(())
}

fn negative(name: &str, shape: &[i64]) -> InputError {
    let expected = shape.iter().map(|&dim| dim.max(0)).collect();
    InputError::Shape { name: name.to_owned(), expected, found: shape.to_vec() }
}

fn length(
    name: &str,
    shape: &[i64],
    expected: usize,
    found: usize,
    unit: &'static str,
) -> InputError {
    InputError::Length { name: name.to_owned(), shape: shape.to_vec(), expected, found, unit }
}
