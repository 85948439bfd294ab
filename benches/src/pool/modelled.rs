//! The pool of pymllm's `cuda_ipc_transport`, modelled: its rules over host memory, in Rust.
//!
//! Only what decides its speed is here: a flag of one float32 in a shared-memory file of its own
//! for each chunk, which consumers raise under a lock of the whole host; best fit over exact bytes;
//! a thread that looks at all flags every 0.1 s; refusal, never waiting, when nothing is free. No
//! interpreter, no pickling and no GPU are in the way, so it is faster than what it stands for.

mod flag;
mod recycled;

pub(super) use flag::{Flag, FlagLock, acknowledge};
pub(super) use recycled::{Recycled, SCAN_EVERY};
