//! Finding the server, making sure whose it is, and the first two frames.
//!
//! Upholds invariants 3 (whose process it is, is the kernel's word), 5 (a server that is missing, full or
//! stopped costs no more than was allowed) and 10.

use super::super::limits::Limits;
use super::super::unshared::Unshared;
use super::super::wire::{
    Channel, ChannelError, Hello, Received, Reply, Request, VERSION, Welcome,
};
use super::config::ClientConfig;
use super::error::ClientError;
use super::line::{Line, await_events};
use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shm_core::Deadline;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Between two attempts, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// A server that has accepted is given this long to say who it is, however short the wait for it was.
const WELCOME: Duration = Duration::from_secs(1);
/// The greeting is the first request.
const GREETING: u64 = 1;

/// Connects, and gives the line with what the server says of itself.
pub(super) fn connect(config: &ClientConfig) -> Result<(Line, Welcome), ClientError> {
    let deadline = Deadline::after(config.connect_within);
    let mut pause = PAUSES.0;
    loop {
        let reason = match attempt(config, deadline) {
            Ok(met) => return Ok(met),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Passing(reason)) => reason,
        };
        if deadline.has_passed() {
            return Err(unreachable(config, reason));
        }
        std::thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Why an attempt came to nothing.
enum Refusal {
    /// It will be the same the next time.
    Final(ClientError),
    /// A server may be about to begin.
    Passing(String),
}

fn attempt(config: &ClientConfig, deadline: Deadline) -> Result<(Line, Welcome), Refusal> {
    let socket = open(config)?;
    check_owner(config, &socket).map_err(Refusal::Final)?;
    let system = |error: io::Error| Refusal::Final(unreachable(config, error.to_string()));
    let socket = Unshared::from(socket);
    let copy = socket.try_clone().map_err(system)?;
    let mut reader = Channel::over(copy, config.limits).map_err(system)?;
    let allowed = match deadline.remaining() {
        Some(left) => Deadline::after(left.max(WELCOME)),
        None => Deadline::NEVER,
    };
    let welcome = greet(config, &mut reader, allowed)?;
    let limits = Limits {
        body: usize::try_from(welcome.body_limit).unwrap_or(usize::MAX),
        opaque: config.limits.opaque && welcome.opaque,
        ..config.limits
    };
    let line = Line::new(socket, reader, limits).map_err(system)?;
    Ok((line, welcome))
}

/// A connected socket. It never waits: a server whose queue is full is asked again.
fn open(config: &ClientConfig) -> Result<UnixStream, Refusal> {
    let last = |reason: String| Refusal::Final(unreachable(config, reason));
    let address = SocketAddrUnix::new(&config.path).map_err(|error| {
        last(match error {
            Errno::NAMETOOLONG => {
                "the path is longer than the 107 bytes of a socket address; choose a shorter one"
                    .to_owned()
            }
            _ => format!("the path is none for a socket ({error})"),
        })
    })?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| last(format!("a socket cannot be made ({error})")))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(UnixStream::from(socket)),
        Err(Errno::NOENT) => Err(Refusal::Passing("there is no such path".to_owned())),
        Err(Errno::AGAIN | Errno::INTR) => {
            Err(Refusal::Passing("it has more connections waiting than it takes".to_owned()))
        }
        Err(Errno::CONNREFUSED) => match rustix::fs::lstat(&config.path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Err(last("a regular file is there, and no socket; is the path right?".to_owned()))
            }
            _ => Err(Refusal::Passing("nobody listens at the socket that is there".to_owned())),
        },
        Err(Errno::ACCESS | Errno::PERM) => Err(last(
            "this user may not open it; run as the user of the server, or have the folder and \
             the socket opened to this one"
                .to_owned(),
        )),
        Err(Errno::PROTOTYPE) => {
            Err(last("another kind of socket is there; is the path right?".to_owned()))
        }
        Err(error) => Err(last(error.to_string())),
    }
}

/// Nothing is said to a server of somebody else.
fn check_owner(config: &ClientConfig, socket: &UnixStream) -> Result<(), ClientError> {
    let peer = rustix::net::sockopt::socket_peercred(socket)
        .map_err(|error| unreachable(config, format!("its owner is not known ({error})")))?;
    let (user, expected) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    if user == expected || config.trust_users.contains(&user) {
        return Ok(());
    }
    Err(ClientError::Untrusted { path: config.path.clone(), user, expected })
}

fn greet(
    config: &ClientConfig,
    channel: &mut Channel,
    deadline: Deadline,
) -> Result<Welcome, Refusal> {
    let hello = Request::Hello(Hello {
        versions: (VERSION, VERSION),
        pid: std::process::id(),
        process: crate::ipc::this_process(),
        name: config.name.clone(),
    });
    let failed = |failure| Refusal::Final(ClientError::Failed(failure));
    channel.push(GREETING, hello.encode()).map_err(failed)?;
    let mut sent = false;
    loop {
        if !sent {
            sent = channel.flush().map_err(|error| refusal(config, error))?;
        }
        if let Some(frame) = channel.next_frame().map_err(|error| refusal(config, error))? {
            let reply = Reply::decode(&frame.header, &frame.body, frame.descriptors);
            return match reply.map_err(|error| protocol(config, error.to_string()))? {
                Received::Reply(Reply::Welcome(welcome)) if welcome.version == VERSION => {
                    Ok(welcome)
                }
                Received::Reply(Reply::Welcome(welcome)) => Err(protocol(
                    config,
                    format!("expected version {VERSION}, found {}", welcome.version),
                )),
                Received::Reply(Reply::Failed(failure)) => Err(failed(failure)),
                Received::Reply(Reply::Stopping) => continue,
                _ => Err(protocol(config, "expected a welcome, found another reply".to_owned())),
            };
        }
        if deadline.has_passed() {
            return Err(Refusal::Passing(
                "a server accepted the connection and said nothing; it is stopped or overloaded"
                    .to_owned(),
            ));
        }
        let events = if sent { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        await_events(channel.socket(), events, deadline);
        channel.fill().map_err(|error| refusal(config, error))?;
    }
}

fn refusal(config: &ClientConfig, error: ChannelError) -> Refusal {
    match error {
        ChannelError::Protocol(error) => protocol(config, error.to_string()),
        // It is ending, or another one takes its place.
        ended => Refusal::Passing(format!("a server accepted the connection, but {ended}")),
    }
}

fn protocol(config: &ClientConfig, reason: String) -> Refusal {
    Refusal::Final(ClientError::Protocol { path: config.path.clone(), reason })
}

fn unreachable(config: &ClientConfig, reason: String) -> ClientError {
    ClientError::Unreachable { path: config.path.clone(), reason }
}
