//! Ctrl-C during an inference.
//!
//! Upholds invariant 5.

use crate::interpreter;
use parking_lot::Mutex;
use pyo3::prelude::*;
use shm_triton::Options;
use std::sync::Arc;

/// What a signal handler has raised while a call was waiting.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Interrupt {
    /// Has calls with these options run the handlers of signals, and end if one raises.
    pub(crate) fn watch(&self, options: Options) -> Options {
        let raised = self.raised.clone();
        options.interrupt(move || {
            // Of several threads of one call, one hears of it, and all end.
            if raised.lock().is_some() {
                return true;
            }
            // `None` when the interpreter is going away.
            match interpreter::visit(|py| py.check_signals()) {
                Some(Ok(())) => false,
                Some(Err(error)) => {
                    *raised.lock() = Some(error);
                    true
                }
                None => true,
            }
        })
    }

    /// Raises it, whatever came of the call.
    pub(crate) fn check(&self) -> PyResult<()> {
        self.raised.lock().take().map_or(Ok(()), Err)
    }
}
