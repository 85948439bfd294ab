//! A server of its own: sockets, a runtime and threads around an [`InferenceService`].

use super::listener::{Accepted, Bound, Connection, Listener};
use super::{BuildError, InferenceService, Model, ServiceBuilder};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shm_core::Deadline;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::thread;
use std::time::Duration;
use std::{fmt, io};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A running server. Dropping it shuts it down and waits a second at most for running requests: those that
/// take longer end on their own, unanswered.
pub struct Server {
    service: InferenceService,
    /// `None` once it has been shut down.
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    /// Where it listens over TCP.
    tcp: Vec<(Protocol, SocketAddr)>,
}

/// Collects what a [`Server`] is made of.
#[derive(Clone)]
#[must_use]
pub struct ServerBuilder {
    service: ServiceBuilder,
    addresses: Vec<(Protocol, Address)>,
    workers: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    #[cfg(feature = "grpc")]
    Grpc,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(String),
    Unix(PathBuf),
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The service could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No address was given.
    #[error(
        "the server has no address to listen at; give it one by `http`, `http_unix`, `grpc` or `grpc_unix`"
    )]
    NoAddress,
    /// An address could not be bound.
    #[error("cannot listen at '{address}': {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The threads could not be started.
    #[error("cannot start the server's threads: {0}")]
    Runtime(#[source] io::Error),
}

/// Requests were still running when the patience ended. They go on, and [`Server::shutdown`] may be
/// called again to wait for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{still_running} requests are still running after the deadline; wait longer, or drop the server and leave them"
)]
pub struct ShutdownError {
    /// How many.
    pub still_running: usize,
}

macro_rules! service_settings {
    ($($(#[doc = $doc:literal])* $name:ident($argument:ident: $type:ty);)*) => {$(
        $(#[doc = $doc])*
        pub fn $name(mut self, $argument: $type) -> ServerBuilder {
            self.service = self.service.$name($argument);
            self
        }
    )*};
}

impl ServerBuilder {
    service_settings! {
        /// Adds a model.
        model(model: impl Model);
        /// See [`ServiceBuilder::client_shared_memory`].
        client_shared_memory(allowed: bool);
        /// See [`ServiceBuilder::sigbus_guard`].
        sigbus_guard(installed: bool);
        /// See [`ServiceBuilder::max_in_flight`].
        max_in_flight(requests: usize);
        /// See [`ServiceBuilder::max_body`].
        max_body(bytes: usize);
        /// See [`ServiceBuilder::max_regions`].
        max_regions(regions: usize);
        /// See [`ServiceBuilder::name`].
        name(name: impl Into<String>);
        /// See [`ServiceBuilder::version`].
        version(version: impl Into<String>);
    }

    /// Listens for HTTP at `host:port`; port 0 takes a free one.
    pub fn http(self, address: impl Into<String>) -> ServerBuilder {
        self.address(Protocol::Http, Address::Tcp(address.into()))
    }

    /// Listens for HTTP at a Unix socket.
    pub fn http_unix(self, path: impl Into<PathBuf>) -> ServerBuilder {
        self.address(Protocol::Http, Address::Unix(path.into()))
    }

    /// Listens for gRPC at `host:port`; port 0 takes a free one.
    #[cfg(feature = "grpc")]
    pub fn grpc(self, address: impl Into<String>) -> ServerBuilder {
        self.address(Protocol::Grpc, Address::Tcp(address.into()))
    }

    /// Listens for gRPC at a Unix socket.
    #[cfg(feature = "grpc")]
    pub fn grpc_unix(self, path: impl Into<PathBuf>) -> ServerBuilder {
        self.address(Protocol::Grpc, Address::Unix(path.into()))
    }

    /// How many threads serve connections; as many as there are processors, but 2 to 8, unless said
    /// otherwise. Models that block have further threads.
    pub fn workers(mut self, threads: usize) -> ServerBuilder {
        self.workers = Some(threads.max(1));
        self
    }

    fn address(mut self, protocol: Protocol, address: Address) -> ServerBuilder {
        self.addresses.push((protocol, address));
        self
    }

    /// Binds the addresses and serves them.
    pub fn start(self) -> Result<Server, StartError> {
        if self.addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        let mut bound = Vec::new();
        let mut tcp = Vec::new();
        for (protocol, address) in self.addresses {
            let socket = match &address {
                Address::Unix(path) => Bound::unix(path),
                Address::Tcp(address) => Bound::tcp(address).map(|(socket, address)| {
                    tcp.push((protocol, address));
                    socket
                }),
            };
            let bind = |source| StartError::Bind { address: address.to_string(), source };
            bound.push((protocol, socket.map_err(bind)?));
        }
        let service = self.service.build()?;
        let workers = self.workers.unwrap_or_else(|| {
            thread::available_parallelism().map_or(2, |processors| processors.get().clamp(2, 8))
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("shm-triton")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let (stop, stopped) = watch::channel(false);
        {
            let _on_runtime = runtime.enter();
            for (protocol, socket) in bound {
                let listener = socket.listen().map_err(StartError::Runtime)?;
                runtime.spawn(serve(protocol, listener, service.clone(), stopped.clone()));
            }
        }
        Ok(Server { service, runtime: Some(runtime), stop, tcp })
    }
}

impl Server {
    /// Starts to collect what a server is made of.
    pub fn builder() -> ServerBuilder {
        ServerBuilder { service: InferenceService::builder(), addresses: Vec::new(), workers: None }
    }

    /// Where it listens for HTTP over TCP: the first such address.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.first(Protocol::Http)
    }

    /// Where it listens for gRPC over TCP: the first such address.
    #[cfg(feature = "grpc")]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.first(Protocol::Grpc)
    }

    fn first(&self, protocol: Protocol) -> Option<SocketAddr> {
        self.tcp.iter().find(|(other, _)| *other == protocol).map(|(_, address)| *address)
    }

    /// The service behind its transports.
    pub fn service(&self) -> &InferenceService {
        &self.service
    }

    /// Takes no more connections and requests, waits until the running requests are answered, and ends
    /// the threads.
    pub fn shutdown(&mut self, deadline: impl Into<Deadline>) -> Result<(), ShutdownError> {
        let deadline = deadline.into();
        let Some(runtime) = &self.runtime else { return Ok(()) };
        self.service.core.admission.close();
        self.stop.send_replace(true);
        let stop = &self.stop;
        // On a thread of its own, since the caller's may belong to another runtime.
        let ended = thread::scope(|scope| {
            let ended = scope.spawn(|| {
                runtime.block_on(async {
                    match deadline.remaining() {
                        None => {
                            stop.closed().await;
                            true
                        }
                        Some(patience) => {
                            tokio::time::timeout(patience, stop.closed()).await.is_ok()
                        }
                    }
                })
            });
            ended.join().unwrap_or(false)
        });
        let still_running = self.service.core.admission.running();
        if !ended && still_running > 0 {
            return Err(ShutdownError { still_running });
        }
        self.end_threads(LEFT_OVER);
        Ok(())
    }

    fn end_threads(&mut self, patience: Duration) {
        if let Some(runtime) = self.runtime.take() {
            let ending = thread::spawn(move || runtime.shutdown_timeout(patience));
            // It cannot panic: this thread is no runtime's.
            let _ = ending.join();
        }
    }
}

/// How long threads without a request may take to end.
const LEFT_OVER: Duration = Duration::from_secs(1);

impl Drop for Server {
    fn drop(&mut self) {
        if self.shutdown(LEFT_OVER).is_err() {
            self.end_threads(Duration::ZERO);
        }
    }
}

/// Accepts connections until told to stop, and then waits for those that are open.
async fn serve(
    protocol: Protocol,
    listener: Listener,
    service: InferenceService,
    stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut stop = stopped.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => {
                    connections.spawn(connection(protocol, stream, service.clone(), stopped.clone()));
                }
                // Out of descriptors, or the client is gone already: others may fare better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stop) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    protocol: Protocol,
    stream: Accepted,
    service: InferenceService,
    stopped: watch::Receiver<bool>,
) {
    match stream {
        Accepted::Tcp(stream) => speak(protocol, stream, service, stopped).await,
        Accepted::Unix(stream) => speak(protocol, stream, service, stopped).await,
    }
}

async fn speak<C: Connection + 'static>(
    protocol: Protocol,
    stream: C,
    service: InferenceService,
    mut stopped: watch::Receiver<bool>,
) {
    let stream = TokioIo::new(stream);
    // How a connection ends is the client's affair: its requests have been answered or are lost to it.
    match protocol {
        Protocol::Http => {
            let answer = service_fn(|request| {
                let service = &service;
                async move { Ok::<_, Infallible>(service.http(request).await) }
            });
            let mut connection = pin!(http1::Builder::new().serve_connection(stream, answer));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = told(&mut stopped) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
        #[cfg(feature = "grpc")]
        Protocol::Grpc => super::grpc::speak(stream, service, stopped).await,
    }
}

/// Returns once the server is to stop.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    // The sender is gone only with the server.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("tcp", &self.tcp)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
