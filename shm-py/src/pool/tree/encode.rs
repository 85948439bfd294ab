//! From a tree to bytes.

use crate::array::{self, Bytes, Order};
use crate::dtype;
use crate::errors;
use crate::pool::memory::{Form, Place};
use crate::pool::slot::Slot;
use crate::pool::tree::form::{self, ALIGNMENT, MAGIC, MAX_DEPTH, PREFIX, tag};
use crate::reading::WORTH_RELEASING;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyComplexMethods, PyDict, PyFloat, PyInt, PyList, PyString,
    PyTuple, PyType,
};

/// A tree that can be packed, and how.
pub(super) struct Packed<'py> {
    header: Vec<u8>,
    arrays: Vec<Member<'py>>,
    total: usize,
}

/// An array of the tree.
struct Member<'py> {
    source: Bound<'py, PyUntypedArray>,
    form: Form<'py>,
    /// After the header.
    offset: usize,
}

/// Looks at the whole tree; nothing is lent yet.
pub(super) fn encode<'py>(tree: &Bound<'py, PyAny>) -> PyResult<Packed<'py>> {
    let mut encoder = Encoder { nodes: vec![0; PREFIX], arrays: Vec::new(), data_len: 0 };
    encoder.node(tree, 0).map_err(Trouble::into_error)?;
    let Encoder { nodes: mut header, arrays, data_len } = encoder;
    let header_len = header.len();
    let total = header_len.next_multiple_of(ALIGNMENT).checked_add(data_len);
    let total = total.filter(|_| !arrays.is_empty()).unwrap_or(header_len);
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&(header_len as u64).to_le_bytes());
    header[16..24].copy_from_slice(&(total as u64).to_le_bytes());
    Ok(Packed { header, arrays, total })
}

impl Packed<'_> {
    /// Bytes that it needs.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Copies everything into a slot of as many bytes.
    pub(super) fn fill(&self, py: Python<'_>, slot: &Slot) -> PyResult<()> {
        let place = slot.place(py)?;
        assert!(self.header.len() <= place.len, "a slot of {} bytes was asked for", self.total);
        // SAFETY: as many writable bytes, by the assertion, of a slot that is lent to this process and
        // mapped while `slot` is borrowed; the header is this process's own memory.
        unsafe { shm_core::copy::copy_in(place.start, self.header.as_ptr(), self.header.len()) };
        let data = self.header.len().next_multiple_of(ALIGNMENT);
        for Member { source, form, offset } in &self.arrays {
            copy(py, source, slot, form, data + offset, place)?;
        }
        Ok(())
    }
}

fn copy<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyUntypedArray>,
    slot: &Slot,
    form: &Form<'py>,
    offset: usize,
    place: Place,
) -> PyResult<()> {
    if form.len == 0 {
        return Ok(());
    }
    // Checks that it fits, also for the copy past NumPy.
    let target = slot.view(py, form, offset)?;
    let same = form.order == Order::C
        && source.is_c_contiguous()
        && source.is_aligned()
        && source.dtype().is_equiv_to(&form.descr);
    let bytes = Bytes::of(source, form.len);
    if !same || bytes.overlaps(place.start, place.len) {
        return array::convert_into(&target, source);
    }
    let at = Address(place.start.wrapping_add(offset));
    // SAFETY: `source` is alive through this call, contiguous, and `len` bytes long, as its shape and
    // dtype are those of the form; `target` was just made over as many bytes at `offset`, of a slot
    // that is lent to this process, and lies elsewhere.
    let fill = move || unsafe { bytes.give(at.get()) };
    match bytes.len() >= WORTH_RELEASING {
        true => py.detach(fill),
        false => fill(),
    }
    // The slot stays lent, and mapped, until here.
    drop(target);
    Ok(())
}

/// A tree being written.
struct Encoder<'py> {
    nodes: Vec<u8>,
    arrays: Vec<Member<'py>>,
    data_len: usize,
}

/// Why a tree cannot be packed.
enum Trouble {
    /// What is wrong, and where: steps from the inside out.
    Refused { is_type: bool, why: String, path: Vec<String> },
    /// Raised by the tree's own objects.
    Python(PyErr),
}

impl From<PyErr> for Trouble {
    fn from(error: PyErr) -> Trouble {
        Trouble::Python(error)
    }
}

impl Trouble {
    fn of_type(why: String) -> Trouble {
        Trouble::Refused { is_type: true, why, path: Vec::new() }
    }

    fn of_value(why: String) -> Trouble {
        Trouble::Refused { is_type: false, why, path: Vec::new() }
    }

    fn inside(mut self, step: impl FnOnce() -> PyResult<String>) -> Trouble {
        if let Trouble::Refused { path, .. } = &mut self {
            match step() {
                Ok(step) => path.push(step),
                Err(interrupt) => return Trouble::Python(interrupt),
            }
        }
        self
    }

    fn into_error(self) -> PyErr {
        match self {
            Trouble::Python(error) => error,
            Trouble::Refused { is_type, why, path } => {
                // Deep paths are those of trees that refer to themselves.
                let shown: String = path.iter().rev().take(8).map(String::as_str).collect();
                let rest = if path.len() > 8 { "..." } else { "" };
                let text = format!("cannot pack tree{shown}{rest}: {why}");
                if is_type { PyTypeError::new_err(text) } else { PyValueError::new_err(text) }
            }
        }
    }
}

impl<'py> Encoder<'py> {
    fn node(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Result<(), Trouble> {
        if depth > MAX_DEPTH {
            return Err(Trouble::of_value(format!(
                "it is nested deeper than {MAX_DEPTH} levels, or refers to itself"
            )));
        }
        if self.plain(value)? {
            return Ok(());
        }
        if let Ok(array) = value.cast::<PyUntypedArray>() {
            return self.array(array.clone());
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            return self.dict(dict, depth);
        }
        if let Ok(list) = value.cast::<PyList>() {
            self.tag(tag::LIST);
            return self.sequence(list.iter(), depth);
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            if !value.is_exact_instance_of::<PyTuple>()
                && let Some(fields) = fields_of(value)?
            {
                return self.record(value, &fields, tuple.iter(), depth);
            }
            self.tag(tag::TUPLE);
            return self.sequence(tuple.iter(), depth);
        }
        self.other(value, depth)
    }

    /// What has no parts, by its exact type; also what may be a key.
    fn plain(&mut self, value: &Bound<'py, PyAny>) -> Result<bool, Trouble> {
        if value.is_none() {
            self.tag(tag::NONE);
        } else if value.is_exact_instance_of::<PyString>() {
            self.text(value)?;
        } else if value.is_exact_instance_of::<PyInt>() {
            self.int(value)?;
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.tag(if truth.is_true() { tag::TRUE } else { tag::FALSE });
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.tag(tag::FLOAT);
            self.nodes.extend(float.value().to_le_bytes());
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.tag(tag::BYTES);
            self.run(bytes.as_bytes());
        } else if let Ok(complex) = value.cast_exact::<PyComplex>() {
            self.tag(tag::COMPLEX);
            self.nodes.extend(complex.real().to_le_bytes());
            self.nodes.extend(complex.imag().to_le_bytes());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn key(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Result<(), Trouble> {
        if self.plain(value)? {
            return Ok(());
        }
        match value.cast_exact::<PyTuple>() {
            Ok(tuple) if depth <= MAX_DEPTH => {
                self.tag(tag::TUPLE);
                self.count(tuple.len());
                tuple.iter().try_for_each(|part| self.key(&part, depth + 1))
            }
            _ => Err(Trouble::of_type(format!(
                "a key is {}; keys are None, bool, int, float, complex, str, bytes and tuples of them",
                value.get_type()
            ))),
        }
    }

    fn dict(&mut self, dict: &Bound<'py, PyDict>, depth: usize) -> Result<(), Trouble> {
        self.tag(tag::DICT);
        // A copy: the arrays' own code may change the dict.
        let items = dict.items();
        self.count(items.len());
        for item in items.iter() {
            let (key, value) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            self.key(&key, depth + 1)?;
            self.node(&value, depth + 1)
                .map_err(|trouble| trouble.inside(|| Ok(format!("[{}]", errors::shown(&key)?))))?;
        }
        Ok(())
    }

    fn sequence(
        &mut self,
        parts: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<(), Trouble> {
        let at = self.nodes.len();
        self.count(0);
        let mut count = 0_u64;
        for part in parts {
            let node = self.node(&part, depth + 1);
            node.map_err(|trouble| trouble.inside(|| Ok(format!("[{count}]"))))?;
            count += 1;
        }
        // Known only now: the arrays' own code may change the list.
        self.nodes[at..at + 8].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    fn record(
        &mut self,
        value: &Bound<'py, PyAny>,
        fields: &Bound<'py, PyTuple>,
        parts: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> Result<(), Trouble> {
        let (py, name) = (value.py(), value.get_type().name()?);
        // Whatever is refused when it is read had better be refused now.
        form::record(py, name.as_any(), fields.as_any()).map_err(|error| {
            Trouble::of_type(format!("{}: {}", value.get_type(), error.value(py)))
        })?;
        self.tag(tag::RECORD);
        self.text(name.as_any())?;
        self.count(fields.len());
        for field in fields.iter() {
            self.text(&field)?;
        }
        let parts: Vec<_> = parts.collect();
        if parts.len() != fields.len() {
            return Err(Trouble::of_type(format!(
                "{} has {} fields and {} values",
                value.get_type(),
                fields.len(),
                parts.len()
            )));
        }
        for (part, field) in parts.iter().zip(fields.iter()) {
            self.node(part, depth + 1)
                .map_err(|trouble| trouble.inside(|| Ok(format!(".{field}"))))?;
        }
        Ok(())
    }

    /// Subclasses of plain types, and what can be seen as an array.
    fn other(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> Result<(), Trouble> {
        let py = value.py();
        // A class has the attributes of its instances, and is none of them.
        let is_class = value.is_instance_of::<PyType>();
        if !is_class && value.hasattr("__array__")? {
            return self.array(array::as_array(value, None)?);
        }
        if !is_class && value.hasattr("__dlpack__")? {
            let array = py.import("numpy")?.call_method1("from_dlpack", (value,))?;
            return self.array(array.cast_into().map_err(PyErr::from)?);
        }
        if !is_class && value.hasattr("__dataclass_fields__")? {
            let fields = py.import("dataclasses")?.call_method1("fields", (value,))?;
            let names = fields.try_iter()?.map(|field| field?.getattr("name"));
            let names = PyTuple::new(py, names.collect::<PyResult<Vec<_>>>()?)?;
            let values = names.iter().map(|name| value.getattr(name.cast::<PyString>()?));
            let values = values.collect::<PyResult<Vec<_>>>()?;
            return self.record(value, &names, values.into_iter(), depth);
        }
        if value.is_instance_of::<PyInt>() {
            return self.int(value);
        }
        if value.is_instance_of::<PyString>() {
            return self.text(value);
        }
        if let Ok(float) = value.cast::<PyFloat>() {
            self.tag(tag::FLOAT);
            self.nodes.extend(float.value().to_le_bytes());
            return Ok(());
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            self.tag(tag::BYTES);
            self.run(bytes.as_bytes());
            return Ok(());
        }
        Err(Trouble::of_type(format!(
            "it is {}; pack dict, list, tuple, namedtuple, dataclass, None, bool, int, float, complex, \
             str, bytes, and what numpy.asarray takes",
            value.get_type()
        )))
    }

    fn array(&mut self, source: Bound<'py, PyUntypedArray>) -> Result<(), Trouble> {
        let py = source.py();
        if source.hasattr("mask")? {
            return Err(Trouble::of_type(
                "it is a masked array; pack its data and its mask, or filled()".to_owned(),
            ));
        }
        let descr = dtype::native(&source.dtype())?;
        let code = dtype::to_core(&descr)
            .map_err(|error| Trouble::of_type(error.value(py).to_string()))?
            .code();
        let fortran = source.is_fortran_contiguous() && !source.is_c_contiguous();
        let order = if fortran { Order::Fortran } else { Order::C };
        let form = Form::new(descr, source.shape().to_vec(), order)
            .map_err(|error| Trouble::of_value(error.value(py).to_string()))?;
        let offset = self.data_len.next_multiple_of(ALIGNMENT);
        self.tag(tag::ARRAY);
        self.nodes.extend([code, u8::from(fortran), form.shape.len() as u8]);
        for &dim in &form.shape {
            self.count(dim);
        }
        self.count(offset);
        self.data_len = offset
            .checked_add(form.len)
            .filter(|&bytes| bytes < isize::MAX as usize / 2)
            .ok_or_else(|| Trouble::of_value("it has more bytes than any memory".to_owned()))?;
        self.arrays.push(Member { source, form, offset });
        Ok(())
    }

    fn int(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Trouble> {
        if let Ok(small) = value.extract::<i64>() {
            self.tag(tag::INT);
            self.nodes.extend(small.to_le_bytes());
            return Ok(());
        }
        let py = value.py();
        let bits: usize = value.call_method0("bit_length")?.extract()?;
        let keywords = PyDict::new(py);
        keywords.set_item("signed", true)?;
        let bytes = value.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&keywords))?;
        self.tag(tag::LARGE_INT);
        self.run(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes());
        Ok(())
    }

    fn text(&mut self, value: &Bound<'py, PyAny>) -> Result<(), Trouble> {
        let text = value.cast::<PyString>().map_err(PyErr::from)?;
        let text = text.to_cow().map_err(|_| {
            Trouble::of_value("it is a str that cannot be written as UTF-8".to_owned())
        })?;
        self.tag(tag::STR);
        self.run(text.as_bytes());
        Ok(())
    }

    fn tag(&mut self, tag: u8) {
        self.nodes.push(tag);
    }

    fn count(&mut self, count: usize) {
        self.nodes.extend((count as u64).to_le_bytes());
    }

    fn run(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.nodes.extend_from_slice(bytes);
    }
}

/// The fields of a namedtuple.
fn fields_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let fields = value.get_type().getattr("_fields").ok();
    Ok(fields.and_then(|fields| fields.cast_into::<PyTuple>().ok()))
}

/// An address that a copy on this thread goes to.
#[derive(Clone, Copy)]
struct Address(*mut u8);

// SAFETY: an address; who copies vouches for what lies there.
unsafe impl Send for Address {}

impl Address {
    fn get(self) -> *mut u8 {
        self.0
    }
}
