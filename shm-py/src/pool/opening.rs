//! How pools come to be, and how they are waited for.
//!
//! Upholds invariant 9 through [`shm_pool`]; what Python programs pass is checked here.

use crate::creation::{self, Metadata};
use crate::pool::arguments::{self, Size};
use crate::pool::errors;
use crate::pool::handle::Pool;
use crate::wait;
use pyo3::prelude::*;
use shm_pool::{OpenError, PoolConfig};
use std::time::Duration;

/// What pools of all kinds are created with, besides their memory.
pub(crate) struct Terms<'py> {
    pub(crate) consumers: Size,
    pub(crate) queue_cells: Option<Size>,
    pub(crate) overdue_after: f64,
    pub(crate) persistent: bool,
    pub(crate) metadata: Metadata<'py>,
}

impl Terms<'_> {
    pub(crate) fn create(
        self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        config: PoolConfig,
    ) -> PyResult<Pool> {
        let name = creation::name_argument(name)?;
        let config = self.add_to(config)?;
        // Reserving the pages of a large pool takes milliseconds.
        let pool = py.detach(|| shm_pool::Pool::create(&name, &config));
        let pool = pool.map_err(|error| errors::create(py, error))?;
        Ok(Pool::new(py, pool, self.persistent))
    }

    pub(crate) fn add_to(&self, config: PoolConfig) -> PyResult<PoolConfig> {
        let overdue_after = arguments::seconds("overdue_after", self.overdue_after)?;
        let configure = || {
            let mut config = config.consumers(self.consumers.0)?;
            if let Some(Size(cells)) = self.queue_cells {
                config = config.queue_cells(cells)?;
            }
            config.metadata(self.metadata.bytes())
        };
        let config = configure().map_err(|error| errors::config(&error))?;
        Ok(config.overdue_after(overdue_after).persistent(self.persistent))
    }
}

/// Opens what has a name, waiting for it to be created in slices between which signals are heard.
pub(crate) fn open_in_slices<T: Send, E: Send>(
    name: &Bound<'_, PyAny>,
    timeout: Option<f64>,
    attempt: impl Fn(&str, Duration) -> Result<T, E> + Sync,
    may_come: impl Fn(&E) -> bool,
) -> PyResult<Result<T, E>> {
    let py = name.py();
    let name = creation::name_argument(name)?;
    let deadline = wait::deadline(timeout)?;
    loop {
        let slice = wait::slice(deadline);
        match py.detach(|| attempt(&name, slice)) {
            Err(error) if may_come(&error) && !deadline.has_passed() => py.check_signals()?,
            outcome => return Ok(outcome),
        }
    }
}

/// Whether waiting may help.
pub(crate) fn may_come(error: &OpenError) -> bool {
    use shm_core::OpenError::{Busy, NotFound, NotReady};
    matches!(error, OpenError::Segment(NotFound { .. } | NotReady { .. } | Busy { .. }))
}
