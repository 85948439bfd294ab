//! The connection to the server: made when it is needed, and made anew when it is lost.

use parking_lot::Mutex;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::{Channel, Endpoint};

/// The longest that connecting may take: the server is on this machine.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A request that has no answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub sent: bool,
    pub source: io::Error,
}

/// A channel, and which of the link's it is.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub channel: Channel,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Link {
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// With the number of the next channel.
    Idle(u64),
    Connecting(watch::Receiver<Option<Attempt>>),
    Connected(Connected),
}

/// How connecting ended, for everybody who waits for it.
type Attempt = Result<Connected, (io::ErrorKind, String)>;

impl Link {
    pub(super) fn new(endpoint: Endpoint) -> Arc<Link> {
        Arc::new(Link { endpoint, state: Mutex::new(State::Idle(0)) })
    }

    /// The open channel, or a new one if it is there before `by`. Who gives up waiting does not end the
    /// attempt that others wait for.
    pub(super) async fn channel(self: &Arc<Self>, by: Instant) -> io::Result<Connected> {
        let mut attempt = match self.attempt() {
            Ok(connected) => return Ok(connected),
            Err(attempt) => attempt,
        };
        match timeout_at(by, attempt.wait_for(Option::is_some)).await {
            Ok(Ok(ended)) => match ended.as_ref().expect("waited for") {
                Ok(connected) => Ok(connected.clone()),
                Err((kind, message)) => Err(io::Error::new(*kind, message.clone())),
            },
            Ok(Err(_)) => Err(io::Error::other("the transport has ended")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")),
        }
    }

    /// Has the next request connect anew, unless that was done since. Requests that are open on the channel
    /// stay open.
    pub(super) fn forget(&self, lost: &Connected) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Connected(connected) if connected.number == lost.number) {
            *state = State::Idle(lost.number + 1);
        }
    }

    fn attempt(self: &Arc<Self>) -> Result<Connected, watch::Receiver<Option<Attempt>>> {
        let mut state = self.state.lock();
        let number = match &*state {
            State::Connected(connected) => return Ok(connected.clone()),
            State::Connecting(attempt) => return Err(attempt.clone()),
            State::Idle(number) => *number,
        };
        let (ended, attempt) = watch::channel(None);
        *state = State::Connecting(attempt.clone());
        tokio::spawn(Arc::clone(self).connect(number, ended));
        Err(attempt)
    }

    async fn connect(self: Arc<Self>, number: u64, ended: watch::Sender<Option<Attempt>>) {
        let attempt = match timeout(CONNECT_TIMEOUT, self.endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Connected { channel, number }),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long")),
        };
        let attempt = attempt.map_err(|error| (error.kind(), error.to_string()));
        *self.state.lock() = match &attempt {
            Ok(connected) => State::Connected(connected.clone()),
            Err(_) => State::Idle(number),
        };
        ended.send_replace(Some(attempt));
    }
}

impl Fault {
    /// Of a request that was sent.
    pub(super) fn lost(message: String) -> Fault {
        Fault { sent: true, source: io::Error::other(message) }
    }
}

/// An error with all its causes in its text, and the system's own kind if it is among them.
pub(super) fn told(error: &(dyn Error + 'static)) -> io::Error {
    let mut kind = io::ErrorKind::Other;
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        if let Some(system) = cause.downcast_ref::<io::Error>() {
            kind = system.kind();
        }
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.ends_with(&text)) {
            texts.push(text);
        }
    }
    io::Error::new(kind, texts.join(": "))
}

/// An error and what caused it, in turn.
pub(super) fn causes<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
