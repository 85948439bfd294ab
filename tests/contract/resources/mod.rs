//! What streams cost, and what happens when there is no more of it: descriptors, space, memory.

mod descriptors;
mod memory;
mod space;
