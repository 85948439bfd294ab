//! `shm record` and `shm replay` as people run them: as processes, on files, with the shared memory of this
//! machine.
//!
//! Upholds invariants 1 (whoever is killed leaves a whole file or none), 2 (files are hostile) and 9.

mod files;
mod hostile;
mod programs;
mod recording;
mod replaying;
