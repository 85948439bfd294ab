//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Every developer and user task of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Flags {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Fetch everything that building, testing and the demo need; safe to run again
    Setup,
    /// The test command: every gate in order, with a summary at the end
    Test,
    /// The same as `test`; says where it runs
    Ci,
    /// The rules of this repository that no other tool knows
    Tidy,
    /// Licences, sources and known vulnerabilities of every dependency
    Deny,
    /// Build the Python wheel into target/wheels
    Wheel,
    /// Run the Python tests
    Py(PyArgs),
    /// Hold a binding against the package that it replaces: that one's tests, or what it documents
    Parity(ParityArgs),
    /// Build the site of docs/, with the Python reference, into target/site
    Docs,
    /// Run every loom model of shm-core and shm-pool
    Loom(LoomArgs),
    /// Kill processes at every fault point, again and again
    Crash(CrashArgs),
    /// Run one benchmark suite, or all
    Bench(BenchArgs),
    /// A folder with the CUDA tests and benches, for a machine with a GPU and without Rust
    GpuBundle(GpuBundleArgs),
    /// A real Triton server for tests and benches, without a container
    Triton(TritonArgs),
    /// Serve the test models by the embedded inference server
    Serve(ServeArgs),
    /// Real pictures flow between real processes while one of them is killed
    Demo(DemoArgs),
    /// The commands of the README, in a fresh clone with an empty cargo home and no caches
    Fresh(FreshArgs),

    /// The demo itself, in release
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoInner(DemoInnerArgs),
    /// The demo's publishing process
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoPublisher(DemoPublisherArgs),
    /// One of the demo's viewing processes
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoViewer(DemoViewerArgs),
    /// The demo's process between the stream and the inference server
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoWorker(DemoWorkerArgs),
}

#[derive(Debug, Args)]
pub struct PyArgs {
    /// Passed on to pytest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PYTEST ARGUMENT")]
    pub pytest: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ParityArgs {
    /// Whose tests
    pub peer: Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// pyshmem 1.0.1, all of it, and what 1.4.0 has in public
    Pyshmem,
    /// What shared-tensor 0.2.16 documents and its tests check, one behaviour after the other
    SharedTensor,
}

#[derive(Debug, Args)]
pub struct LoomArgs {
    /// How often a model may switch threads at a point where it need not
    #[arg(long, default_value_t = 2)]
    pub max_preemptions: usize,
}

#[derive(Debug, Args)]
pub struct CrashArgs {
    /// How many rounds to run
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub task: Option<ReportTask>,
    /// Which suite
    #[arg(required = true)]
    pub suite: Option<Suite>,
    /// Also write the rows of this one suite to a file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// With `all`: the file of the run; benches/results/run.json if not given, and of a quick run
    /// target/bench-all/run.json
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub out: Option<PathBuf>,
    /// Few and short measurements: shows that the suite works, not how fast anything is
    #[arg(long)]
    pub quick: bool,
}

/// What is made of stored runs; `cargo xtask bench compare --help` and so on tell more.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum ReportTask {
    /// Hold two runs, or two reports of a suite, against each other
    #[command(disable_help_flag = true)]
    Compare(ReportArgs),
    /// The tables of README.md and benches/RESULTS.md; `--write` writes them there
    #[command(disable_help_flag = true)]
    Tables(ReportArgs),
    /// Draw a run as SVG files
    #[command(disable_help_flag = true)]
    Draw(ReportArgs),
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Passed on to the program `report` of shm-benches
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub words: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// The ways to copy into and out of shared memory
    Copy,
    /// Publishing and reading a stream, between processes
    Stream,
    /// Lending, acknowledging and recycling the memory of a pool, between processes
    Pool,
    /// Device streams and device pools, on the GPU or, where there is none, on the simulated driver
    Cuda,
    /// The share service: tensors that one process owns and others use
    Share,
    /// The Python package, beside the one it replaces
    Py,
    /// Calls of Triton through shared memory, beside other clients and on several servers
    Triton,
    /// Every suite
    All,
}

#[derive(Debug, Args)]
pub struct GpuBundleArgs {
    /// The folder to make; what was in it is gone; target/gpu-bundle if not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also try it: run its tests and its bench on the simulated driver, in a copy elsewhere
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct TritonArgs {
    #[command(subcommand)]
    pub task: TritonTask,
}

#[derive(Debug, Subcommand)]
pub enum TritonTask {
    /// Fetch the server into target/triton-server, with the native backend and its models
    Fetch(TritonFetchArgs),
    /// Start the server on the loopback interface and print a line `ready ...` when it is
    Run(TritonRunArgs),
}

#[derive(Debug, Args)]
pub struct TritonFetchArgs {
    /// Also what the models of the Python backend need
    #[arg(long)]
    pub python: bool,
    /// Also NVIDIA's load generator
    #[arg(long)]
    pub perf_analyzer: bool,
}

#[derive(Debug, Args)]
pub struct TritonRunArgs {
    /// The port for HTTP; a free one if not given
    #[arg(long, conflicts_with = "http_unix")]
    pub http_port: Option<u16>,
    /// The port for gRPC; a free one if not given
    #[arg(long)]
    pub grpc_port: Option<u16>,
    /// HTTP by this Unix socket in place of a port
    #[arg(long, value_name = "PATH")]
    pub http_unix: Option<PathBuf>,
    /// How long it runs at most
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Also the models of the Python backend
    #[arg(long)]
    pub python: bool,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Serve HTTP at this port of this machine; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub http_port: u16,
    /// Serve gRPC at this port of this machine; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub grpc_port: u16,
    /// Serve HTTP at this Unix socket too
    #[arg(long, value_name = "SOCKET")]
    pub http_unix: Option<PathBuf>,
    /// Serve gRPC at this Unix socket too
    #[arg(long, value_name = "SOCKET")]
    pub grpc_unix: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Also serve `detector`, which finds text in pictures; takes minutes to build the first time
    #[arg(long)]
    pub detector: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How long the demo runs
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub seconds: u64,
    /// One line a second in place of the live table
    #[arg(long)]
    pub plain: bool,
    /// Your own PNG and JPEG pictures in place of the downloaded photographs
    #[arg(long, value_name = "DIR")]
    pub input: Option<PathBuf>,
    /// How many processes watch; the last one is slow on purpose
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=32))]
    pub viewers: u64,
    /// Have a real Triton server run the model, in place of the embedded one
    #[arg(long)]
    pub triton: bool,
}

#[derive(Debug, Args)]
pub struct FreshArgs {
    /// The folder to use, which must be empty; one in the temporary folder if not given
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Only the commands that contain this, such as `demo`
    #[arg(long, value_name = "WORD")]
    pub only: Option<String>,
    /// Leave the folder there
    #[arg(long)]
    pub keep: bool,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoInnerArgs {
    /// Where the pictures are
    #[arg(long)]
    pub photos: PathBuf,
    #[arg(long)]
    pub seconds: u64,
    #[arg(long)]
    pub plain: bool,
    #[arg(long)]
    pub viewers: u64,
    /// Where the programs of the inference server are; without them the demo does no inference
    #[arg(long, requires = "detector")]
    pub zoo: Option<PathBuf>,
    /// The model file of the detector
    #[arg(long, requires = "zoo")]
    pub detector: Option<PathBuf>,
    /// The program that starts a real Triton server, in place of the embedded one
    #[arg(long, requires = "zoo")]
    pub triton: Option<PathBuf>,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoPublisherArgs {
    #[arg(long)]
    pub stream: String,
    /// How many decoded pictures come first on standard input
    #[arg(long)]
    pub pictures: usize,
    /// Open the stream that a dead publisher left, in place of creating it
    #[arg(long)]
    pub take_over: bool,
    /// Publish at most this many frames a second
    #[arg(long)]
    pub frames_per_second: Option<u32>,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoViewerArgs {
    #[arg(long)]
    pub stream: String,
    /// Take at most this many frames a second
    #[arg(long)]
    pub frames_per_second: Option<u32>,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoWorkerArgs {
    #[arg(long)]
    pub stream: String,
    /// Where the inference server is
    #[arg(long)]
    pub server: String,
    /// How many pictures there are: frame by frame, one after the other
    #[arg(long)]
    pub pictures: u64,
}
