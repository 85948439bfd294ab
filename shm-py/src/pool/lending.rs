//! Lending: at once where there is room, else in line.

use crate::pool::errors;
use crate::pool::slot::Slot;
use crate::pool::wish::{Answer, Wish};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::Deadline;
use shm_pool::{LendError, Policy, Request, Wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Reads `policy=`.
pub(crate) fn policy(given: &str) -> PyResult<Policy> {
    match given {
        "block" => Ok(Policy::Block),
        "fail" => Ok(Policy::Fail),
        "drop_oldest_unread" => Ok(Policy::DropOldestUnread),
        other => Err(PyValueError::new_err(format!(
            "policy is '{other}'; expected 'block', 'fail' or 'drop_oldest_unread'"
        ))),
    }
}

/// How an attempt to lend began.
pub(crate) enum Begun {
    Lent(shm_pool::Slot),
    /// There is no room now, and the caller is willing to wait.
    Waits(LendWish),
}

/// Lends at once, or says what to wait for. Costs no system call where there is room.
#[inline]
pub(crate) fn begin(
    pool: &shm_pool::Pool,
    bytes: usize,
    policy: Policy,
    deadline: Deadline,
    attached: &Attached,
) -> Result<Begun, LendError> {
    if policy == Policy::Fail || deadline.has_passed() {
        return pool.lend(bytes, Wait::Try, policy).map(Begun::Lent);
    }
    Ok(match pool.try_lend(bytes, policy)? {
        Some(slot) => Begun::Lent(slot),
        None => Begun::Waits(LendWish {
            pool: pool.clone(),
            request: None,
            bytes,
            policy,
            attached: attached.clone(),
            begun: Instant::now(),
        }),
    })
}

/// What a handle shares with those who wait through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attached {
    closing: Arc<AtomicBool>,
}

impl Attached {
    /// Ends the waits.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// A slot that is waited for. The place in line is kept between naps.
#[derive(Debug)]
pub(crate) struct LendWish {
    pool: shm_pool::Pool,
    request: Option<Request>,
    bytes: usize,
    policy: Policy,
    attached: Attached,
    begun: Instant,
}

impl LendWish {
    fn turn(&mut self, longest: Duration) -> Result<Option<shm_pool::Slot>, LendError> {
        let request = match &mut self.request {
            Some(request) => request,
            none => none.insert(self.pool.request(self.bytes)?),
        };
        if let Some(slot) = request.nap(longest)? {
            return Ok(Some(slot));
        }
        if self.policy == Policy::DropOldestUnread {
            request.make_room();
        }
        Ok(None)
    }

    fn granted(&self, slot: shm_pool::Slot) -> Answer {
        let pool = self.pool.clone();
        Box::new(move |py| Ok(Py::new(py, Slot::new(pool, slot))?.into_any()))
    }
}

impl Wish for LendWish {
    fn nap(&mut self, longest: Duration) -> Option<Answer> {
        if self.attached.is_closing() {
            let name = self.pool.name().to_owned();
            return Some(Box::new(move |py| {
                Err(errors::closed(py, "pool", &name, "shm_py.Pool.open"))
            }));
        }
        match self.turn(longest) {
            Ok(granted) => granted.map(|slot| self.granted(slot)),
            Err(error) => Some(Box::new(move |py| Err(errors::lend(py, error)))),
        }
    }

    fn too_late(&mut self) -> Answer {
        self.request = None;
        match self.pool.lend(self.bytes, Wait::Try, self.policy) {
            Ok(slot) => self.granted(slot),
            Err(LendError::Full { name, bytes, free, holders }) => {
                let waited = self.begun.elapsed();
                let error = LendError::Timeout { name, bytes, waited, free, holders };
                Box::new(move |py| Err(errors::lend(py, error)))
            }
            Err(error) => Box::new(move |py| Err(errors::lend(py, error))),
        }
    }
}
