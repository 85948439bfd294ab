//! Segments for the time of a measurement: `shm-bench-<pid>/<what>-<number>`.
//!
//! Upholds invariant 9: only names of this process are taken away.

use super::broke;
use super::rounds::no_space;
use crate::cli::exit::Failure;
use crate::{Pool, PoolConfig, Store, StoreConfig};
use shm_core::{Stream, StreamConfig};
use std::ops::Deref;

/// Hands out names, and takes away what is left under them when dropped.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    given: u32,
}

impl Scratch {
    /// A stream of words.
    pub(super) fn stream(&mut self, what: &str, words: usize) -> Result<ScratchStream, Failure> {
        let config = StreamConfig::of::<u64>(&[words])
            .map_err(|error| broke("describe a stream", error))?
            .temporary(true);
        let made = Stream::create(&self.name(what), &config);
        made.map(ScratchStream).map_err(|error| no_space(&error))
    }

    /// A pool; its name ends with its owner.
    pub(super) fn pool(&mut self, what: &str, config: &PoolConfig) -> Result<Pool, Failure> {
        Pool::create(&self.name(what), config).map_err(of_pool)
    }

    /// A store; its name ends with its owner.
    pub(super) fn store(&mut self, what: &str, config: &StoreConfig) -> Result<Store, Failure> {
        Store::create(&self.name(what), config).map_err(of_pool)
    }

    fn name(&mut self, what: &str) -> String {
        self.given += 1;
        format!("{}{what}-{}", own_prefix(), self.given)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for left in shm_core::list(&own_prefix()).unwrap_or_default() {
            // There is nobody to tell, and `shm gc` looks again.
            let _ = shm_core::unlink(&left.name);
        }
    }
}

fn own_prefix() -> String {
    format!("shm-bench-{}/", std::process::id())
}

fn of_pool(error: crate::CreateError) -> Failure {
    match error {
        crate::CreateError::Segment(error) => no_space(&error),
        error => broke("create a pool", error),
    }
}

/// A stream that is unlinked when this is dropped.
#[derive(Debug)]
pub(super) struct ScratchStream(Stream);

impl Deref for ScratchStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl Drop for ScratchStream {
    fn drop(&mut self) {
        // `Scratch` takes what stays.
        let _ = self.0.unlink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_new_each_time_and_nothing_stays() {
        let mut scratch = Scratch::default();
        let first = scratch.stream("a", 8).unwrap();
        let second = scratch.stream("a", 8).unwrap();
        assert_ne!(first.name(), second.name());
        let names = [first.name().to_owned(), second.name().to_owned()];
        drop(first);
        std::mem::forget(second);
        drop(scratch);
        for name in names {
            assert!(shm_core::stat(&name).is_err(), "{name} is still there");
        }
    }

    #[test]
    fn short_memory_is_told_from_failures() {
        let error = Scratch::default().stream("huge", 1 << 38).unwrap_err();
        assert!(super::super::rounds::lacks_space(&error), "{error}");
    }
}
