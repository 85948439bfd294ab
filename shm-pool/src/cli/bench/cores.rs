//! Which processors the two sides run on.

use crate::cli::exit::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::fs;
use std::io;

/// The two processors, the same one twice if there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cores {
    /// Of the process that measures.
    pub(super) near: usize,
    /// Of the other one.
    pub(super) far: usize,
}

impl Cores {
    /// Two processors that this process may use, of different cores where there are such: two threads of
    /// one core share the cache whose crossing is measured.
    pub(super) fn choose() -> Result<Cores, Failure> {
        let set = sched_getaffinity(None).map_err(|error| {
            Failure::system("ask which processors may be used", &io::Error::from(error))
        })?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
        let near = usable.first().copied().unwrap_or_default();
        let siblings = siblings(near);
        let mut others = usable.iter().skip(1);
        let other_core = others.clone().find(|cpu| !siblings.contains(cpu));
        let far = other_core.or(others.next()).copied().unwrap_or(near);
        Ok(Cores { near, far })
    }

    /// Both sides can run at the same time.
    pub(super) fn are_two(self) -> bool {
        self.near != self.far
    }
}

/// Keeps this thread on a processor; gives it back what it had when dropped.
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(super) fn to(cpu: usize) -> Result<Pinned, Failure> {
        let before = sched_getaffinity(None)
            .and_then(|before| {
                let mut set = CpuSet::new();
                set.set(cpu);
                sched_setaffinity(None, &set).map(|()| before)
            })
            .map_err(|error| {
                Failure::system(&format!("move to processor {cpu}"), &io::Error::from(error))
            })?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed now, unless somebody took a processor away meanwhile.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// The processors of the same core, as the kernel lists them.
fn siblings(cpu: usize) -> Vec<usize> {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    fs::read_to_string(file).map_or_else(|_| Vec::new(), |text| listed(text.trim()))
}

/// Reads `0,4` or `0-1`.
fn listed(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(listed("0,4"), [0, 4]);
        assert_eq!(listed("2-3,8-9"), [2, 3, 8, 9]);
        assert!(listed("").is_empty());
    }

    #[test]
    fn a_thread_stays_where_it_is_pinned_and_gets_back_what_it_had() {
        std::thread::spawn(|| {
            let before = sched_getaffinity(None).unwrap();
            let cores = Cores::choose().unwrap();
            let pinned = Pinned::to(cores.far).unwrap();
            let now = sched_getaffinity(None).unwrap();
            assert_eq!((now.count(), now.is_set(cores.far)), (1, true));
            drop(pinned);
            assert_eq!(sched_getaffinity(None).unwrap(), before);
        })
        .join()
        .unwrap();
    }
}
