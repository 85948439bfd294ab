//! The symbols of the driver: every one is there, ours lead to our driver and nobody else's do.
//!
//! A process settles on a driver once, so each test that needs one runs in a process of its own.

mod absent;
mod arguments;
mod beside;
mod declared;
mod exports;
mod process;
mod rust_library;
#[path = "../simulation/mod.rs"]
mod simulation;
mod through_cust;
