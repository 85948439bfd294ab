//! Tickets, which travel by any channel.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names one publication: forty bytes that travel by any channel (a multiprocessing.Queue, a socket,
/// bytes(ticket)). Made by Slot.publish(), redeemed by Consumer.redeem().
///
/// A ticket is worth nothing by itself: one that is late, forged or of another pool is refused. It may
/// be copied and pickled; each consumer redeems it once.
#[pyclass(frozen, eq, module = "shm_py")]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Ticket(pub(crate) shm_pool::Ticket);

#[pymethods]
impl Ticket {
    /// The ticket that bytes(ticket) was.
    ///
    /// Raises ValueError unless there are exactly forty bytes.
    #[classmethod]
    #[pyo3(signature = (data))]
    fn from_bytes(cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<Ticket> {
        let _ = cls;
        let bytes: Vec<u8> = data.extract().map_err(|_| {
            PyTypeError::new_err(format!("a ticket is made of bytes, not of {}", data.get_type()))
        })?;
        let ticket = shm_pool::Ticket::from_bytes(&bytes);
        ticket.map(Ticket).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Bytes of the publication.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.0.byte_len
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> u32 {
        self.0.index
    }

    /// Which use of the slot; never the same again.
    #[getter]
    fn generation(&self) -> u64 {
        self.0.generation
    }

    /// How many slots the publication has: 1, unless a Rust program published a batch.
    #[getter]
    fn parts(&self) -> u32 {
        self.0.parts
    }

    /// Random id of the pool, as in Pool.instance: sixteen bytes.
    #[getter]
    fn pool<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.instance)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let shm_pool::Ticket { generation, index, byte_len, instance, .. } = self.0;
        let pool: String = instance[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("Ticket(pool={pool}..., index={index}, generation={generation}, nbytes={byte_len})")
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let make = py.get_type::<Ticket>().getattr("from_bytes")?;
        (make, (self.__bytes__(py),)).into_pyobject(py)
    }
}
