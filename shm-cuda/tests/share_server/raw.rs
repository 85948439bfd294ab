//! A client without a library: a socket, and the frames that the test wants to send.

use crate::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_cuda::share::wire::{
    ArgumentsOf, Channel, ChannelError, Hello, Reply, Request, VERSION, decode_value,
    encode_arguments,
};
use shm_cuda::share::wire::{Received, Welcome};
use shm_cuda::share::{Access, Arguments, Failure, Limits, Value};
use std::os::unix::net::UnixStream;
use std::path::Path;

pub struct Raw {
    pub channel: Channel,
    next: u64,
}

impl Raw {
    /// Connects and says nothing.
    pub fn silent(path: &Path) -> Raw {
        Raw::of(UnixStream::connect(path).unwrap())
    }

    pub fn of(socket: UnixStream) -> Raw {
        Raw { channel: Channel::new(socket, Limits::default()).unwrap(), next: 1 }
    }

    /// Connects and says who it is.
    pub fn greeted(path: &Path) -> Raw {
        let mut raw = Raw::silent(path);
        raw.greet((VERSION, VERSION)).unwrap();
        raw
    }

    pub fn greet(&mut self, versions: (u16, u16)) -> Result<Welcome, Failure> {
        let hello = Hello {
            versions,
            pid: std::process::id(),
            process: [7; 16],
            name: "a test".to_owned(),
        };
        self.send(&Request::Hello(hello));
        match self.hear() {
            (_, Received::Reply(Reply::Welcome(welcome))) => Ok(welcome),
            (_, Received::Reply(Reply::Failed(failure))) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request, and gives its number.
    pub fn send(&mut self, request: &Request) -> u64 {
        self.push(request.encode())
    }

    pub fn call(&mut self, endpoint: &str, arguments: &Arguments) -> u64 {
        let encoded = encode_arguments(arguments, &Limits::default()).unwrap();
        self.push(Request::encode_with(ArgumentsOf::Call, endpoint, encoded))
    }

    pub fn submit(&mut self, endpoint: &str, arguments: &Arguments) -> u64 {
        let encoded = encode_arguments(arguments, &Limits::default()).unwrap();
        self.push(Request::encode_with(ArgumentsOf::Submit, endpoint, encoded))
    }

    fn push(&mut self, message: shm_cuda::share::wire::Message) -> u64 {
        let request = self.next;
        self.next += 1;
        self.channel.push(request, message).unwrap();
        // One that refuses to listen may have said why.
        while self.channel.flush().is_ok_and(|all| !all) {
            self.ready(PollFlags::OUT);
        }
        request
    }

    /// The next thing that the server says.
    pub fn hear(&mut self) -> (u64, Received) {
        self.try_hear().expect("the server closed the connection")
    }

    /// The next thing that the server says; `None` once it has closed the connection.
    pub fn try_hear(&mut self) -> Option<(u64, Received)> {
        loop {
            if let Some(frame) = self.channel.next_frame().unwrap() {
                let received = Reply::decode(&frame.header, &frame.body, frame.descriptors);
                return Some((frame.header.request, received.unwrap()));
            }
            match self.channel.fill() {
                Ok(0) => self.ready(PollFlags::IN),
                Ok(_) => {}
                Err(ChannelError::Closed) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn ping(&mut self) {
        let ping = self.send(&Request::Ping);
        match self.hear() {
            (request, Received::Reply(Reply::Pong)) => assert_eq!(request, ping),
            other => panic!("{other:?}"),
        }
    }

    /// What a call gives.
    pub fn value(&mut self, endpoint: &str, arguments: &Arguments) -> Result<Value, Failure> {
        let call = self.call(endpoint, arguments);
        let (request, received) = self.hear();
        assert_eq!(request, call);
        value(received)
    }

    /// Waits until the server has closed the connection.
    pub fn hear_end(&mut self) {
        assert!(self.try_hear().is_none(), "it says something else");
    }

    fn ready(&self, flags: PollFlags) {
        let mut waiting = [PollFd::new(self.channel.socket(), flags)];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(poll(&mut waiting, Some(&patience)), Ok(1), "the server says nothing");
    }
}

pub fn value(received: Received) -> Result<Value, Failure> {
    match received {
        Received::Answer { value, .. } => {
            let limits = Limits::default();
            Ok(decode_value(&value.body, value.descriptors, &limits, Access::Read).unwrap())
        }
        Received::Reply(Reply::Failed(failure)) => Err(failure),
        other => panic!("{other:?}"),
    }
}
