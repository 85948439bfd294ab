//! One connection: one request at a time, its reply, the next request.
//!
//! Upholds invariant 2: lengths that a server names are checked against what was allowed before memory is
//! set aside for them.

use super::encode::Asked;
use crate::address::Socket;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is read at once.
const CHUNK: usize = 8 * 1024;

/// Bodies from this length on are taken over, with the buffer they came into.
const LONG: usize = 64 * 1024;

/// A server that has just answered is not looked at before it is asked again.
const JUST: Duration = Duration::from_millis(5);

/// A reply's head may be this long.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// A reply as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub status: u16,
    /// Length of the JSON at the beginning of the body, where binary data follows it.
    pub json_len: Option<usize>,
    pub body: Bytes,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// The request: its head, its JSON and what is short, then what is long.
    out: Vec<u8>,
    tail: Vec<Bytes>,
    /// Bytes of `out`, then of `tail`, that were sent.
    sent: usize,
    total: usize,
    /// What has come of the reply.
    input: Vec<u8>,
    head: Option<Head>,
    max_reply: usize,
    pub(super) asked: Asked,
    /// How long a blocking read of the socket blocks, as the system was last told.
    blocks_for: Option<Duration>,
    /// When the last reply had come.
    idle_since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    /// Where the body begins.
    at: usize,
    body: Body,
    json_len: Option<usize>,
    close: bool,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Length(usize),
    Chunked,
}

impl Connection {
    pub(super) fn open(to: &Socket, within: Duration, max_reply: usize) -> io::Result<Connection> {
        let stream = match to {
            Socket::Tcp(host, port) => Stream::Tcp(open_tcp(host, *port, within)?),
            Socket::Unix(path) => Stream::Unix(open_unix(path, within)?),
        };
        Ok(Connection {
            stream,
            out: Vec::with_capacity(1024),
            tail: Vec::new(),
            sent: 0,
            total: 0,
            input: Vec::with_capacity(CHUNK),
            head: None,
            max_reply,
            asked: Asked::Live,
            blocks_for: None,
            idle_since: Instant::now(),
        })
    }

    /// Room for the next request: what is put there is what is sent.
    pub(super) fn compose(&mut self, asked: Asked) -> (&mut Vec<u8>, &mut Vec<Bytes>) {
        self.asked = asked;
        self.out.clear();
        self.tail.clear();
        self.input.clear();
        self.head = None;
        self.sent = 0;
        self.total = 0;
        (&mut self.out, &mut self.tail)
    }

    /// True if nothing was ever sent of the request.
    pub(super) fn is_unsent(&self) -> bool {
        self.sent == 0
    }

    /// True if the server has said nothing since the last reply, not even goodbye. That costs a system
    /// call, which is saved where the reply has just come.
    pub(super) fn is_fresh(&self) -> bool {
        if self.idle_since.elapsed() < JUST {
            return true;
        }
        let mut byte = [0_u8; 1];
        let peeked = recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::AGAIN))
    }

    /// Sends as much as goes now; true when all is sent.
    pub(super) fn push(&mut self) -> io::Result<bool> {
        if self.total == 0 {
            self.total = self.out.len() + self.tail.iter().map(Bytes::len).sum::<usize>();
        }
        while self.sent < self.total {
            let mut skip = self.sent;
            let mut parts =
                std::iter::once(&self.out[..]).chain(self.tail.iter().map(|part| &part[..]));
            let part = loop {
                let part = parts.next().unwrap_or_default();
                match part.len() > skip {
                    true => break &part[skip..],
                    false => skip -= part.len(),
                }
            };
            // A server that is gone is an error here, and no signal to this process.
            match send(self.as_fd(), part, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
                .map_err(io::Error::from)
            {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes what has come; the reply once it is complete. The second value says whether the
    /// connection can be used again.
    pub(super) fn pull(&mut self) -> io::Result<Option<(Raw, bool)>> {
        loop {
            if let Some(reply) = self.complete()? {
                return Ok(Some(reply));
            }
            if !self.read(RecvFlags::DONTWAIT)? {
                return Ok(None);
            }
        }
    }

    /// As [`Connection::pull`], waiting once for at most about `patience` for something to come; `None`
    /// waits for ever. Call it with the whole request sent.
    pub(super) fn await_reply(
        &mut self,
        patience: Option<Duration>,
    ) -> io::Result<Option<(Raw, bool)>> {
        self.block_for(patience)?;
        self.read(RecvFlags::empty())?;
        self.complete()
    }

    /// Reads once; false if there is nothing.
    fn read(&mut self, flags: RecvFlags) -> io::Result<bool> {
        let at = self.input.len();
        self.input.resize(at + self.room(), 0);
        let read = recv(self.stream.as_fd(), &mut self.input[at..], flags).map(|(read, _)| read);
        self.input.truncate(at + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Has reads block for about `patience`. The system is told only if what it was told last would let
    /// them block for too long, or for so short that the caller woke up all the time.
    fn block_for(&mut self, patience: Option<Duration>) -> io::Result<()> {
        const SHORT: Duration = Duration::from_millis(20);
        let good = match (self.blocks_for, patience) {
            (None, None) => true,
            (Some(told), Some(patience)) => told <= patience && told >= patience / 2,
            _ => false,
        };
        if !good {
            // A little less, so that calls with the same timeout find it good.
            let tell = patience
                .map(|p| if p < SHORT { p.max(Duration::from_millis(1)) } else { p * 3 / 4 });
            set_socket_timeout(&self.stream, Timeout::Recv, tell)?;
            self.blocks_for = tell;
        }
        Ok(())
    }

    /// How much to read next: large bodies in large pieces.
    fn room(&self) -> usize {
        match self.head {
            Some(Head { at, body: Body::Length(len), .. }) => {
                (at + len - self.input.len()).clamp(1, 1 << 20)
            }
            _ => CHUNK,
        }
    }

    fn complete(&mut self) -> io::Result<Option<(Raw, bool)>> {
        if self.head.is_none() && !self.input.is_empty() {
            self.head = parse_head(&self.input, self.max_reply)?;
        }
        let Some(head) = self.head else {
            return match self.input.len() > MAX_HEAD {
                true => Err(invalid("the head of the reply is too long")),
                false => Ok(None),
            };
        };
        let come = &self.input[head.at..];
        let come_len = come.len();
        let (body, used) = match head.body {
            Body::Length(len) if come.len() < len => return Ok(None),
            Body::Length(len) if len >= LONG && come.len() == len => {
                (Bytes::from(std::mem::take(&mut self.input)).slice(head.at..), len)
            }
            Body::Length(len) => (Bytes::copy_from_slice(&come[..len]), len),
            Body::Chunked => match unchunk(come, self.max_reply)? {
                Some((body, used)) => (body.into(), used),
                None => return Ok(None),
            },
        };
        // More than was asked for means that the two sides have lost step.
        let in_step = come_len == used && self.sent == self.total;
        self.idle_since = Instant::now();
        let raw = Raw { status: head.status, json_len: head.json_len, body };
        Ok(Some((raw, in_step && !head.close)))
    }

    /// Waits for as long as `timeout` until there is something to read or, if the request is not sent
    /// yet, room to write. Whatever ends the wait, a signal too, ends the call.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<()> {
        let mut flags = PollFlags::IN;
        if self.sent < self.total {
            flags |= PollFlags::OUT;
        }
        let timeout = rustix::event::Timespec {
            tv_sec: timeout.as_secs().min(86_400) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(self, flags)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

fn open_tcp(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, within.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects, waiting while the queue of the listener is full: a stopped server fills it.
fn open_unix(path: &Path, within: Duration) -> io::Result<UnixStream> {
    const PAUSE: Duration = Duration::from_millis(1);
    let until = Instant::now() + within;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => {
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(PAUSE),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn parse_head(input: &[u8], max_reply: usize) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let at = match response.parse(input).map_err(|error| invalid(error.to_string()))? {
        httparse::Status::Complete(at) => at,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or(0);
    let (mut body, mut json_len) = (Body::Length(0), None);
    let mut close = response.version == Some(0);
    for header in response.headers.iter() {
        let value = || std::str::from_utf8(header.value).unwrap_or("").trim();
        let number =
            || value().parse().map_err(|_| invalid(format!("{} is no number", header.name)));
        if header.name.eq_ignore_ascii_case("content-length") {
            let len: usize = number()?;
            if len > max_reply {
                return Err(invalid(format!(
                    "a reply of {len} bytes; at most {max_reply} are accepted"
                )));
            }
            body = Body::Length(len);
        } else if header.name.eq_ignore_ascii_case("inference-header-content-length") {
            json_len = Some(number()?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= value().eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(Head { status, at, body, json_len, close }))
}

/// The body of a chunked reply and how many bytes it took, once it is complete.
fn unchunk(mut come: &[u8], max_reply: usize) -> io::Result<Option<(Vec<u8>, usize)>> {
    let whole = come.len();
    let mut body = Vec::new();
    loop {
        let (at, len) =
            match httparse::parse_chunk_size(come).map_err(|_| invalid("a chunk has no size"))? {
                httparse::Status::Complete((at, len)) => (at, len as usize),
                httparse::Status::Partial => return Ok(None),
            };
        if len > max_reply - body.len() {
            return Err(invalid(format!("a reply of more than {max_reply} bytes")));
        }
        let Some(chunk) = come.get(at..at + len) else { return Ok(None) };
        let Some(end) = come.get(at + len..at + len + 2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(invalid("a chunk does not end where it says"));
        }
        body.extend_from_slice(chunk);
        come = &come[at + len + 2..];
        if len == 0 {
            return Ok(Some((body, whole - come.len())));
        }
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
