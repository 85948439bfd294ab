//! Memory that its owner is done with while other processes still use it.
//!
//! Freeing an allocation that another process has mapped is undefined (CUDA driver API,
//! `cuMemFree`), and nothing tells the owner when they are done. So memory with importers is put aside,
//! and freed once whoever put it there says that nobody has it any more: looked at when anything is put
//! here, and in [`collect`].

use crate::buffer::DeviceBuffer;
use core::any::Any;
use parking_lot::Mutex;
use std::fmt;

/// Memory put aside.
struct Buried {
    owner: Box<dyn Any + Send>,
    bytes: usize,
    /// True while somebody may still use it; dropped, with what it holds, after the memory.
    in_use: Box<dyn Fn() -> bool + Send>,
}

static LIMBO: Mutex<Vec<Buried>> = Mutex::new(Vec::new());

/// What [`collect`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bytes freed now.
    pub freed: usize,
    /// Bytes that other processes still have mapped.
    pub kept: usize,
}

/// Frees what was put aside and nobody uses any more. Called whenever something is put aside; worth
/// calling where memory ran out.
pub fn collect() -> Collected {
    let mut done = Vec::new();
    let mut collected = Collected::default();
    {
        let mut limbo = LIMBO.lock();
        let mut index = 0;
        while index < limbo.len() {
            match (limbo[index].in_use)() {
                true => {
                    collected.kept += limbo[index].bytes;
                    index += 1;
                }
                false => done.push(limbo.swap_remove(index)),
            }
        }
    }
    for buried in done {
        let Buried { owner, bytes, in_use } = buried;
        collected.freed += bytes;
        drop(owner);
        drop(in_use);
    }
    collected
}

/// Frees `buffer` once `in_use` says no: now, if it does.
pub(crate) fn bury(buffer: DeviceBuffer, in_use: impl Fn() -> bool + Send + 'static) {
    let bytes = buffer.len();
    bury_owner(Box::new(buffer), bytes, in_use);
}

/// As [`bury`], for memory that is somebody else's to free, which dropping `owner` does.
pub(crate) fn bury_owner(
    owner: Box<dyn Any + Send>,
    bytes: usize,
    in_use: impl Fn() -> bool + Send + 'static,
) {
    LIMBO.lock().push(Buried { owner, bytes, in_use: Box::new(in_use) });
    collect();
}

impl fmt::Debug for Buried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buried({} bytes)", self.bytes)
    }
}
