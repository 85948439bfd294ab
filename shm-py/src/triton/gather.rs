//! Outputs of chunks, copied from the slots into arrays of all samples as they arrive.
//!
//! Upholds invariant 7: a chunk that does not fit the others is an error, never written elsewhere.

use crate::array::ArrayForm;
use crate::triton::output::{Target, items};
use crate::triton::shelves::Shelves;
use crate::triton::specs;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use shm_triton::{Chunk, DataType, InferError, ModelSpec, OutputError, Outputs};

/// What ends an inference: the client's error, or one of Python's.
pub(crate) enum Failed {
    Infer(InferError),
    Python(PyErr),
}

impl From<InferError> for Failed {
    fn from(error: InferError) -> Failed {
        Failed::Infer(error)
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Failed {
        Failed::Python(error)
    }
}

/// The outputs of all samples.
pub(crate) struct Gather<'s> {
    spec: &'s ModelSpec,
    shelves: &'s Shelves,
    samples: usize,
    wholes: Vec<Whole>,
}

struct Whole {
    name: String,
    /// Of all samples.
    shape: Vec<i64>,
    content: Content,
}

enum Content {
    Array {
        array: Py<PyUntypedArray>,
        form: ArrayForm,
    },
    /// By the first sample of their chunk.
    Items(Vec<(usize, Vec<Vec<u8>>)>),
}

impl<'s> Gather<'s> {
    /// For so many samples in all.
    pub(crate) fn new(spec: &'s ModelSpec, shelves: &'s Shelves, samples: usize) -> Gather<'s> {
        Gather { spec, shelves, samples, wholes: Vec::new() }
    }

    /// Copies the outputs of one chunk.
    pub(crate) fn add(&mut self, chunk: &Chunk<'_>) -> Result<(), Failed> {
        let outputs = chunk.outputs;
        if self.wholes.is_empty() {
            let wholes = || outputs.names().map(|name| self.whole(outputs, name)).collect();
            let wholes: Result<Vec<Whole>, Failed> = wholes();
            self.wholes = wholes?;
        }
        let batched = self.spec.max_batch_size > 0;
        for whole in &mut self.wholes {
            let name = whole.name.as_str();
            let (found, skip) = (outputs.shape(name).map_err(wrong)?, usize::from(batched));
            if found.get(skip..) != whole.shape.get(skip..) {
                let (name, mut expected) = (name.to_owned(), whole.shape.clone());
                if let (true, Some(first)) = (batched, expected.first_mut()) {
                    *first = chunk.samples as i64;
                }
                return Err(wrong(OutputError::Shape { name, expected, found: found.to_vec() }));
            }
            match &mut whole.content {
                Content::Items(chunks) => {
                    let items = outputs.items(name).map_err(wrong)?;
                    chunks.push((chunk.first, items.into_iter().map(<[u8]>::to_vec).collect()));
                }
                Content::Array { array, form } => {
                    let bytes = outputs.bytes(name).map_err(wrong)?;
                    let at = match batched {
                        true => form.byte_len / self.samples.max(1) * chunk.first,
                        false => 0,
                    };
                    let target = Python::attach(|py| Target::of(array.bind(py), form));
                    target.fill(at, bytes);
                }
            }
        }
        Ok(())
    }

    /// Everything, by name.
    pub(crate) fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let arrays = PyDict::new(py);
        for Whole { name, shape, content } in self.wholes {
            match content {
                Content::Array { array, .. } => arrays.set_item(name, array)?,
                Content::Items(mut chunks) => {
                    chunks.sort_by_key(|(first, _)| *first);
                    let all: Vec<Vec<u8>> =
                        chunks.into_iter().flat_map(|(_, items)| items).collect();
                    arrays.set_item(name, items(py, &all, &shape)?)?;
                }
            }
        }
        Ok(arrays)
    }

    fn whole(&self, outputs: &Outputs<'_>, name: &str) -> Result<Whole, Failed> {
        let datatype = outputs.datatype(name).map_err(wrong)?;
        let mut shape = outputs.shape(name).map_err(wrong)?.to_vec();
        if let (true, Some(first)) = (self.spec.max_batch_size > 0, shape.first_mut()) {
            *first = self.samples as i64;
        }
        let content = match datatype {
            DataType::Bytes => Content::Items(Vec::new()),
            _ => Python::attach(|py| -> PyResult<Content> {
                let form = specs::form(py, name, datatype, &shape)?;
                let output = specs::output_index(self.spec, name);
                let array = self.shelves.array(py, output, &form)?.unbind();
                Ok(Content::Array { array, form })
            })?,
        };
        Ok(Whole { name: name.to_owned(), shape, content })
    }
}

fn wrong(error: OutputError) -> Failed {
    Failed::Infer(error.into())
}
