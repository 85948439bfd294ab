//! The program `shm`, for the console script of the wheel and for `python -m shm_py`.

use pyo3::prelude::*;
use std::ffi::OsString;
use std::io::Write;

/// Runs the program `shm` with these arguments, without its name, and returns its exit code. It prints to
/// the descriptors of standard output and standard error. The interpreter is not held meanwhile; Ctrl-C is
/// heard only if Python's own handler of SIGINT is out of the way.
#[pyfunction]
pub(crate) fn _shm(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    let relaunch = relaunch(py)?;
    let command_line = std::iter::once(OsString::from("shm")).chain(arguments);
    let exit = py.detach(|| shm_pool::cli::run_as(command_line, relaunch));
    // Nothing else empties this buffer when Python ends. A reader that has gone away needs nothing.
    let _ = std::io::stdout().flush();
    Ok(exit)
}

/// What starts the program again: the executable of this process is Python. Nothing, if Python does not know
/// its own.
fn relaunch(py: Python<'_>) -> PyResult<Vec<OsString>> {
    let python: Option<OsString> = py.import("sys")?.getattr("executable")?.extract()?;
    Ok(match python.filter(|python| !python.is_empty()) {
        Some(python) => vec![python, "-m".into(), "shm_py".into()],
        None => Vec::new(),
    })
}
