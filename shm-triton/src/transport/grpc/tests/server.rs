//! A server that behaves as its models are named, on real sockets.

use crate::wire::proto;
use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use prost::Message;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBody, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::codegen::tokio_stream::{self, StreamExt};

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs on a thread of its own until it is killed.
pub(super) struct Server {
    runtime: Option<Runtime>,
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
}

/// What has come in.
pub(super) struct Seen {
    pub infer: Mutex<Vec<proto::InferRequest>>,
    pub headers: Mutex<Vec<http::HeaderMap>>,
    /// Over TCP.
    pub connections: AtomicUsize,
    /// A request to `gated` takes a permit before it answers.
    pub gate: Semaphore,
}

impl Server {
    pub(super) fn tcp() -> Server {
        Server::at("127.0.0.1:0".parse().unwrap())
    }

    pub(super) fn at(addr: SocketAddr) -> Server {
        let runtime = runtime();
        let seen = seen();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(addr)).unwrap();
        let addr = listener.local_addr().unwrap();
        let counted = Arc::clone(&seen);
        let incoming =
            tokio_stream::wrappers::TcpListenerStream::new(listener).map(move |stream| {
                counted.connections.fetch_add(1, Ordering::Relaxed);
                stream
            });
        let served = Served(Arc::clone(&seen));
        runtime.spawn(tonic::transport::Server::builder().serve_with_incoming(served, incoming));
        Server { runtime: Some(runtime), addr, seen }
    }

    pub(super) fn unix(path: &Path) -> Server {
        let runtime = runtime();
        let seen = seen();
        let listener = runtime.block_on(async { tokio::net::UnixListener::bind(path) }).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let served = Served(Arc::clone(&seen));
        runtime.spawn(tonic::transport::Server::builder().serve_with_incoming(served, incoming));
        Server { runtime: Some(runtime), addr: "127.0.0.1:0".parse().unwrap(), seen }
    }

    /// Closes all its sockets, as the end of a process does.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Waits until `count` inference requests have come in.
    pub(super) fn wait_for(&self, count: usize) {
        super::eventually(|| self.seen.infer.lock().len() >= count);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of this machine at which nothing listens.
pub(super) fn unused_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap()
}

/// Accepts every connection, and hands it to `then` on a thread that ends with the last of `count`.
pub(super) fn bare(
    count: usize,
    then: impl Fn(std::net::TcpStream) + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        listener.incoming().take(count).filter_map(io::Result::ok).for_each(then)
    });
    addr
}

/// Reads the client's preface and frames, the first that begins a request included.
pub(super) fn read_until_headers(mut stream: &std::net::TcpStream) -> io::Result<()> {
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; 24])?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
        if head[3] == HEADERS {
            return Ok(());
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn seen() -> Arc<Seen> {
    Arc::new(Seen {
        infer: Mutex::default(),
        headers: Mutex::default(),
        connections: AtomicUsize::new(0),
        gate: Semaphore::new(0),
    })
}

#[derive(Clone)]
struct Served(Arc<Seen>);

impl Service<http::Request<Body>> for Served {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.headers.lock().push(request.headers().clone());
        let method = request.uri().path().trim_start_matches(proto::SERVICE).to_owned();
        let model = Model { seen: Arc::clone(&self.0), method: method.clone() };
        Box::pin(async move {
            Ok(match method.as_str() {
                "ModelMetadata" => {
                    http::Response::builder().status(503).body(Body::empty()).unwrap()
                }
                "ModelConfig" => without_trailers(),
                "ModelStatistics" => http::Response::builder()
                    .header("grpc-status", "0")
                    .body(Body::empty())
                    .unwrap(),
                "SystemSharedMemoryStatus" => http::Response::builder()
                    .header("grpc-status", "5")
                    .header("grpc-status-details-bin", "!not base64!")
                    .body(Body::empty())
                    .unwrap(),
                _ => {
                    tonic::server::Grpc::new(Raw)
                        .apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX))
                        .unary(model, request)
                        .await
                }
            })
        })
    }
}

/// A message, and then the end of the stream: what is left of a reply of which a proxy cut off the rest.
fn without_trailers() -> http::Response<Body> {
    let message = proto::ModelConfigReply { config: Some(proto::ModelConfig::default()) };
    let message = tokio_stream::once(Ok(Bytes::from(message.encode_to_vec())));
    http::Response::new(Body::new(EncodeBody::new_client(Raw, message, None, None)))
}

struct Model {
    seen: Arc<Seen>,
    method: String,
}

impl Service<tonic::Request<Bytes>> for Model {
    type Response = tonic::Response<Bytes>;
    type Error = Status;
    type Future = Later<Result<tonic::Response<Bytes>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (seen, method) = (Arc::clone(&self.seen), self.method.clone());
        Box::pin(async move {
            let message = request.into_inner();
            let reply = match method.as_str() {
                "ServerLive" | "ServerReady" | "ModelReady" => {
                    proto::Live { ok: true }.encode_to_vec()
                }
                "ServerMetadata" => vec![0xff; 3],
                "ModelInfer" => {
                    let request = proto::InferRequest::decode(message).unwrap();
                    seen.infer.lock().push(request.clone());
                    infer(&seen, request).await?.encode_to_vec()
                }
                _ => return Err(Status::unimplemented(method)),
            };
            Ok(tonic::Response::new(Bytes::from(reply)))
        })
    }
}

async fn infer(seen: &Seen, request: proto::InferRequest) -> Result<proto::InferResponse, Status> {
    match request.model_name.as_str() {
        "expired" => return Err(Status::unavailable("Request timeout expired")),
        "refused" => return Err(Status::invalid_argument("t\u{e4}nsor 'x': no")),
        "cancelled" => return Err(Status::cancelled("said the server")),
        "never" => pending().await,
        "gated" => seen.gate.acquire().await.unwrap().forget(),
        _ => {}
    }
    Ok(echo(request))
}

/// Every output is the inline input at its place; those asked for in shared memory have an empty entry.
fn echo(request: proto::InferRequest) -> proto::InferResponse {
    let in_region = |place: usize| {
        request
            .outputs
            .get(place)
            .is_some_and(|output| output.parameters.contains_key("shared_memory_region"))
    };
    let mut inline = request.raw_inputs.iter().cloned();
    let mut response = proto::InferResponse {
        model_name: request.model_name.clone(),
        id: request.id.clone(),
        ..proto::InferResponse::default()
    };
    for (place, input) in request.inputs.iter().enumerate() {
        let shared = input.parameters.contains_key("shared_memory_region");
        let bytes = if shared { Bytes::new() } else { inline.next().unwrap() };
        response.outputs.push(proto::Output {
            name: input.name.replace("INPUT", "OUTPUT"),
            datatype: input.datatype.clone(),
            shape: input.shape.clone(),
            ..proto::Output::default()
        });
        response.raw_outputs.push(if in_region(place) { Bytes::new() } else { bytes });
    }
    assert!(inline.next().is_none(), "raw contents only for inputs that are not shared");
    response
}

#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
