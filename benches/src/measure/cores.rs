//! Which processors a measurement runs on.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two processors that a row with two processes runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Of the process that measures.
    pub near: usize,
    /// Of its child.
    pub far: usize,
}

impl Cores {
    /// Two processors that this process may use, of different cores where there are such: two
    /// threads of one core would share the cache whose crossing is to be measured.
    pub fn choose() -> Result<Cores> {
        let set = sched_getaffinity(None).context("could not ask which processors may be used")?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
        let [near, rest @ ..] = usable.as_slice() else {
            bail!("no processor may be used");
        };
        let siblings = siblings(*near);
        let other_core = rest.iter().find(|cpu| !siblings.contains(cpu));
        match other_core.or(rest.first()) {
            Some(far) => Ok(Cores { near: *near, far: *far }),
            None => bail!("two processes side by side need two processors, and one may be used"),
        }
    }
}

/// Keeps the calling thread, and threads it starts from now on, on one processor.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("could not move to processor {cpu}"))
}

/// The processors of the same core, as the kernel lists them: `0,4` or `0-1`.
fn siblings(cpu: usize) -> Vec<usize> {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    fs::read_to_string(file).map_or_else(|_| Vec::new(), |text| parse_list(text.trim()))
}

fn parse_list(text: &str) -> Vec<usize> {
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
        assert_eq!(parse_list("0"), [0]);
        assert_eq!(parse_list("0,4"), [0, 4]);
        assert_eq!(parse_list("0-1,8-9"), [0, 1, 8, 9]);
        assert!(parse_list("").is_empty());
    }

    #[test]
    fn a_pinned_thread_stays_where_it_was_put() {
        std::thread::spawn(|| {
            let set = sched_getaffinity(None).unwrap();
            let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| set.is_set(*cpu)).unwrap();
            pin(last).unwrap();
            let now = sched_getaffinity(None).unwrap();
            assert_eq!(now.count(), 1);
            assert!(now.is_set(last));
        })
        .join()
        .unwrap();
    }
}
