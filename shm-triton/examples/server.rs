//! An inference server with sockets and threads of its own, over HTTP and gRPC.
//!
//! ```text
//! cargo run --release --example server -- 127.0.0.1:8000 127.0.0.1:8001
//! ```

use shm_triton::server::{Call, Model, ModelError, Placement, Server};
use shm_triton::{DataType, ModelSpec};
use std::time::Duration;

/// Gives back what it gets, each output from the input of the same place.
struct Copies {
    spec: ModelSpec,
    placement: Placement,
}

impl Model for Copies {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn instances(&self) -> usize {
        2
    }

    fn placement(&self) -> Placement {
        self.placement
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        for (input, output) in call.inputs().iter().zip(&self.spec.outputs) {
            call.output_sized(&output.name, input.datatype(), input.shape(), input.byte_len())?
                .copy_from_input(input)?;
        }
        Ok(())
    }
}

fn copies(
    name: &str,
    batch: usize,
    datatype: DataType,
    dims: &[i64],
    placement: Placement,
) -> Copies {
    let spec = ModelSpec::new(name, batch)
        .input("INPUT0", datatype, dims)
        .output("OUTPUT0", datatype, dims);
    Copies { spec, placement }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = std::env::args().skip(1);
    let mut server = Server::builder()
        .model(copies("identity", 8, DataType::Fp32, &[16], Placement::Inline))
        .model(copies("normal", 8, DataType::Fp32, &[3, 224, 224], Placement::Blocking))
        .model(copies("large", 2, DataType::Fp32, &[3, 2048, 2048], Placement::Blocking))
        .model(copies("any", 0, DataType::Int8, &[-1], Placement::Blocking))
        .model(copies("bytes", 8, DataType::Bytes, &[-1], Placement::Blocking))
        .http(addresses.next().unwrap_or_else(|| "127.0.0.1:8000".to_owned()))
        .grpc(addresses.next().unwrap_or_else(|| "127.0.0.1:8001".to_owned()))
        .start()?;
    println!("{server:?}; press Enter to end");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(server.shutdown(Duration::from_secs(10))?)
}
