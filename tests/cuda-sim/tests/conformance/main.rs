//! What a CUDA driver promises, asked of the simulated one, which lies beside this program, or
//! with `SHM_CUDA_CONFORMANCE=real` of `libcuda.so.1`. Tests of what the real driver leaves
//! undefined run on the simulated one only.

mod contexts;
mod copies;
mod events;
mod faults;
mod ipc;
mod lateness;
mod loaded;
mod memops;
mod memory;
mod misuse;
mod ordering;
mod peer;
mod registered;
mod roles;
mod rooms;
mod startup;
mod status;
mod vmm;
