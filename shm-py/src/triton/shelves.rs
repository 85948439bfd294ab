//! Memory of large outputs, used again when Python has dropped them.
//!
//! A fresh array of megabytes costs as much in page faults as in copying.

use crate::array::ArrayForm;
use crate::recycling::{Shelf, WORTH_KEEPING};
use numpy::PyUntypedArray;
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::sync::Arc;

/// A shelf for each output of a model, for arrays of the size that was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    shelves: Mutex<Vec<(usize, Arc<Shelf>)>>,
}

impl Shelves {
    /// A writable array for output number `output`, whose bytes are not set yet.
    pub(crate) fn array<'py>(
        &self,
        py: Python<'py>,
        output: usize,
        form: &ArrayForm,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        if form.byte_len < WORTH_KEEPING {
            return form.empty(py);
        }
        self.shelf(output, form.byte_len).array(py, form)
    }

    fn shelf(&self, output: usize, bytes: usize) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock();
        if shelves.len() <= output {
            shelves.resize_with(output + 1, Default::default);
        }
        let (size, shelf) = &mut shelves[output];
        if *size != bytes {
            // Memory of another size goes where it came from.
            (*size, *shelf) = (bytes, Arc::default());
        }
        shelf.clone()
    }
}
