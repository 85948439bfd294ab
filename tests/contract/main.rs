//! The contract of the workspace's crates, checked from outside: what every backing must do, a
//! model that every result is compared with, hostile files, exact messages, names, lifecycle,
//! page protection, resources, and the layering of the packages.

mod conformance;
mod hostile;
mod layering;
mod lending;
mod lifecycle;
mod messages;
mod model;
mod names;
mod read_only;
mod resources;
mod support;
