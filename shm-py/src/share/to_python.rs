//! From values to Python's objects.
//!
//! Upholds invariants 2 (what came from a peer makes arrays and plain data, and runs no code of the
//! peer's unless this side was told to unpickle) and 6 (each tensor keeps its memory).

use crate::share::array::{self, Mapping};
use crate::share::device;
use crate::share::errors;
use crate::share::from_python::PICKLE;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyList, PyString, PyTuple};
use shm_cuda::share::{
    Arguments, Bundle, Failure, FailureKind, HostMemory, Opaque, Storage, Tensor, Value,
};
use std::sync::Arc;

/// What may be made of values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Device memory may be written. Host memory says so itself.
    pub(super) writable: bool,
    /// What only Python understands is unpickled, which runs whatever its sender wants.
    pub(super) opaque: bool,
}

/// Makes objects; tensors on one storage share the object that keeps it.
struct Writer<'py> {
    py: Python<'py>,
    manner: Manner,
    mappings: Vec<(Arc<HostMemory>, Bound<'py, Mapping>)>,
}

pub(super) fn value<'py>(
    py: Python<'py>,
    value: &Value,
    manner: Manner,
) -> PyResult<Bound<'py, PyAny>> {
    Writer::new(py, manner).value(value)
}

/// What a function is called with.
pub(super) fn arguments<'py>(
    py: Python<'py>,
    arguments: &Arguments,
    manner: Manner,
) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
    let mut writer = Writer::new(py, manner);
    let positional = writer.all(&arguments.positional)?;
    let named = writer.map(&arguments.named)?;
    Ok((PyTuple::new(py, positional)?, named))
}

impl<'py> Writer<'py> {
    fn new(py: Python<'py>, manner: Manner) -> Writer<'py> {
        Writer { py, manner, mappings: Vec::new() }
    }

    fn value(&mut self, value: &Value) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match value {
            Value::Null => py.None().into_bound(py),
            Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
            Value::Int(number) => match i64::try_from(*number) {
                Ok(small) => small.into_pyobject(py)?.into_any(),
                Err(_) => number.into_pyobject(py)?.into_any(),
            },
            Value::Float(number) => PyFloat::new(py, *number).into_any(),
            Value::Str(text) => PyString::new(py, text).into_any(),
            Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Value::List(items) => PyList::new(py, self.all(items)?)?.into_any(),
            Value::Tuple(items) => PyTuple::new(py, self.all(items)?)?.into_any(),
            Value::Map(entries) => self.map(entries)?.into_any(),
            Value::Tensor(tensor) => self.tensor(tensor)?,
            Value::Bundle(bundle) => self.bundle(bundle)?,
            Value::Opaque(opaque) => self.opaque(opaque)?,
        })
    }

    fn all(&mut self, values: &[Value]) -> PyResult<Vec<Bound<'py, PyAny>>> {
        values.iter().map(|value| self.value(value)).collect()
    }

    fn map(&mut self, entries: &[(String, Value)]) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py);
        for (name, value) in entries {
            dict.set_item(name, self.value(value)?)?;
        }
        Ok(dict)
    }

    fn tensor(&mut self, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
        match tensor.storage() {
            Storage::Host(memory) => {
                let layout = (tensor.shape(), tensor.strides(), tensor.offset());
                let base = self.mapping(memory)?;
                Ok(array::over_memory(&base, tensor.dtype(), layout)?.into_any())
            }
            Storage::Device(storage) => {
                let made = device::tensor(self.py, tensor, storage, self.manner.writable)?;
                Ok(Bound::new(self.py, made)?.into_any())
            }
        }
    }

    fn mapping(&mut self, memory: &Arc<HostMemory>) -> PyResult<Bound<'py, Mapping>> {
        if let Some((_, mapping)) = self.mappings.iter().find(|(it, _)| Arc::ptr_eq(it, memory)) {
            return Ok(mapping.clone());
        }
        let mapping = Mapping::new(self.py, memory.clone())?;
        self.mappings.push((memory.clone(), mapping.clone()));
        Ok(mapping)
    }

    fn bundle(&mut self, bundle: &Bundle) -> PyResult<Bound<'py, PyAny>> {
        let structure = self.value(&bundle.structure)?;
        let tensors = PyDict::new(self.py);
        for (name, tensor) in &bundle.tensors {
            tensors.set_item(name, self.tensor(tensor)?)?;
        }
        let convert = self.py.import("shm_py._share_modules")?.getattr("from_bundle")?;
        convert.call1((&bundle.kind, structure, tensors))
    }

    fn opaque(&self, opaque: &Opaque) -> PyResult<Bound<'py, PyAny>> {
        if !self.manner.opaque || opaque.encoding != PICKLE {
            let failed = Failure::new(
                FailureKind::Capability,
                format!(
                    "the value holds bytes of encoding '{}', which are not made into objects here",
                    opaque.encoding
                ),
            );
            return Err(errors::failure(self.py, &failed));
        }
        let bytes = PyBytes::new(self.py, &opaque.bytes);
        self.py.import("pickle")?.call_method1("loads", (bytes,))
    }
}
