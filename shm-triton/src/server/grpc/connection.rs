//! One connection of a gRPC client.

use crate::server::InferenceService;
use crate::server::standalone::told;
use hyper::rt::{Read, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use std::pin::pin;
use tokio::sync::watch;
use tonic::codegen::Service;

/// How far a client may send ahead: large tensors come in one go.
const WINDOW: u32 = 16 << 20;
const FRAME: u32 = 1 << 20;
/// Calls of one connection that may be open at once.
const STREAMS: u32 = 4096;

/// Serves a connection until it ends, or until the server stops and its calls are answered.
pub(in crate::server) async fn speak<C: Read + Write + Send + Unpin + 'static>(
    stream: C,
    service: InferenceService,
    mut stopped: watch::Receiver<bool>,
) {
    let procedures = service.grpc();
    let answer = service_fn(move |request| procedures.clone().call(request));
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .max_frame_size(FRAME)
            .max_concurrent_streams(STREAMS)
            .serve_connection(stream, answer)
    );
    // How a connection ends is the client's affair: its calls have been answered or are lost to it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
