//! The programs that a run needs beside itself.

use std::path::PathBuf;

/// Where they are, or why one is not there.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Starts a real Triton server.
    pub real: Result<PathBuf, String>,
    /// Serves the same models from Rust.
    pub embedded: Result<PathBuf, String>,
    /// An interpreter with triton-shm-client and tritonclient.
    pub python: Result<PathBuf, String>,
    /// NVIDIA's load generator, beside the libraries that it needs.
    pub load: Result<PathBuf, String>,
}

impl Programs {
    /// Those that the environment names.
    pub fn of_environment() -> Programs {
        Programs {
            real: named("SHM_BENCH_TRITON_REAL"),
            embedded: named("SHM_BENCH_TRITON_EMBEDDED"),
            python: named("SHM_BENCH_TRITON_PYTHON"),
            load: named("SHM_BENCH_PERF_ANALYZER"),
        }
    }
}

fn named(variable: &str) -> Result<PathBuf, String> {
    match std::env::var_os(variable).map(PathBuf::from) {
        Some(path) if path.exists() => Ok(path),
        Some(path) => Err(format!("{variable} names {}, which is not there", path.display())),
        None => Err(format!("{variable} names no program; `cargo xtask bench triton` sets it")),
    }
}
