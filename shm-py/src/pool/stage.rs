//! How far a slot has come: it is lent, and ends once.
//!
//! Upholds invariant 7: what has ended is not published again. Slots in host memory and on devices have
//! the same stages.

use crate::pool::errors;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use shm_core::fork_generation;

/// A slot in its producer's hands, until it is published or given back.
#[derive(Debug)]
pub(crate) struct Stage<S> {
    state: Mutex<State<S>>,
    pub(crate) index: usize,
    pub(crate) generation: u64,
    born: u64,
}

/// `Lent` ends in one of the others, once.
#[derive(Debug)]
enum State<S> {
    Lent(S),
    Ended(End),
}

/// How a slot ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Published,
    Aborted,
}

impl<S> Stage<S> {
    /// A slot that was lent to this process just now.
    #[inline]
    pub(crate) fn new(slot: S, index: usize, generation: u64) -> Stage<S> {
        Stage { state: Mutex::new(State::Lent(slot)), index, generation, born: fork_generation() }
    }

    /// Ends it, and gives the slot out; `None` if it has ended before.
    pub(crate) fn end(&self, how: End) -> Option<S> {
        let mut state = self.state.lock();
        match core::mem::replace(&mut *state, State::Ended(how)) {
            State::Lent(slot) => Some(slot),
            ended => {
                *state = ended;
                None
            }
        }
    }

    /// What was about to be published was given back instead.
    pub(crate) fn refused(&self) {
        *self.state.lock() = State::Ended(End::Aborted);
    }

    /// Works with the slot while it is lent.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut S) -> R) -> Option<R> {
        match &mut *self.state.lock() {
            State::Lent(slot) => Some(work(slot)),
            State::Ended(_) => None,
        }
    }

    /// Refuses to work with what has ended, or is the parent's of this process. `instead` says what to do
    /// in a forked child.
    pub(crate) fn check(&self, py: Python<'_>, pool: &str, instead: &str) -> PyResult<()> {
        if !self.is_own() {
            return Err(errors::forked(py, &format!("slot {}", self.index), pool, instead));
        }
        self.with(|_| ()).ok_or_else(|| self.over())
    }

    /// True unless this process is a fork of the one that the slot was lent to.
    pub(crate) fn is_own(&self) -> bool {
        self.born == fork_generation()
    }

    /// The error of a slot that has ended.
    pub(crate) fn over(&self) -> PyErr {
        PyValueError::new_err(format!("slot {} was {}; lend another one", self.index, self.name()))
    }

    /// As Python shows it.
    pub(crate) fn name(&self) -> &'static str {
        match &*self.state.lock() {
            State::Lent(_) => "lent",
            State::Ended(End::Published) => "published",
            State::Ended(End::Aborted) => "given back",
        }
    }
}
