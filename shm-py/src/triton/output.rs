//! One output of an inference, on its way to Python.

use crate::array::{self, ArrayForm, Bytes};
use crate::triton::{shelves::Shelves, specs};
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use shm_triton::{DataType, ModelSpec, OutputError, Outputs};

/// An output whose bytes stay where they are until it has become an array.
pub(crate) struct Found {
    pub(crate) name: String,
    datatype: DataType,
    shape: Vec<i64>,
    content: Content,
}

enum Content {
    /// In memory that its owner keeps.
    Kept(Address, usize),
    Copied(Vec<u8>),
    Items(Vec<Vec<u8>>),
}

struct Address(*mut u8);

// SAFETY: an address; who builds an array over it vouches for what lies there.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Found {
    /// Looks at all outputs. Those in shared memory stay there, others are copied.
    pub(crate) fn all(outputs: &Outputs<'_>) -> Result<Vec<Found>, OutputError> {
        outputs.names().map(|name| Found::one(outputs, name, outputs.is_shared(name)?)).collect()
    }

    /// Looks at owned outputs, which the caller keeps for as long as what is found.
    pub(crate) fn all_owned(outputs: &Outputs<'static>) -> Result<Vec<Found>, OutputError> {
        outputs.names().map(|name| Found::one(outputs, name, true)).collect()
    }

    fn one(outputs: &Outputs<'_>, name: &str, stays: bool) -> Result<Found, OutputError> {
        let datatype = outputs.datatype(name)?;
        let content = if datatype == DataType::Bytes {
            Content::Items(outputs.items(name)?.into_iter().map(<[u8]>::to_vec).collect())
        } else if stays {
            let bytes = outputs.bytes(name)?;
            Content::Kept(Address(bytes.as_ptr().cast_mut()), bytes.len())
        } else {
            Content::Copied(outputs.bytes(name)?.to_vec())
        };
        let shape = outputs.shape(name)?.to_vec();
        Ok(Found { name: name.to_owned(), datatype, shape, content })
    }

    /// A read-only array over the output where it lies, or over a copy where it came in the message.
    ///
    /// # Safety
    /// An output in a slot is mapped for as long as `base` lives.
    pub(crate) unsafe fn view<'py>(
        &self,
        py: Python<'py>,
        base: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = match &self.content {
            Content::Items(found) => return items(py, found, &self.shape),
            Content::Kept(Address(start), _) => {
                let form = specs::form(py, &self.name, self.datatype, &self.shape)?;
                // SAFETY: `byte_len` bytes that the response was checked to have, at an address aligned
                // for every element type, valid by the caller's promise. They are not written here.
                unsafe { form.over(py, *start, false, base)? }
            }
            Content::Copied(bytes) => {
                let form = specs::form(py, &self.name, self.datatype, &self.shape)?;
                let array = form.empty(py)?;
                fill(&array, 0, bytes, &form);
                array::make_read_only(&array);
                array
            }
        };
        Ok(array.into_any())
    }
}

/// Outputs as arrays of their own.
///
/// # Safety
/// What keeps them, a slot or owned outputs, is there until this returns.
pub(crate) unsafe fn copies<'py>(
    py: Python<'py>,
    spec: &ModelSpec,
    shelves: &Shelves,
    outputs: &[Found],
) -> PyResult<Bound<'py, PyDict>> {
    let arrays = PyDict::new(py);
    for Found { name, datatype, shape, content } in outputs {
        let (start, len) = match content {
            Content::Items(found) => {
                arrays.set_item(name, items(py, found, shape)?)?;
                continue;
            }
            Content::Kept(Address(start), len) => (start.cast_const(), *len),
            Content::Copied(bytes) => (bytes.as_ptr(), bytes.len()),
        };
        let form = specs::form(py, name, *datatype, shape)?;
        let array = shelves.array(py, specs::output_index(spec, name), &form)?;
        // SAFETY: so many bytes that are kept, by the caller's promise, where no request is under way;
        // or this output's own.
        let bytes = unsafe { core::slice::from_raw_parts(start, len) };
        let target = Target::of(&array, &form);
        py.detach(|| target.fill(0, bytes));
        arrays.set_item(name, array)?;
    }
    Ok(arrays)
}

/// An array of bytes objects.
pub(crate) fn items<'py, I: AsRef<[u8]>>(
    py: Python<'py>,
    found: &[I],
    shape: &[i64],
) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::new(py, found.iter().map(|item| PyBytes::new(py, item.as_ref())))?;
    let array = py.import("numpy")?.call_method1("empty", (found.len(), "object"))?;
    if !found.is_empty() {
        array.set_item(py.import("builtins")?.getattr("slice")?.call1((py.None(),))?, list)?;
    }
    array.call_method1("reshape", (shape.to_vec(),))
}

fn fill(array: &Bound<'_, PyUntypedArray>, at: usize, bytes: &[u8], form: &ArrayForm) {
    Target::of(array, form).fill(at, bytes);
}

/// The memory of a new array that nobody else knows yet.
#[derive(Clone, Copy)]
pub(crate) struct Target(Bytes);

impl Target {
    /// `array` is new, C-contiguous and of that form, and alive for as long as this is filled.
    pub(crate) fn of(array: &Bound<'_, PyUntypedArray>, form: &ArrayForm) -> Target {
        Target(Bytes::of(array, form.byte_len))
    }

    /// Copies `bytes` to byte `at`.
    ///
    /// # Panics
    /// If they do not lie in the array.
    pub(crate) fn fill(self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.0.len()), "{} bytes at {at}", bytes.len());
        let to = self.0.start().cast_mut().wrapping_add(at);
        // SAFETY: `bytes.len()` bytes at `to` lie in the array, by the assertion, which is alive and
        // nobody else's, by the promise of `of`.
        unsafe { shm_core::copy::copy_out(to, bytes.as_ptr(), bytes.len()) };
    }
}
