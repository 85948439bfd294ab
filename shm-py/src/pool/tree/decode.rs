//! From bytes to a tree. The bytes may be anybody's.

use crate::array::Order;
use crate::pool::lease::Held;
use crate::pool::memory::Form;
use crate::pool::tree::form::{self, ALIGNMENT, MAGIC, MAX_DEPTH, PREFIX, tag};
use pyo3::exceptions::{PyImportError, PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use shm_core::{Dtype, MAX_DIMS};
use std::sync::Arc;

/// The tree of a publication; its arrays keep it held.
pub(crate) fn read<'py>(py: Python<'py>, held: &Arc<Held>) -> PyResult<Bound<'py, PyAny>> {
    let prefix = held.head(py, PREFIX)?;
    let number = |at: usize| {
        let bytes = prefix.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).and_then(|number| usize::try_from(number).ok())
    };
    if !prefix.starts_with(&MAGIC) {
        return Err(damaged("it does not begin as pack() begins; read it with redeem()"));
    }
    let header_len = number(8).filter(|len| (PREFIX..=held.len()).contains(len));
    let Some(header_len) = header_len.filter(|_| number(16) == Some(held.len())) else {
        return Err(damaged("its lengths are not those of the publication"));
    };
    // Copied once: what was checked is what is used.
    let header = held.head(py, header_len)?;
    let data = header_len.next_multiple_of(ALIGNMENT);
    let mut decoder = Decoder { py, held, data, header: &header, at: PREFIX };
    let tree = decoder.node(0)?;
    match decoder.at == header_len {
        true => Ok(tree),
        false => Err(damaged("something follows the tree")),
    }
}

fn damaged(why: &str) -> PyErr {
    PyValueError::new_err(format!("the publication is no packed tree: {why}"))
}

struct Decoder<'a, 'py> {
    py: Python<'py>,
    held: &'a Arc<Held>,
    /// Where the arrays begin.
    data: usize,
    header: &'a [u8],
    at: usize,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn node(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        if depth > MAX_DEPTH {
            return Err(damaged("it is nested too deeply"));
        }
        let tag = self.byte()?;
        match tag {
            tag::LIST => {
                let parts = self.nodes(depth)?;
                Ok(PyList::new(self.py, parts)?.into_any())
            }
            tag::TUPLE => {
                let parts = self.nodes(depth)?;
                Ok(PyTuple::new(self.py, parts)?.into_any())
            }
            tag::DICT => self.dict(depth),
            tag::RECORD => self.record(depth),
            tag::ARRAY => self.array(),
            tag => self.plain(tag),
        }
    }

    fn plain(&mut self, tag: u8) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match tag {
            tag::NONE => py.None().into_bound(py),
            tag::FALSE | tag::TRUE => PyBool::new(py, tag == tag::TRUE).to_owned().into_any(),
            tag::INT => {
                let int = i64::from_le_bytes(self.array_of_bytes()?);
                int.into_pyobject(py)?.into_any()
            }
            tag::LARGE_INT => {
                let bytes = self.run()?;
                let keywords = PyDict::new(py);
                keywords.set_item("signed", true)?;
                let arguments = (PyBytes::new(py, bytes), "little");
                py.get_type::<PyInt>().call_method("from_bytes", arguments, Some(&keywords))?
            }
            tag::FLOAT => PyFloat::new(py, self.float()?).into_any(),
            tag::COMPLEX => {
                let (real, imaginary) = (self.float()?, self.float()?);
                PyComplex::from_doubles(py, real, imaginary).into_any()
            }
            tag::STR => self.text()?.into_any(),
            tag::BYTES => {
                let bytes = self.run()?;
                PyBytes::new(py, bytes).into_any()
            }
            _ => return Err(damaged("it has a node of a kind that does not exist")),
        })
    }

    /// Only what has a hash.
    fn key(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        if depth > MAX_DEPTH + 1 {
            return Err(damaged("it is nested too deeply"));
        }
        match self.byte()? {
            tag::TUPLE => {
                let count = self.count()?;
                let parts =
                    (0..count).map(|_| self.key(depth + 1)).collect::<PyResult<Vec<_>>>()?;
                Ok(PyTuple::new(self.py, parts)?.into_any())
            }
            tag => self.plain(tag),
        }
    }

    fn nodes(&mut self, depth: usize) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let count = self.count()?;
        (0..count).map(|_| self.node(depth + 1)).collect()
    }

    fn dict(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        for _ in 0..self.count()? {
            let key = self.key(depth + 1)?;
            dict.set_item(key, self.node(depth + 1)?)?;
        }
        Ok(dict.into_any())
    }

    fn record(&mut self, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let name = self.text_node()?;
        let count = self.count()?;
        let fields = (0..count).map(|_| self.text_node()).collect::<PyResult<Vec<_>>>()?;
        let fields = PyTuple::new(py, fields)?;
        let class = form::record(py, name.as_any(), fields.as_any())
            .map_err(|error| recast(py, error, "it has a record that cannot be"))?;
        let values = (0..count).map(|_| self.node(depth + 1)).collect::<PyResult<Vec<_>>>()?;
        class.call1(PyTuple::new(py, values)?)
    }

    fn array(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let [code, order, dims] = self.array_of_bytes()?;
        let order = match order {
            0 => Order::C,
            1 => Order::Fortran,
            _ => return Err(damaged("it has an array of an order that does not exist")),
        };
        let Some(dtype) = Dtype::from_code(code) else {
            return Err(damaged("it has an array of a dtype that does not exist"));
        };
        if usize::from(dims) > MAX_DIMS {
            return Err(damaged("it has an array of too many dimensions"));
        }
        let shape = (0..dims).map(|_| self.number()).collect::<PyResult<Vec<_>>>()?;
        let offset = self.number()?;
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(damaged("it has an array that is not aligned"));
        }
        let start = self.data.checked_add(offset).ok_or_else(|| damaged("an offset overflows"))?;
        let form = Form::new(form::descr(self.py, dtype)?, shape, order)?;
        // An empty array may lie behind the end, where there is nothing to keep.
        let start = if form.len == 0 { 0 } else { start };
        let array = self.held.view(self.py, &form, start);
        Ok(array
            .map_err(|error| recast(self.py, error, "it has an array outside of it"))?
            .into_any())
    }

    fn text_node(&mut self) -> PyResult<Bound<'py, PyString>> {
        match self.byte()? {
            tag::STR => self.text(),
            _ => Err(damaged("it has a name that is no str")),
        }
    }

    fn text(&mut self) -> PyResult<Bound<'py, PyString>> {
        let py = self.py;
        let bytes = self.run()?;
        let text =
            core::str::from_utf8(bytes).map_err(|_| damaged("it has a str that is not UTF-8"))?;
        Ok(PyString::new(py, text))
    }

    fn float(&mut self) -> PyResult<f64> {
        Ok(f64::from_le_bytes(self.array_of_bytes()?))
    }

    fn byte(&mut self) -> PyResult<u8> {
        Ok(self.array_of_bytes::<1>()?[0])
    }

    fn number(&mut self) -> PyResult<usize> {
        let number = u64::from_le_bytes(self.array_of_bytes()?);
        usize::try_from(number).map_err(|_| damaged("a number in it is too large"))
    }

    /// A number of things that follow, each of at least a byte.
    fn count(&mut self) -> PyResult<usize> {
        let count = self.number()?;
        match count <= self.header.len() - self.at {
            true => Ok(count),
            false => Err(damaged("it ends too early")),
        }
    }

    fn run(&mut self) -> PyResult<&'a [u8]> {
        let len = self.count()?;
        self.take(len)
    }

    fn array_of_bytes<const N: usize>(&mut self) -> PyResult<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn take(&mut self, len: usize) -> PyResult<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.header.len());
        let Some(end) = end else { return Err(damaged("it ends too early")) };
        let bytes = &self.header[self.at..end];
        self.at = end;
        Ok(bytes)
    }
}

/// What Python says of bytes that make no sense, as what it means.
fn recast(py: Python<'_>, error: PyErr, why: &str) -> PyErr {
    let own =
        error.is_instance_of::<PyMemoryError>(py) || error.is_instance_of::<PyImportError>(py);
    let meant = error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyTypeError>(py);
    if own || !meant {
        return error;
    }
    let recast = damaged(why);
    recast.set_cause(py, Some(error));
    recast
}
