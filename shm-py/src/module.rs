//! The extension module.

use crate::cuda;
use crate::errors::{FrameOverwrittenError, InconsistentStreamError, StaleStreamError};
use crate::handle::SharedMemory;
use crate::pool;
use crate::publication::Publication;
use crate::view::FrameView;
use crate::write_view::WriteView;
use crate::{command_line, creation, discovery, interpreter, share, triton};
use pyo3::prelude::*;

/// What Python imports as `shm_py._native`, and `shm_py` re-exports. A Rust program that embeds
/// Python can put it among its built-in modules, as the example of this crate shows.
#[pymodule(gil_used = false)]
pub fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // NumPy's functions are looked up once, by code in Python that Ctrl-C could end in the middle of any call.
    let _ = numpy::dtype::<u8>(py);
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("InconsistentStreamError", py.get_type::<InconsistentStreamError>())?;
    module.add("FrameOverwrittenError", py.get_type::<FrameOverwrittenError>())?;
    module.add("StaleStreamError", py.get_type::<StaleStreamError>())?;
    module.add_class::<SharedMemory>()?;
    module.add_class::<Publication>()?;
    module.add_class::<FrameView>()?;
    module.add_class::<WriteView>()?;
    module.add_function(wrap_pyfunction!(creation::create, module)?)?;
    module.add_function(wrap_pyfunction!(creation::open, module)?)?;
    module.add_function(wrap_pyfunction!(creation::_reopen, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::unlink_by_name, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::unlink_quiet, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::list_streams, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::stat, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::_purge, module)?)?;
    module.add_function(wrap_pyfunction!(discovery::gc, module)?)?;
    module.add_function(wrap_pyfunction!(command_line::_shm, module)?)?;
    interpreter::register(module)?;
    cuda::register(module)?;
    pool::register(module)?;
    triton::register(module)?;
    share::register(module)
}
