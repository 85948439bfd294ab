//! gRPC: one connection that all requests share, driven by one thread that the transport owns.
//!
//! Upholds invariant 3: a request is lost, not answered, unless the server itself sent its status; no
//! deadline and no cancellation ever reaches the server.

mod exchange;
mod link;
mod question;
mod rpc;

use self::exchange::{Open, Tally};
use self::link::{CONNECT_TIMEOUT, Link};
use self::question::Question;
use self::rpc::Answer;
use super::{Ending, Lost, Outcome, Patience, Request, Transport};
use http::uri::{Authority, Scheme, Uri};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::codegen::Service;
use tonic::transport::Endpoint;

/// Room for an error's text, which comes in a header.
const MAX_HEADERS: u32 = 1 << 20;

/// Where a server listens for gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GrpcTarget {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Requests over gRPC.
pub(crate) struct GrpcTransport {
    target: GrpcTarget,
    link: Arc<Link>,
    open: Arc<AtomicUsize>,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl GrpcTransport {
    /// Starts the transport's thread. The connection is made by the first request, and made anew by the next
    /// one after it is lost.
    pub(crate) fn connect(target: GrpcTarget) -> io::Result<GrpcTransport> {
        let link = Link::new(endpoint(&target)?);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread =
            thread::Builder::new().name("shm-triton-grpc".to_owned()).spawn(move || {
                // Ends by the sender's drop.
                let _ = runtime.block_on(stopped);
                // Drops, and thereby tells, what is open. A name that is still being looked up is
                // not waited for.
                runtime.shutdown_background();
            })?;
        Ok(GrpcTransport {
            target,
            link,
            open: Arc::new(AtomicUsize::new(0)),
            runtime: handle,
            thread: Some(thread),
            stop: Some(stop),
        })
    }

    fn on_own_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|own| own.thread().id() == thread::current().id())
    }
}

impl Transport for GrpcTransport {
    fn call(
        &self,
        request: Request<'_>,
        patience: &Patience<'_>,
        late: &mut dyn FnMut() -> Ending,
    ) -> Outcome {
        if self.on_own_thread() {
            let source = io::Error::new(
                io::ErrorKind::WouldBlock,
                "an ending may not wait for another request",
            );
            return Outcome::Lost(Lost { sent: false, source });
        }
        let question = match Question::of(request) {
            Ok(question) => question,
            Err(refusal) => return Outcome::Answered(refusal),
        };
        let connect_within = patience.slice(CONNECT_TIMEOUT);
        let (open, exchange) = Open::awaited(Tally::new(&self.open));
        self.runtime.spawn(carry(
            Arc::clone(&self.link),
            question,
            open,
            Instant::now() + connect_within,
        ));
        exchange.wait(patience, late)
    }

    fn start(&self, request: Request<'_>, ending: Ending) {
        let open = Open::new(ending, Tally::new(&self.open));
        match Question::of(request) {
            Ok(question) => {
                let by = Instant::now() + CONNECT_TIMEOUT;
                self.runtime.spawn(carry(Arc::clone(&self.link), question, open, by));
            }
            Err(refusal) => open.end(Ok(refusal)),
        }
    }

    fn after(&self, delay: Duration, then: Box<dyn FnOnce() + Send>) {
        self.runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            then();
        });
    }

    fn in_flight(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.on_own_thread() {
            return;
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported, and there is nobody to pass it to.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport")
            .field("target", &self.target)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// Carries one request, and tells how it ended.
async fn carry(link: Arc<Link>, question: Question, mut open: Open, connect_by: Instant) {
    let mut connected = match link.channel(connect_by).await {
        Ok(connected) => connected,
        Err(source) => return open.end(Err(Lost { sent: false, source })),
    };
    if let Err(error) = poll_fn(|context| connected.channel.poll_ready(context)).await {
        link.forget(&connected);
        return open.end(Err(Lost { sent: false, source: link::told(&error) }));
    }
    if !open.sending() {
        return;
    }
    match rpc::unary(&mut connected.channel, question.method, question.message).await {
        Ok(Answer::Message(message)) => open.end(Ok(question.expected.reply(message))),
        Ok(Answer::Other(reply)) => open.end(Ok(reply)),
        Err(fault) => {
            link.forget(&connected);
            open.end(Err(Lost { sent: fault.sent, source: fault.source }));
        }
    }
}

fn endpoint(target: &GrpcTarget) -> io::Result<Endpoint> {
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    let endpoint = match target {
        GrpcTarget::Tcp { host, port } => {
            let uri = tcp_uri(host, *port).ok_or_else(|| {
                wrong(format!("host is {host:?}; expected a name or an IP address, without port"))
            })?;
            Endpoint::from(uri)
        }
        GrpcTarget::Unix(path) => {
            let text = path.to_str().filter(|text| !text.is_empty()).ok_or_else(|| {
                wrong(format!("socket path is {path:?}; expected one that is UTF-8 and not empty"))
            })?;
            Endpoint::from_shared(format!("unix://{text}"))
                .map_err(|error| wrong(format!("socket path is {path:?}: {error}")))?
        }
    };
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).http2_max_header_list_size(MAX_HEADERS))
}

fn tcp_uri(host: &str, port: u16) -> Option<Uri> {
    let host = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    };
    let authority: Authority = format!("{host}:{port}").parse().ok()?;
    // An authority can have more than a host, which would be taken out of this one: a user, another port.
    if host.is_empty() || authority.host() != host {
        return None;
    }
    Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query("/").build().ok()
}

#[cfg(test)]
mod tests;
