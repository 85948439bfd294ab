//! What Python gives as inputs: arrays, lists of arrays, items.
//!
//! Upholds invariant 2: elements are of the model's type or refused; nothing is converted.

use crate::array::{self, Bytes as ArrayBytes};
use crate::triton::{dtypes, errors};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyList, PyMapping, PyMemoryView, PyString, PyStringMethods, PyTuple,
};
use shm_triton::{DataType, InputError, Inputs, Model, ModelSpec, TensorSpec};
use std::slice;

/// Inputs by name, with what keeps their memory.
pub(crate) struct Given {
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    datatype: DataType,
    shape: Vec<i64>,
    source: Source,
}

enum Source {
    Array(Piece),
    /// One after the other along the first dimension, each of the shape.
    Parts(Vec<Piece>),
    Items(Vec<Piece>),
}

/// Bytes that a Python object owns.
struct Piece {
    start: *const u8,
    len: usize,
    /// Owns the bytes.
    owner: Py<PyAny>,
}

// SAFETY: the bytes belong to `owner`, which any thread may hold, and are only read.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` is `len` bytes of `owner`, checked when the piece was made: a bytes object,
        // which never changes, or a C-contiguous array, whose memory NumPy neither moves nor frees while
        // it is referred to. What other threads write there meanwhile is the caller's race, as in NumPy:
        // the bytes are not looked at here, only copied, by a copy that allows for it.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl Given {
    /// Reads a mapping of names to arrays, lists of arrays, and items.
    pub(crate) fn read(spec: &ModelSpec, inputs: &Bound<'_, PyAny>) -> PyResult<Given> {
        let mapping = inputs.cast::<PyMapping>().map_err(|_| {
            PyTypeError::new_err(format!(
                "inputs is {}; expected a dict of names to arrays",
                inputs.get_type()
            ))
        })?;
        let tensors = mapping.items()?.iter().map(|entry| {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
            read(spec, &name, &value)
        });
        Ok(Given { tensors: tensors.collect::<PyResult<_>>()? })
    }

    /// One input.
    pub(crate) fn one(
        spec: &ModelSpec,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Given> {
        Ok(Given { tensors: vec![read(spec, name, value)?] })
    }

    /// How many samples there are, as far as that is known before the client has looked.
    pub(crate) fn samples(&self, spec: &ModelSpec) -> usize {
        let first = self.tensors.first().filter(|_| spec.max_batch_size > 0);
        first.and_then(|given| given.shape().first().copied()).unwrap_or(1) as usize
    }

    /// True if the client would make one request of them, in a slot that need not grow for them.
    pub(crate) fn fits_one_slot(&self, model: &Model) -> bool {
        let spec = model.spec();
        let samples = self.samples(spec);
        let batch = (spec.max_batch_size > 0).then_some(samples as i64);
        samples <= model.batch()
            && spec.inputs.iter().all(|tensor| {
                let given = self.tensors.iter().find(|given| given.name == tensor.name);
                let shape = batch.iter().chain(&tensor.dims);
                !tensor.is_dynamic() && given.is_some_and(|given| given.shape().iter().eq(shape))
            })
    }

    /// The same for the client, which checks shapes against the model.
    pub(crate) fn inputs(&self) -> Result<Inputs<'_>, InputError> {
        let mut inputs = Inputs::new();
        for tensor in &self.tensors {
            let Tensor { name, datatype, shape, source } = tensor;
            inputs = match source {
                Source::Array(piece) => inputs.raw(name, *datatype, shape, piece.as_ref())?,
                Source::Parts(parts) => {
                    let parts = parts.iter().map(AsRef::as_ref).collect();
                    inputs.parts(name, *datatype, shape, parts)?
                }
                Source::Items(items) => inputs.items(name, shape, items)?,
            };
        }
        Ok(inputs)
    }
}

impl Tensor {
    /// Of all parts together.
    fn shape(&self) -> Vec<i64> {
        let mut shape = self.shape.clone();
        if let (Source::Parts(parts), Some(first)) = (&self.source, shape.first_mut()) {
            *first *= parts.len() as i64;
        }
        shape
    }
}

/// The input of that name.
pub(crate) fn find<'s>(
    spec: &'s ModelSpec,
    name: &Bound<'_, PyAny>,
) -> PyResult<(String, &'s TensorSpec)> {
    let name: String = name.extract()?;
    match spec.inputs.iter().find(|tensor| tensor.name == name) {
        Some(tensor) => Ok((name, tensor)),
        None => {
            let known = spec.inputs.iter().map(|tensor| tensor.name.clone()).collect();
            Err(errors::input(&InputError::Unknown { name, known }))
        }
    }
}

fn read(spec: &ModelSpec, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let (name, tensor) = find(spec, name)?;
    let reader = Reader { tensor, batched: spec.max_batch_size > 0 };
    let (datatype, shape, source) = reader.read(value)?;
    Ok(Tensor { name, datatype, shape, source })
}

/// Reads what was given for one input.
struct Reader<'s> {
    tensor: &'s TensorSpec,
    batched: bool,
}

type Read = (DataType, Vec<i64>, Source);

impl Reader<'_> {
    fn read(&self, value: &Bound<'_, PyAny>) -> PyResult<Read> {
        if let Ok(array) = value.cast::<PyUntypedArray>() {
            return self.array(array);
        }
        let listed = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
        if listed && self.tensor.datatype == DataType::Bytes {
            return self.listed_items(value);
        }
        if listed {
            return self.parts(value);
        }
        // Tensors of other packages lend their memory as arrays.
        let lends = value.hasattr("__array__")? || value.hasattr("__array_interface__")?;
        if lends {
            return self.array(&array::as_array(value, None)?);
        }
        Err(self.wrong_kind(value))
    }

    fn array(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<Read> {
        let datatype = self.datatype(array)?;
        let shape = signed(array.shape());
        if datatype == DataType::Bytes {
            let items = array.call_method0("ravel")?.call_method0("tolist")?;
            return Ok((datatype, shape, Source::Items(self.items(&items)?)));
        }
        Ok((datatype, shape, Source::Array(piece(array)?)))
    }

    /// Arrays with the batch dimension, or of single samples: joined along the first dimension.
    fn parts(&self, list: &Bound<'_, PyAny>) -> PyResult<Read> {
        let single = self.tensor.dims.len();
        let mut parts = Vec::new();
        let mut rows = Vec::new();
        let mut of: Option<(DataType, Vec<i64>)> = None;
        for part in list.try_iter()? {
            let part = part?;
            let array = part.cast::<PyUntypedArray>().map_err(|_| self.wrong_kind(list))?;
            let datatype = self.datatype(array)?;
            let mut shape = signed(array.shape());
            if self.batched && shape.len() == single {
                shape.insert(0, 1);
            }
            let (count, row) = match shape.split_first() {
                Some((&count, row)) => (count, row.to_vec()),
                None => return Err(self.wrong_shape(shape)),
            };
            match &of {
                Some((_, expected)) if *expected != row => return Err(self.wrong_shape(shape)),
                _ => of = Some((datatype, row)),
            }
            if count > 0 {
                parts.push(piece(array)?);
                rows.push(count);
            }
        }
        let (datatype, row) = of.unwrap_or_else(|| {
            let dims = if self.batched {
                &self.tensor.dims[..]
            } else {
                self.tensor.dims.get(1..).unwrap_or(&[])
            };
            (self.tensor.datatype, dims.iter().map(|&dim| dim.max(0)).collect())
        });
        let shape = |rows| std::iter::once(rows).chain(row.iter().copied()).collect::<Vec<i64>>();
        // Parts are of one shape; those that are not are of several such.
        let step = rows.iter().copied().fold(0, greatest_common_divisor);
        let parts = match rows.iter().all(|&count| count == step) {
            true => parts,
            false => cut(list.py(), &parts, &rows, step),
        };
        Ok((datatype, shape(step), Source::Parts(parts)))
    }

    /// Items in lists, one list for each dimension; one list alone has one item for each sample.
    fn listed_items(&self, list: &Bound<'_, PyAny>) -> PyResult<Read> {
        let mut shape = vec![list.len()?];
        let mut level = list.clone();
        while shape[shape.len() - 1] > 0 {
            let first = level.get_item(0)?;
            if !(first.is_instance_of::<PyList>() || first.is_instance_of::<PyTuple>()) {
                break;
            }
            shape.push(first.len()?);
            level = first;
        }
        if let (1, Ok(array)) = (shape.len(), level.get_item(0))
            && array.is_instance_of::<PyUntypedArray>()
        {
            let joined = list.py().import("numpy")?.call_method1("concatenate", (list,))?;
            return self.array(joined.cast()?);
        }
        let flat = PyList::empty(list.py());
        flatten(list, &shape, &flat).map_err(|error| match error {
            Some(error) => error,
            None => PyTypeError::new_err(format!(
                "input '{}': the lists of items are not all of the same length",
                self.tensor.name
            )),
        })?;
        let dims = self.tensor.dims.len() + usize::from(self.batched);
        let ones = self.tensor.dims.iter().all(|&dim| dim == -1 || dim == 1);
        if self.batched && shape.len() == 1 && ones {
            shape.resize(dims, 1);
        }
        Ok((DataType::Bytes, signed(&shape), Source::Items(self.items(flat.as_any())?)))
    }

    fn items(&self, list: &Bound<'_, PyAny>) -> PyResult<Vec<Piece>> {
        list.try_iter()?
            .map(|item| {
                let item = item?;
                let bytes = match item.cast::<PyBytes>() {
                    Ok(bytes) => bytes.clone(),
                    Err(_) => self.other_item(&item)?,
                };
                let (start, len) = (bytes.as_bytes().as_ptr(), bytes.as_bytes().len());
                Ok(Piece { start, len, owner: bytes.into_any().unbind() })
            })
            .collect()
    }

    fn other_item<'py>(&self, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        if let Ok(text) = item.cast::<PyString>() {
            return text.encode_utf8();
        }
        if item.is_instance_of::<PyByteArray>() || item.is_instance_of::<PyMemoryView>() {
            return Ok(item.py().get_type::<PyBytes>().call1((item,))?.cast_into()?);
        }
        Err(PyTypeError::new_err(format!(
            "input '{}': an item is {}; expected bytes or str",
            self.tensor.name,
            item.get_type()
        )))
    }

    /// The array's element type, which must be the model's.
    fn datatype(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<DataType> {
        let (wanted, descr) = (self.tensor.datatype, array.dtype());
        match dtypes::of_array(&descr, wanted) {
            Some(found) if found == wanted => Ok(found),
            found => Err(errors::input(&InputError::DataType {
                name: self.tensor.name.clone(),
                expected: wanted.name().to_owned(),
                found: match found {
                    Some(found) => format!("{found} (dtype {descr})"),
                    None => format!("dtype {descr}"),
                },
            })),
        }
    }

    fn wrong_shape(&self, found: Vec<i64>) -> PyErr {
        let batch = self.batched.then_some(-1);
        let expected = batch.into_iter().chain(self.tensor.dims.iter().copied()).collect();
        errors::input(&InputError::Shape { name: self.tensor.name.clone(), expected, found })
    }

    fn wrong_kind(&self, value: &Bound<'_, PyAny>) -> PyErr {
        let expected = match self.tensor.datatype {
            DataType::Bytes => "a numpy array of objects, or a list of bytes or str",
            _ => "a numpy array, or a list of numpy arrays",
        };
        PyTypeError::new_err(format!(
            "input '{}': expected {expected}; found {}",
            self.tensor.name,
            value.get_type()
        ))
    }
}

/// The bytes of an array in C order, which is copied if it has another.
fn piece(array: &Bound<'_, PyUntypedArray>) -> PyResult<Piece> {
    let array = match array.is_c_contiguous() {
        true => array.clone(),
        false => {
            let numpy = array.py().import("numpy")?;
            numpy.call_method1("ascontiguousarray", (array,))?.cast_into::<PyUntypedArray>()?
        }
    };
    let len = array.len() * array.dtype().itemsize();
    let start = ArrayBytes::of(&array, len).start();
    Ok(Piece { start, len, owner: array.into_any().unbind() })
}

/// The same bytes in pieces of `step` rows.
fn cut(py: Python<'_>, parts: &[Piece], rows: &[i64], step: i64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (part, &rows) in parts.iter().zip(rows) {
        let count = (rows / step) as usize;
        let len = part.len / count;
        for index in 0..count {
            // Inside the part: `count * len` is its length.
            let start = part.start.wrapping_add(index * len);
            pieces.push(Piece { start, len, owner: part.owner.clone_ref(py) });
        }
    }
    pieces
}

/// Appends the items of nested lists; `None` for lists of different lengths.
fn flatten<'py>(
    list: &Bound<'py, PyAny>,
    shape: &[usize],
    flat: &Bound<'py, PyList>,
) -> Result<(), Option<PyErr>> {
    let Some((&len, inner)) = shape.split_first() else {
        return flat.append(list).map_err(Some);
    };
    let listed = list.is_instance_of::<PyList>() || list.is_instance_of::<PyTuple>();
    if !listed || list.len().map_err(Some)? != len {
        return Err(None);
    }
    for item in list.try_iter().map_err(Some)? {
        flatten(&item.map_err(Some)?, inner, flat)?;
    }
    Ok(())
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn signed(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&dim| dim as i64).collect()
}
