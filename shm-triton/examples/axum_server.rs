//! An inference server inside an axum application: the official clients register shared memory with it
//! and send tensors through it.
//!
//! ```text
//! cargo run --release --example axum_server -- 127.0.0.1:8000
//! curl 127.0.0.1:8000/v2/models/identity
//! ```

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use shm_triton::server::{Call, InferenceService, Model, ModelError, Placement};
use shm_triton::{DataType, ModelSpec};

/// Gives back what it gets.
struct Identity(ModelSpec);

impl Model for Identity {
    fn spec(&self) -> &ModelSpec {
        &self.0
    }

    fn placement(&self) -> Placement {
        Placement::Inline
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let input = call.input("INPUT0")?;
        call.output("OUTPUT0", DataType::Fp32, input.shape())?.copy_from_input(input)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let spec = ModelSpec::new("identity", 8).input("INPUT0", DataType::Fp32, &[16]).output(
        "OUTPUT0",
        DataType::Fp32,
        &[16],
    );
    let service = InferenceService::builder().model(Identity(spec)).build()?;
    let application = Router::new()
        .route("/", get(|| async { "inference at /v2" }))
        .route("/v2", axum::routing::any(infer))
        .route("/v2/{*rest}", axum::routing::any(infer))
        .with_state(service);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{}/v2", listener.local_addr()?);
    Ok(axum::serve(listener, application).await?)
}

async fn infer(State(service): State<InferenceService>, request: Request) -> Response {
    service.http(request).await.into_response()
}
