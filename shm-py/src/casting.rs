//! What may be converted on the way in.
//!
//! NumPy's five policies; the default is `same_kind`, so that a write never turns a NaN into an
//! integer or drops an imaginary part without being asked to.

use numpy::npyffi::{NPY_CASTING, PY_ARRAY_API};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A casting policy; see `numpy.can_cast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Casting {
    No,
    Equiv,
    Safe,
    SameKind,
    Unsafe,
}

impl Casting {
    const ALL: [Casting; 5] =
        [Casting::No, Casting::Equiv, Casting::Safe, Casting::SameKind, Casting::Unsafe];

    pub(crate) fn parse(text: &str) -> PyResult<Casting> {
        Casting::ALL.into_iter().find(|casting| casting.name() == text).ok_or_else(|| {
            PyValueError::new_err(format!(
                "casting is {text:?}; expected 'no', 'equiv', 'safe', 'same_kind' or 'unsafe'"
            ))
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Casting::No => "no",
            Casting::Equiv => "equiv",
            Casting::Safe => "safe",
            Casting::SameKind => "same_kind",
            Casting::Unsafe => "unsafe",
        }
    }

    /// Refuses what the policy does not allow.
    pub(crate) fn check(
        self,
        from: &Bound<'_, PyArrayDescr>,
        to: &Bound<'_, PyArrayDescr>,
    ) -> PyResult<()> {
        if self.allows(from, to) {
            return Ok(());
        }
        let kept = match self {
            Casting::Unsafe => "convert it yourself first",
            _ => "convert it yourself, or pass casting='unsafe'",
        };
        Err(PyTypeError::new_err(format!(
            "cannot cast {from} to {to} according to the rule '{}'; {kept}",
            self.name()
        )))
    }

    fn allows(self, from: &Bound<'_, PyArrayDescr>, to: &Bound<'_, PyArrayDescr>) -> bool {
        let rule = match self {
            Casting::No => NPY_CASTING::NPY_NO_CASTING,
            Casting::Equiv => NPY_CASTING::NPY_EQUIV_CASTING,
            Casting::Safe => NPY_CASTING::NPY_SAFE_CASTING,
            Casting::SameKind => NPY_CASTING::NPY_SAME_KIND_CASTING,
            Casting::Unsafe => NPY_CASTING::NPY_UNSAFE_CASTING,
        };
        // SAFETY: two live dtype objects, borrowed for the call, with the interpreter attached.
        unsafe {
            PY_ARRAY_API.PyArray_CanCastTypeTo(
                from.py(),
                from.as_dtype_ptr(),
                to.as_dtype_ptr(),
                rule,
            ) != 0
        }
    }
}
