//! What the contract suites share: names that clean up, files poked from outside, children with
//! limits of their own, time limits, payload patterns.

pub(crate) mod child;
pub(crate) mod layout;
pub(crate) mod limit;
pub(crate) mod name;
pub(crate) mod pattern;
pub(crate) mod portable_locks;
pub(crate) mod private_shm;
pub(crate) mod raw_file;
