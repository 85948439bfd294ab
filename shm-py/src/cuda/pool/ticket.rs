//! What travels between processes in the place of a device tensor.
//!
//! Upholds invariant 2: the form that a ticket tells is checked before it is believed, and again with
//! what was published.

use crate::cuda::layout::Layout;
use crate::dtype;
use crate::pool::ticket::Ticket;
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};
use shm_core::Dtype;

/// Names one publication of a DevicePool, and says what tensor it is: a Ticket, a dtype and a shape. It
/// travels by any channel (a multiprocessing.Queue, a socket, bytes(ticket)). Made by
/// DeviceSlot.publish() and DevicePool.put(), redeemed by DeviceConsumer.redeem().
///
/// A ticket is worth nothing by itself: one that is late, forged or of another pool is refused. It may
/// be copied and pickled; each consumer redeems it once.
#[pyclass(frozen, eq, module = "shm_py")]
#[derive(Clone, PartialEq)]
pub(crate) struct DeviceTicket {
    pub(crate) ticket: shm_pool::Ticket,
    pub(crate) layout: Layout,
}

/// Of the encoding.
const VERSION: u8 = 1;
const HEAD: usize = shm_pool::Ticket::LEN + 3;

impl DeviceTicket {
    /// A ticket whose form is no larger than what was published.
    pub(crate) fn new(ticket: shm_pool::Ticket, layout: Layout) -> PyResult<DeviceTicket> {
        let wanted = layout.byte_len() as u64;
        if wanted > ticket.byte_len {
            return Err(PyValueError::new_err(format!(
                "the ticket is of {} bytes, and its tensor would need {wanted}; pass tickets on unchanged",
                ticket.byte_len
            )));
        }
        Ok(DeviceTicket { ticket, layout })
    }

    /// Reads a DeviceTicket, or a Ticket, which is of bytes.
    pub(crate) fn from_argument(given: &Bound<'_, PyAny>) -> PyResult<DeviceTicket> {
        if let Ok(ticket) = given.cast::<DeviceTicket>() {
            return Ok(ticket.get().clone());
        }
        if let Ok(ticket) = given.cast::<Ticket>() {
            let ticket = ticket.get().0;
            let len = usize::try_from(ticket.byte_len).unwrap_or(0);
            return DeviceTicket::new(ticket, Layout::contiguous(Dtype::U8, &[len])?);
        }
        Err(PyTypeError::new_err(format!(
            "ticket is {}; expected a DeviceTicket, or a Ticket",
            given.get_type()
        )))
    }

    fn encode(&self) -> Vec<u8> {
        let Layout { dtype, shape, .. } = &self.layout;
        let mut bytes = self.ticket.to_bytes().to_vec();
        bytes.extend([VERSION, dtype.code(), shape.len() as u8]);
        bytes.extend(shape.iter().flat_map(|&dim| (dim as u64).to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> PyResult<DeviceTicket> {
        let bad = |what: String| {
            PyValueError::new_err(format!(
                "these bytes are no device ticket: {what}; pass them on unchanged"
            ))
        };
        let Some((head, dims)) = bytes.split_at_checked(HEAD) else {
            return Err(bad(format!("there are {}, expected at least {HEAD}", bytes.len())));
        };
        let (ticket, form) = head.split_at(shm_pool::Ticket::LEN);
        let ticket = shm_pool::Ticket::from_bytes(ticket)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let &[version, code, rank] = form else {
            return Err(bad("the head is cut off".to_owned()));
        };
        if version != VERSION {
            return Err(bad(format!("version {version}, expected {VERSION}")));
        }
        let dtype = Dtype::from_code(code).ok_or_else(|| bad(format!("dtype code {code}")))?;
        if dims.len() != usize::from(rank) * 8 {
            return Err(bad(format!("{} bytes of shape for {rank} dimensions", dims.len())));
        }
        let (dims, _) = dims.as_chunks::<8>();
        let shape: Option<Vec<usize>> =
            dims.iter().map(|&dim| usize::try_from(u64::from_le_bytes(dim)).ok()).collect();
        let shape = shape.ok_or_else(|| bad("a dimension does not fit this machine".to_owned()))?;
        DeviceTicket::new(ticket, Layout::contiguous(dtype, &shape)?)
    }
}

#[pymethods]
impl DeviceTicket {
    /// The ticket that bytes(ticket) was.
    ///
    /// Raises ValueError for anything else.
    #[classmethod]
    #[pyo3(signature = (data))]
    fn from_bytes(cls: &Bound<'_, PyType>, data: &Bound<'_, PyAny>) -> PyResult<DeviceTicket> {
        let _ = cls;
        let bytes: Vec<u8> = data.extract().map_err(|_| {
            PyTypeError::new_err(format!("a ticket is made of bytes, not of {}", data.get_type()))
        })?;
        DeviceTicket::decode(&bytes)
    }

    /// The publication alone: what Queue, DevicePool.revoke() and Rust programs know.
    #[getter]
    fn ticket(&self) -> Ticket {
        Ticket(self.ticket)
    }

    /// Shape of the tensor: a tuple of int.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.layout.shape)
    }

    /// Element type of the tensor: a numpy.dtype.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        dtype::to_numpy(py, self.layout.dtype)
    }

    /// Bytes of the tensor.
    #[getter]
    fn nbytes(&self) -> usize {
        self.layout.byte_len()
    }

    /// Number of the slot.
    #[getter]
    fn index(&self) -> u32 {
        self.ticket.index
    }

    /// Which use of the slot; never the same again.
    #[getter]
    fn generation(&self) -> u64 {
        self.ticket.generation
    }

    /// Random id of the pool, as in DevicePool.instance: sixteen bytes.
    #[getter]
    fn pool<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.ticket.instance)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.encode())
    }

    fn __hash__(&self) -> u64 {
        self.ticket.generation ^ u64::from(self.ticket.index).rotate_left(40)
    }

    fn __repr__(&self) -> String {
        format!(
            "DeviceTicket(index={}, generation={}, shape={}, dtype='{}')",
            self.ticket.index,
            self.ticket.generation,
            crate::array::shape_text(&self.layout.shape),
            self.layout.dtype.name(),
        )
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let make = py.get_type::<DeviceTicket>().getattr("from_bytes")?;
        (make, (self.__bytes__(py),)).into_pyobject(py)
    }
}
