//! What an entry is made of, and what its arrays are called.
//!
//! The store itself knows arrays by their position. Names are one more array behind them: bytes that
//! begin with [`MAGIC`] and hold, for each array, the length of its name (u32, little-endian) and the
//! name. Upholds invariant 2: bytes that are not exactly that are an ordinary array.

use crate::{array, dtype};
use numpy::{PyArrayDescr, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use shm_core::{Dtype, TensorDesc};
use std::collections::HashSet;

const MAGIC: &[u8; 16] = b"\x93shm-py names\x00\x01\x1a";

/// An entry's arrays.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) arrays: Vec<TensorDesc>,
    /// As many as there are arrays.
    pub(super) names: Option<Vec<String>>,
}

impl Layout {
    /// Reads a mapping of names, or a sequence, of `(shape, dtype)` or of anything with these two.
    pub(super) fn of_argument(given: &Bound<'_, PyAny>) -> PyResult<Layout> {
        let (names, members) = members(given)?;
        let arrays = members.iter().map(desc_of).collect::<PyResult<Vec<_>>>()?;
        Ok(Layout { arrays, names })
    }

    /// The layout of arrays that are to be copied in.
    pub(super) fn of_arrays(
        names: Option<Vec<String>>,
        arrays: &[Bound<'_, PyUntypedArray>],
    ) -> PyResult<Layout> {
        let arrays = arrays.iter().map(|array| {
            let descr = dtype::native(&array.dtype())?;
            desc(dtype::to_core(&descr)?, array.shape())
        });
        Ok(Layout { arrays: arrays.collect::<PyResult<Vec<_>>>()?, names })
    }

    /// What the store is to reserve.
    pub(super) fn tensors(&self) -> PyResult<Vec<TensorDesc>> {
        let mut tensors = self.arrays.clone();
        if let Some(names) = self.encoded_names() {
            tensors.push(desc(Dtype::U8, &[names.len()])?);
        }
        Ok(tensors)
    }

    /// The bytes of the array of names.
    pub(super) fn encoded_names(&self) -> Option<Vec<u8>> {
        let names = self.names.as_ref()?;
        let mut bytes = MAGIC.to_vec();
        for name in names {
            bytes.extend((name.len() as u32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        Some(bytes)
    }
}

/// The names in an entry's last array, if that is what it is.
pub(super) fn names_in(bytes: &[u8], arrays: usize) -> Option<Vec<String>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut names = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (name, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        names.push(core::str::from_utf8(name).ok()?.to_owned());
        rest = after;
    }
    let unique = names.iter().collect::<HashSet<_>>().len() == names.len();
    (rest.is_empty() && unique && names.len() == arrays).then_some(names)
}

/// Whether an entry's last array may hold names; looking costs a copy of it.
pub(super) fn may_be_names(desc: &TensorDesc) -> bool {
    desc.dtype() == Dtype::U8 && desc.shape().len() == 1 && desc.byte_len() >= MAGIC.len()
}

type Members<'py> = (Option<Vec<String>>, Vec<Bound<'py, PyAny>>);

/// Names, if there are any, and what they belong to.
pub(super) fn members<'py>(given: &Bound<'py, PyAny>) -> PyResult<Members<'py>> {
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err(format!(
            "arrays are {}; expected a mapping of names, or a sequence",
            given.get_type()
        )));
    }
    if !given.hasattr("keys")? {
        return Ok((None, given.try_iter()?.collect::<PyResult<Vec<_>>>()?));
    }
    let (mut names, mut members) = (Vec::new(), Vec::new());
    for name in given.call_method0("keys")?.try_iter()? {
        let name = name?;
        let text = name.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!(
                "the name of an array is {}; expected str",
                name.get_type()
            ))
        })?;
        names.push(text.to_cow()?.into_owned());
        members.push(given.get_item(&name)?);
    }
    Ok((Some(names), members))
}

fn desc_of(member: &Bound<'_, PyAny>) -> PyResult<TensorDesc> {
    let py = member.py();
    let pair = match member.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => Some((pair.get_item(0)?, pair.get_item(1)?)),
        Ok(_) => None,
        Err(_) => member.getattr("shape").ok().zip(member.getattr("dtype").ok()),
    };
    let Some((shape, given)) = pair else {
        return Err(PyTypeError::new_err(format!(
            "an array is described by {}; expected (shape, dtype)",
            member.repr()?
        )));
    };
    let descr: Bound<'_, PyArrayDescr> = dtype::from_argument(py, &given)?;
    desc(dtype::to_core(&descr)?, &array::shape_argument(&shape)?)
}

fn desc(dtype: Dtype, shape: &[usize]) -> PyResult<TensorDesc> {
    TensorDesc::new(dtype, shape).map_err(|error| PyValueError::new_err(error.to_string()))
}
