//! A simulated CUDA driver. The shared library exports the C entry points of `libcuda.so.1` over
//! host memory, so that programs that load a driver run, unchanged, where there is no GPU.
//!
//! It is strict: what the real driver leaves undefined is refused or recorded as a violation. It
//! is late: queued copies run out of step with the host, in two halves, so a missing
//! synchronisation shows as torn or old data. It never claims to be a GPU: its outputs say `sim`.

mod address;
mod block;
mod call;
mod context;
mod copy;
mod delay;
mod device;
mod driver;
mod event;
mod exports;
mod host;
mod inject;
mod ipc;
mod memop;
mod memory;
mod pages;
mod pointer;
mod report;
mod settings;
mod status;
mod stream;
mod symbol;
mod vmm;
