//! From Python's objects to values that travel.
//!
//! Upholds invariant 8: a tensor stays where it is if it can; what has to be copied is copied once.
//! Nothing is pickled unless both sides were told to.

use crate::cuda::Source;
use crate::share::array::HostArray;
use crate::share::device::{self, DeviceArray};
use crate::share::packing;
use crate::share::trouble::Trouble;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple,
    PyType,
};
use shm_cuda::share::{Arguments, Bundle, Limits, Opaque, Tensor, Value};

/// The encoding of what only Python understands.
pub(super) const PICKLE: &str = "pickle";

/// The value of an endpoint's result, or of whatever `root` names.
pub(super) fn value(object: &Bound<'_, PyAny>, root: &str, opaque: bool) -> Result<Value, Trouble> {
    let mut reader = Reader::new(object.py(), opaque);
    let draft = reader.node(object, 0).map_err(|trouble| trouble.inside(|| root.to_owned()))?;
    let tensors = reader.settle().map_err(|trouble| trouble.inside(|| root.to_owned()))?;
    Ok(draft.into_value(&tensors))
}

/// The values of a call's arguments.
pub(super) fn arguments(
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
    opaque: bool,
) -> Result<Arguments, Trouble> {
    let mut reader = Reader::new(args.py(), opaque);
    let mut positional = Vec::with_capacity(args.len());
    for (index, item) in args.iter().enumerate() {
        let draft = reader.node(&item, 0);
        positional.push(draft.map_err(|it| it.inside(|| format!("args[{index}]")))?);
    }
    let mut named = Vec::new();
    for item in kwargs.map(|kwargs| kwargs.items()).iter().flatten() {
        let (key, item) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let name = key_text(&key).map_err(|it| it.inside(|| "kwargs".to_owned()))?;
        let draft = reader.node(&item, 0);
        let draft = draft.map_err(|it| it.inside(|| format!("kwargs['{name}']")))?;
        named.push((name, draft));
    }
    let tensors = reader.settle().map_err(|trouble| trouble.inside(|| "an argument".to_owned()))?;
    Ok(Arguments {
        positional: positional.into_iter().map(|draft| draft.into_value(&tensors)).collect(),
        named: named.into_iter().map(|(name, it)| (name, it.into_value(&tensors))).collect(),
    })
}

/// A value whose tensors are not in shared memory yet.
enum Draft {
    Plain(Value),
    List(Vec<Draft>),
    Tuple(Vec<Draft>),
    Map(Vec<(String, Draft)>),
    Tensor(Index),
    Bundle { kind: String, structure: Box<Draft>, tensors: Vec<(String, Index)> },
}

/// Which tensor of a value.
#[derive(Clone, Copy)]
enum Index {
    Host(usize),
    Device(usize),
}

/// The tensors of a value, in shared memory.
struct Tensors {
    host: Vec<Tensor>,
    device: Vec<Tensor>,
}

impl Tensors {
    fn get(&self, index: Index) -> Tensor {
        match index {
            Index::Host(at) => self.host[at].clone(),
            Index::Device(at) => self.device[at].clone(),
        }
    }
}

impl Draft {
    fn into_value(self, tensors: &Tensors) -> Value {
        let all =
            |drafts: Vec<Draft>| drafts.into_iter().map(|it| it.into_value(tensors)).collect();
        match self {
            Draft::Plain(value) => value,
            Draft::List(drafts) => Value::List(all(drafts)),
            Draft::Tuple(drafts) => Value::Tuple(all(drafts)),
            Draft::Map(entries) => {
                let entries = entries.into_iter();
                Value::Map(entries.map(|(name, it)| (name, it.into_value(tensors))).collect())
            }
            Draft::Tensor(index) => Value::Tensor(tensors.get(index)),
            Draft::Bundle { kind, structure, tensors: named } => Value::Bundle(Box::new(Bundle {
                kind,
                structure: structure.into_value(tensors),
                tensors: named.into_iter().map(|(name, it)| (name, tensors.get(it))).collect(),
            })),
        }
    }
}

/// A walk through a value.
struct Reader<'py> {
    py: Python<'py>,
    opaque: bool,
    host: Vec<HostArray<'py>>,
    device: Vec<DeviceArray>,
}

impl<'py> Reader<'py> {
    fn new(py: Python<'py>, opaque: bool) -> Reader<'py> {
        Reader { py, opaque, host: Vec::new(), device: Vec::new() }
    }

    /// Puts all tensors where others can see them.
    fn settle(self) -> Result<Tensors, Trouble> {
        let py = self.py;
        let refused = |error| Trouble::of_part(py, error);
        let host = packing::pack(py, &self.host).map_err(refused)?;
        let device = match self.device.is_empty() {
            true => Vec::new(),
            false => device::pack(py, self.device).map_err(refused)?,
        };
        Ok(Tensors { host, device })
    }

    fn node(&mut self, object: &Bound<'py, PyAny>, depth: usize) -> Result<Draft, Trouble> {
        let deepest = Limits::default().depth;
        if depth >= deepest {
            return Err(Trouble::of_value(format!(
                "it is nested deeper than {deepest} levels, or refers to itself"
            )));
        }
        if let Some(plain) = plain(object)? {
            return Ok(Draft::Plain(plain));
        }
        if let Ok(list) = object.cast_exact::<PyList>() {
            return Ok(Draft::List(self.sequence(list.iter(), depth)?));
        }
        if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            return Ok(Draft::Tuple(self.sequence(tuple.iter(), depth)?));
        }
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            return self.map(dict, depth);
        }
        if let Ok(array) = object.cast_exact::<PyUntypedArray>() {
            let array = HostArray::of_numpy(array.clone());
            return self.host(array);
        }
        self.other(object, depth)
    }

    /// What is of no type that every Python program knows.
    fn other(&mut self, object: &Bound<'py, PyAny>, depth: usize) -> Result<Draft, Trouble> {
        if let Some(hook) = torch_hook(self.py)? {
            let found = hook.call1((object,))?;
            // Anything but None and the object itself is what stands for it.
            if !found.is_none() && !found.is(object) {
                return match found.cast_exact::<PyTuple>() {
                    Ok(parts) => self.bundle(parts, depth),
                    Err(_) => self.tensor(&found)?.ok_or_else(|| refusal(object)),
                };
            }
        }
        // A class has the attributes of its instances, and is none of them.
        if object.is_instance_of::<PyType>() {
            return Err(refusal(object));
        }
        if object.get_type().hasattr("__share_bundle__")? {
            let parts = object.call_method0("__share_bundle__")?;
            let parts = parts.cast::<PyTuple>().map_err(|_| {
                Trouble::of_type(format!(
                    "__share_bundle__() of {} gave {}; expected a tuple (kind, structure, tensors)",
                    object.get_type(),
                    parts.get_type()
                ))
            })?;
            return self.bundle(parts, depth);
        }
        if let Ok(array) = object.cast::<PyUntypedArray>() {
            let array = HostArray::of_numpy(array.clone());
            return self.host(array);
        }
        if let Some(plain) = plain_kind(object)? {
            return Ok(Draft::Plain(plain));
        }
        if let Ok(list) = object.cast::<PyList>() {
            return Ok(Draft::List(self.sequence(list.iter(), depth)?));
        }
        if let Ok(tuple) = object.cast::<PyTuple>() {
            return Ok(Draft::Tuple(self.sequence(tuple.iter(), depth)?));
        }
        if let Ok(dict) = object.cast::<PyDict>() {
            return self.map(dict, depth);
        }
        if let Some(draft) = self.tensor(object)? {
            return Ok(draft);
        }
        match self.opaque {
            true => pickled(object),
            false => Err(refusal(object)),
        }
    }

    /// A tensor of any library, by its protocols.
    fn tensor(&mut self, object: &Bound<'py, PyAny>) -> Result<Option<Draft>, Trouble> {
        let py = self.py;
        if let Ok(array) = object.cast::<PyUntypedArray>() {
            let array = HostArray::of_numpy(array.clone());
            return self.host(array).map(Some);
        }
        let refused = |error| Trouble::of_part(py, error);
        if let Some(source) = Source::of(object).map_err(refused)? {
            let array = DeviceArray::of(py, source).map_err(refused)?;
            self.device.push(array);
            return Ok(Some(Draft::Tensor(Index::Device(self.device.len() - 1))));
        }
        if object.hasattr("__dlpack__")? {
            let array = HostArray::of_dlpack(object);
            return self.host(array).map(Some);
        }
        Ok(None)
    }

    fn host(&mut self, array: PyResult<HostArray<'py>>) -> Result<Draft, Trouble> {
        self.host.push(array.map_err(|error| Trouble::of_part(self.py, error))?);
        Ok(Draft::Tensor(Index::Host(self.host.len() - 1)))
    }

    fn bundle(&mut self, parts: &Bound<'py, PyTuple>, depth: usize) -> Result<Draft, Trouble> {
        let (kind, structure, tensors) = parts
            .extract::<(String, Bound<'py, PyAny>, Bound<'py, PyDict>)>()
            .map_err(|error| {
                Trouble::of_type(format!(
                    "its bundle is not (kind: str, structure, tensors: dict): {}",
                    error.value(self.py)
                ))
            })?;
        let structure = self.node(&structure, depth + 1);
        let structure = structure.map_err(|it| it.inside(|| ".structure".to_owned()))?;
        let mut named = Vec::with_capacity(tensors.len());
        for item in tensors.items().iter() {
            let (key, object) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            let name = key_text(&key).map_err(|it| it.inside(|| ".tensors".to_owned()))?;
            let draft = self.member(&object);
            let index = draft.map_err(|it| it.inside(|| format!(".tensors['{name}']")))?;
            named.push((name, index));
        }
        Ok(Draft::Bundle { kind, structure: Box::new(structure), tensors: named })
    }

    /// A tensor of a bundle.
    fn member(&mut self, object: &Bound<'py, PyAny>) -> Result<Index, Trouble> {
        let stood_for = match torch_hook(self.py)? {
            Some(hook) if !object.is_instance_of::<PyUntypedArray>() => {
                Some(hook.call1((object,))?).filter(|found| !found.is_none())
            }
            _ => None,
        };
        match self.tensor(stood_for.as_ref().unwrap_or(object))? {
            Some(Draft::Tensor(index)) => Ok(index),
            _ => Err(Trouble::of_type(format!("it is {}, no tensor", object.get_type()))),
        }
    }

    fn map(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Result<Draft, Trouble> {
        let mut entries = Vec::with_capacity(dict.len());
        // A copy: the objects' own code may change the dict.
        for item in dict.items().iter() {
            let (key, object) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            let name = key_text(&key)?;
            let draft = self.node(&object, depth + 1);
            entries.push((name.clone(), draft.map_err(|it| it.inside(|| format!("['{name}']")))?));
        }
        Ok(Draft::Map(entries))
    }

    fn sequence(
        &mut self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<Vec<Draft>, Trouble> {
        items
            .enumerate()
            .map(|(index, item)| {
                let draft = self.node(&item, depth + 1);
                draft.map_err(|trouble| trouble.inside(|| format!("[{index}]")))
            })
            .collect()
    }
}

/// What has no parts, by its exact type.
fn plain(object: &Bound<'_, PyAny>) -> Result<Option<Value>, Trouble> {
    Ok(Some(if object.is_none() {
        Value::Null
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        Value::Str(utf8(text)?)
    } else if let Ok(truth) = object.cast_exact::<PyBool>() {
        Value::Bool(truth.is_true())
    } else if object.is_exact_instance_of::<PyInt>() {
        int(object)?
    } else if let Ok(float) = object.cast_exact::<PyFloat>() {
        Value::Float(float.value())
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        Value::Bytes(bytes.as_bytes().to_vec())
    } else {
        return Ok(None);
    }))
}

/// The same for kinds of those types, and for what else is plain.
fn plain_kind(object: &Bound<'_, PyAny>) -> Result<Option<Value>, Trouble> {
    Ok(Some(if object.is_instance(numpy_scalar(object.py())?)? {
        let item = object.call_method0("item")?;
        return match plain(&item)? {
            Some(plain) => Ok(Some(plain)),
            None => Err(Trouble::of_type(format!(
                "it is a scalar of {}; pass an array of no dimensions, or a number",
                object.get_type()
            ))),
        };
    } else if let Ok(text) = object.cast::<PyString>() {
        Value::Str(utf8(text)?)
    } else if object.is_instance_of::<PyInt>() {
        int(object)?
    } else if let Ok(float) = object.cast::<PyFloat>() {
        Value::Float(float.value())
    } else if let Ok(bytes) = object.cast::<PyBytes>() {
        Value::Bytes(bytes.as_bytes().to_vec())
    } else if let Ok(bytes) = object.cast::<PyByteArray>() {
        Value::Bytes(bytes.to_vec())
    } else if object.is_instance_of::<PyMemoryView>() {
        let bytes = object.call_method0("tobytes")?;
        Value::Bytes(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes().to_vec())
    } else {
        return Ok(None);
    }))
}

fn int(object: &Bound<'_, PyAny>) -> Result<Value, Trouble> {
    const RANGE: core::ops::Range<i128> = -(1 << 64)..1 << 64;
    let found = object.extract::<i128>().ok().filter(|number| RANGE.contains(number));
    found.map(Value::Int).ok_or_else(|| {
        Trouble::of_value("it is an int beyond -2**64 to 2**64 - 1; pass it as text or bytes")
    })
}

fn utf8(text: &Bound<'_, PyString>) -> Result<String, Trouble> {
    let text = text.to_cow().map_err(|_| {
        Trouble::of_value("it is a str that cannot be written as UTF-8; pass bytes")
    })?;
    Ok(text.into_owned())
}

fn key_text(key: &Bound<'_, PyAny>) -> Result<String, Trouble> {
    match key.cast::<PyString>() {
        Ok(text) => utf8(text),
        Err(_) => Err(Trouble::of_type(format!(
            "it has a key of {}; keys of a dict that travels are str",
            key.get_type()
        ))),
    }
}

fn refusal(object: &Bound<'_, PyAny>) -> Trouble {
    Trouble::of_type(format!(
        "it is {}; what travels is None, bool, int, float, str, bytes, list, tuple, dict with str keys, \
         NumPy arrays, tensors with __dlpack__ or __cuda_array_interface__, torch modules, and objects \
         with __share_bundle__()",
        object.get_type()
    ))
}

/// Bytes for a peer that was told to accept them.
fn pickled(object: &Bound<'_, PyAny>) -> Result<Draft, Trouble> {
    let bytes = object.py().import("pickle")?.call_method1("dumps", (object, 5))?;
    let bytes = bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes().to_vec();
    Ok(Draft::Plain(Value::Opaque(Opaque { encoding: PICKLE.to_owned(), bytes })))
}

fn numpy_scalar(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static SCALAR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    SCALAR.import(py, "numpy", "generic")
}

/// What knows torch's objects, if this program has imported torch.
fn torch_hook(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static MODULES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let modules =
        MODULES.get_or_try_init(py, || py.import("sys")?.getattr("modules").map(Bound::unbind))?;
    match modules.bind(py).cast::<PyDict>()?.contains(pyo3::intern!(py, "torch"))? {
        true => py.import("shm_py._share_modules")?.getattr("to_bundle").map(Some),
        false => Ok(None),
    }
}
