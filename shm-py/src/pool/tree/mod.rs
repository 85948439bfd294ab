//! Trees of arrays in one slot.
//!
//! Upholds invariants 2 (what describes a tree is copied out once and checked, and nothing in it names
//! code to run) and 7 (a tree that cannot be packed whole is not lent at all).

mod decode;
mod encode;
mod form;

pub(crate) use decode::read;

use crate::pool::handle::Pool;
use crate::pool::lease::Lease;
use crate::pool::lending;
use crate::pool::slot::Slot;
use crate::wait;
use pyo3::prelude::*;
use shm_core::Deadline;
use shm_pool::Policy;

/// Packs a tree into a slot that is lent from `pool`, to be published. The tree is made of dict, list,
/// tuple, namedtuple, dataclass, None, bool, int, float, complex, str, bytes, numpy arrays and scalars, and anything
/// that numpy.asarray or numpy.from_dlpack takes. `timeout` and `policy` are as for Pool.lend().
///
/// Arrays are copied in, each aligned to 64 bytes; C and Fortran order are kept, other layouts become
/// C order. Nothing is pickled. Consumer.unpack() and unpack() read it.
///
/// Raises TypeError for what cannot be packed, saying where it is; ValueError for a tree that is too
/// deep, refers to itself, or does not fit; else as Pool.lend() does. Nothing stays lent.
#[pyfunction]
#[pyo3(signature = (pool, tree, timeout = None, policy = "block"))]
pub(crate) fn pack<'py>(
    py: Python<'py>,
    pool: &Bound<'py, Pool>,
    tree: &Bound<'py, PyAny>,
    timeout: Option<f64>,
    policy: &str,
) -> PyResult<Bound<'py, Slot>> {
    let (policy, deadline) = (lending::policy(policy)?, wait::deadline(timeout)?);
    write(py, pool.get(), tree, policy, deadline)
}

/// The tree that pack() made a publication from. Arrays are read-only views of shared memory, which
/// keep the publication held until the last of them is gone, or until lease.release(). dicts keep their
/// order; a namedtuple or dataclass comes back as a namedtuple of the same name and fields; a numpy
/// scalar as an array of no dimensions.
///
/// Raises ValueError for a publication that pack() did not make, or a lease that was released;
/// PoolError in a forked child.
#[pyfunction]
#[pyo3(signature = (lease))]
pub(crate) fn unpack<'py>(
    py: Python<'py>,
    lease: &Bound<'py, Lease>,
) -> PyResult<Bound<'py, PyAny>> {
    read(py, lease.get().held())
}

/// Packs a tree into a slot; on any error the slot is given back.
pub(crate) fn write<'py>(
    py: Python<'py>,
    pool: &Pool,
    tree: &Bound<'py, PyAny>,
    policy: Policy,
    deadline: Deadline,
) -> PyResult<Bound<'py, Slot>> {
    let packed = encode::encode(tree)?;
    let slot = pool.lend_within(py, packed.total(), policy, deadline)?;
    match packed.fill(py, slot.get()) {
        Ok(()) => Ok(slot),
        Err(error) => {
            slot.call_method0("abort")?;
            Err(error)
        }
    }
}
