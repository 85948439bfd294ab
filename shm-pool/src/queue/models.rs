//! Models of queues: every interleaving and every reordering that the memory model allows.

mod carrying;
mod claiming;
mod naming;
