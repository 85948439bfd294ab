//! An inference server in Rust that lends clients' shared memory to its model: for our clients, the
//! official tritonclient, perf_analyzer, and whatever else speaks Triton's protocol.
//!
//! The model prepares photographs for a vision encoder: the step that so often copies each picture
//! through a socket and back.

use anyhow::{Context, Result};
use clap::Parser;
use shm_triton::server::{Call, Model, ModelError, Server};
use shm_triton::{DataType, ModelSpec};
use std::sync::mpsc;
use std::time::Duration;

/// Serves the model `normalize` until it is stopped
#[derive(Parser)]
#[command(name = "inference-server")]
struct Args {
    /// Where to serve HTTP; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8000")]
    http: String,
    /// Where to serve gRPC; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8001")]
    grpc: String,
    /// End after so many seconds
    #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
    seconds: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (stop, stopped) = mpsc::channel();
    // Whoever hears the first Ctrl-C needs no second one.
    ctrlc::set_handler(move || _ = stop.send(()))?;

    let mut server = Server::builder()
        .model(Normalize::new())
        .http(args.http)
        .grpc(args.grpc)
        .start()
        .context("the server cannot be started")?;
    let addresses = (server.http_addr(), server.grpc_addr());
    let (Some(http), Some(grpc)) = addresses else { anyhow::bail!("no address: {addresses:?}") };
    println!("server: ready http={http} grpc={grpc}");

    // Either it is told to stop, or its time is over.
    let _ = stopped.recv_timeout(Duration::from_secs(args.seconds.into()));
    println!("server: ends");
    // Requests that are running are answered; clients take their regions back by themselves.
    server.shutdown(Duration::from_secs(10)).context("requests are still running")
}

/// The model `normalize`: rows of RGB pixels in, red, green and blue planes out, with the mean and
/// deviation that encoders trained on ImageNet expect.
struct Normalize {
    spec: ModelSpec,
}

impl Normalize {
    fn new() -> Normalize {
        // A batch size of 0: one picture a request, of any size.
        let spec = ModelSpec::new("normalize", 0)
            .input("PIXELS", DataType::Uint8, &[-1, -1, 3])
            .output("PLANES", DataType::Fp32, &[3, -1, -1]);
        Normalize { spec }
    }
}

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

impl Model for Normalize {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Nothing is shared between calls.
    fn instances(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let input = call.input("PIXELS")?;
        // Shapes have been checked against `spec`; the client's memory may change at any time, so
        // it is copied once, and what is computed on is ours.
        let [height, width, _] = *input.shape() else {
            return Err(
                format!("PIXELS has shape {:?}, not three dimensions", input.shape()).into()
            );
        };
        let pixels = input.to_vec::<u8>()?;
        let mut planes = Vec::with_capacity(pixels.len());
        for channel in 0..3 {
            let values =
                pixels.iter().skip(channel).step_by(3).map(|&value| f32::from(value) / 255.0);
            planes.extend(values.map(|value| (value - MEAN[channel]) / DEVIATION[channel]));
        }
        // Into the client's memory where it has lent some, into the answer where it has not.
        call.output("PLANES", DataType::Fp32, &[3, height, width])?.copy_from(&planes)
    }
}
