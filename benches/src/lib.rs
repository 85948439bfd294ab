//! What the measurements of this workspace have in common.
//!
//! A row compares three things that ran in the same minute, in alternating rounds, on the same
//! processors: our code, the physical limit (a bare copy, a bare cache line, a bare futex) and,
//! where there is one, the best other system. Absolute figures differ from machine to machine and
//! from day to day; the ratios of one run are what is worth quoting. Nothing here asserts a speed.
//!
//! ```text
//!   benches/stream ──► suites ──► limits   the same work with nothing around it
//!     │ the peer          │─────► measure  alternating rounds, percentiles, processors
//!     ▼                   │─────► child    the other process of a row
//!   iceoryx2              └─────► report   rows, table, JSON
//!   benches/pool ────► pool ────► the same, and a model of its peer
//!   benches/cuda ────► cuda ──► the driver's bare calls, and the device's own times
//!   benches/share ───► share ─► a bare Unix socket between the same two processes
//!   benches/triton ──► triton ──► servers, and other clients, as processes of their own
//!
//!   bin/report ──► stored ──► compare, draw, tables   what is made of the files that these write
//! ```

pub mod child;
pub mod compare;
pub mod copy_suite;
pub mod cuda;
pub mod draw;
pub mod flags;
pub mod headline;
pub mod limits;
pub mod measure;
pub mod pool;
pub mod report;
pub mod run;
pub mod scratch;
pub mod script;
pub mod share;
pub mod sleepers;
pub mod stored;
pub mod suites;
pub mod tables;
pub mod triton;
