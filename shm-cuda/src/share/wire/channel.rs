//! A socket that carries frames with descriptors, without ever blocking.
//!
//! Upholds invariants 2 (a frame beyond a limit is refused by its header alone, and what came with it
//! is closed), 3 (the end of a peer is what the kernel says) and 5 (nothing waits).

use super::super::failure::Failure;
use super::super::limits::{Limits, MOST_DESCRIPTORS};
use super::super::unshared::Unshared;
use super::decode::DecodeError;
use super::header::{HEADER_LEN, Header};
use super::message::Message;
use super::outgoing::Outgoing;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// One end of a connection: what was read and is not a frame yet, what is to be written.
#[derive(Debug)]
pub struct Channel {
    socket: Unshared,
    limits: Limits,
    /// Whole frames that were not taken, and at most the beginning of a header behind them.
    buffer: Box<[u8]>,
    /// What of `buffer` is not taken yet.
    start: usize,
    end: usize,
    /// A frame whose header was taken from the buffer, and whose body is not all there.
    partial: Option<Partial>,
    /// Descriptors that came with the bytes that are not taken yet.
    descriptors: VecDeque<OwnedFd>,
    outgoing: Outgoing,
    /// Why nothing that the peer sent can be understood any more.
    broken: Option<DecodeError>,
}

#[derive(Debug)]
struct Partial {
    header: Header,
    body: Vec<u8>,
}

/// One received frame.
#[derive(Debug)]
pub struct Frame {
    /// Its fixed part.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a channel is of no use any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the connection ended")]
    Closed,
    /// The other side does not speak this protocol, or exceeds a limit.
    #[error(transparent)]
    Protocol(#[from] DecodeError),
    /// The system refused.
    #[error("the connection failed: {0}")]
    System(#[source] io::Error),
}

impl Channel {
    /// Takes over a connected socket and makes it non-blocking. A peer may send what `limits` say. A
    /// forked child does not have it.
    pub fn new(socket: UnixStream, limits: Limits) -> io::Result<Channel> {
        Channel::over(socket.into(), limits)
    }

    /// The same with a socket that is kept from children already.
    pub(in super::super) fn over(socket: Unshared, limits: Limits) -> io::Result<Channel> {
        socket.set_nonblocking(true)?;
        Ok(Channel {
            socket,
            limits,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            start: 0,
            end: 0,
            partial: None,
            descriptors: VecDeque::new(),
            outgoing: Outgoing::default(),
            broken: None,
        })
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Reads what there is, once; 0 when there is nothing, or no room because many frames were not
    /// taken yet. Frames that came before the end of a connection can be taken after it.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] at the end, and what else makes the channel useless.
    pub fn fill(&mut self) -> Result<usize, ChannelError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            return Ok(0);
        }
        match self.receive() {
            Ok(0) => Err(ChannelError::Closed),
            Ok(read) => Ok(read),
            Err(ChannelError::System(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(ChannelError::Protocol(error)) => Err(self.breaks(error)),
            Err(error) => Err(error),
        }
    }

    /// The next complete frame of what was read.
    ///
    /// # Errors
    /// [`ChannelError::Protocol`]; from then on always the same.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ChannelError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        self.parse().map_err(|error| self.breaks(error))
    }

    /// Queues a frame.
    ///
    /// # Errors
    /// If it is too large for a frame of the protocol, or a storage of it cannot be sent any more.
    pub fn push(&mut self, request: u64, message: Message) -> Result<(), Failure> {
        self.outgoing.push(request, message)
    }

    /// Writes what is queued, as far as it goes without waiting; true if nothing is left.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] if the peer is gone, and what else makes the channel useless.
    pub fn flush(&mut self) -> Result<bool, ChannelError> {
        self.outgoing.flush(&self.socket)
    }

    /// Bytes that are queued.
    pub fn queued(&self) -> usize {
        self.outgoing.len()
    }

    /// One system call. A body that is being received goes to its place at once.
    fn receive(&mut self) -> Result<usize, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let tail = &mut self.buffer[self.end..];
        let (body_len, missing) = match &mut self.partial {
            Some(Partial { header, body }) => (body.len(), header.body as usize - body.len()),
            None => (0, 0),
        };
        // A length alone takes no more memory than this.
        let wanted = missing.min(4 * CHUNK);
        let received = loop {
            let received = match &mut self.partial {
                Some(Partial { body, .. }) if wanted > 0 => {
                    body.resize(body_len + wanted, 0);
                    let mut parts =
                        [IoSliceMut::new(&mut body[body_len..]), IoSliceMut::new(&mut *tail)];
                    // What lies behind the body may follow only if the whole body is asked for.
                    let parts = if wanted == missing { &mut parts[..] } else { &mut parts[..1] };
                    rustix::net::recvmsg(&self.socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC)
                }
                _ => rustix::net::recvmsg(
                    &self.socket,
                    &mut [IoSliceMut::new(&mut *tail)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                ),
            };
            match received {
                Err(Errno::INTR) => continue,
                received => break received,
            }
        };
        let read = received.as_ref().map_or(0, |received| received.bytes);
        if let Some(Partial { body, .. }) = &mut self.partial {
            body.truncate(body_len + read.min(wanted));
        }
        self.end += read.saturating_sub(wanted);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        match received {
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) => {
                let found = "fewer than were sent, more than a frame may carry or than this process may open";
                Err(DecodeError::new("descriptors", "all that were sent", found).into())
            }
            Ok(received) => Ok(received.bytes),
            Err(Errno::CONNRESET | Errno::PIPE) => Err(ChannelError::Closed),
            Err(errno) => Err(ChannelError::System(errno.into())),
        }
    }

    fn parse(&mut self) -> Result<Option<Frame>, DecodeError> {
        if self.partial.is_none() {
            let read = &self.buffer[self.start..self.end];
            let Some((header, rest)) = read.split_first_chunk::<HEADER_LEN>() else {
                let most = if read.is_empty() { 0 } else { self.limits.descriptors };
                return self.within(most).map(|()| None);
            };
            let header = Header::parse(header, &self.limits)?;
            let len = rest.len().min(header.body as usize);
            let body = rest[..len].to_vec();
            self.start += HEADER_LEN + len;
            self.partial = Some(Partial { header, body });
        }
        let Some(Partial { header, body }) =
            self.partial.take_if(|frame| frame.body.len() == frame.header.body as usize)
        else {
            let announced = self.partial.as_ref().map_or(0, |frame| frame.header.descriptors);
            return self.within(announced.into()).map(|()| None);
        };
        let announced = usize::from(header.descriptors);
        if self.descriptors.len() < announced {
            let expected = format!("{announced} with the frame");
            return Err(DecodeError::new("descriptors", expected, self.descriptors.len()));
        }
        let descriptors = self.descriptors.drain(..announced).collect();
        Ok(Some(Frame { header, body, descriptors }))
    }

    /// That no more descriptors wait than what is left of the bytes may announce.
    fn within(&self, most: usize) -> Result<(), DecodeError> {
        if self.descriptors.len() > most {
            let expected = format!("{most} as announced");
            return Err(DecodeError::new("descriptors", expected, self.descriptors.len()));
        }
        Ok(())
    }

    /// Nothing that was read is of use any more.
    fn breaks(&mut self, error: DecodeError) -> ChannelError {
        self.descriptors.clear();
        self.partial = None;
        (self.start, self.end) = (0, 0);
        self.broken = Some(error.clone());
        error.into()
    }
}
