//! The command line of this suite.

use std::path::PathBuf;

use clap::Parser;

/// Device streams, pools and imports beside the bare calls of the driver.
#[derive(Clone, Debug, Parser)]
pub(super) struct CudaFlags {
    #[command(flatten)]
    pub(super) common: crate::flags::Flags,
    /// Use this library in place of the installed driver, such as that of the simulated one
    #[arg(long, value_name = "LIBRARY")]
    pub(super) sim: Option<PathBuf>,
    /// Show the rows that benches/py/cuda.py wrote to this file, too
    #[arg(long, value_name = "FILE")]
    pub(super) python: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_every_suite_are_among_them() {
        let words = ["cuda", "host", "--quick", "--sim", "driver.so", "--bench"];
        let flags = CudaFlags::parse_from(words);
        assert!(flags.common.quick && flags.common.wants("host/publish"));
        assert_eq!(flags.sim.unwrap().to_str(), Some("driver.so"));
    }
}
