//! One set of bodies, three backings: what a stream promises holds on Linux files, inside one
//! process, and on the portable backing alike.

mod asynchronous;
pub(crate) mod backing;
mod exclusion;
mod frames;
mod retirement;
mod round_trip;
mod views;
mod waiting;

pub(crate) use asynchronous::block_on;
