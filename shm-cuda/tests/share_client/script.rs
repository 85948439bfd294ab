//! A server that does what a test tells it, and nothing else.

use crate::share_rig::{PATIENCE, Place};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use shm_core::Dtype;
use shm_cuda::share::wire::{
    Answer, Channel, EncodedValue, Frame, Reply, Request, VERSION, Welcome, encode_value,
};
use shm_cuda::share::{Client, ClientConfig, Limits, Tensor, Value};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

pub struct Script {
    channel: Channel,
}

/// A scripted server with a client of it.
pub fn connected(place: &Place) -> (Script, Client) {
    let listener = UnixListener::bind(place.path()).unwrap();
    let config = ClientConfig::new(place.path());
    let client = std::thread::spawn(move || Client::connect(config));
    let script = Script::welcome(&listener);
    (script, client.join().unwrap().unwrap())
}

pub fn hail() -> Welcome {
    Welcome {
        version: VERSION,
        server: [7; 16],
        pid: 4242,
        process: [8; 16],
        body_limit: 1 << 20,
        in_flight_limit: 4096,
        opaque: false,
    }
}

impl Script {
    /// Accepts a client and answers its greeting.
    pub fn welcome(listener: &UnixListener) -> Script {
        Script::answering(listener, &Reply::Welcome(hail()))
    }

    /// Accepts a client and answers its greeting with something.
    pub fn answering(listener: &UnixListener, reply: &Reply) -> Script {
        let (socket, _) = listener.accept().unwrap();
        let mut script = Script { channel: Channel::new(socket, Limits::default()).unwrap() };
        let (id, request) = script.hear();
        assert!(matches!(request, Request::Hello(_)), "{request:?}");
        script.say(id, reply);
        script
    }

    pub fn say(&mut self, id: u64, reply: &Reply) {
        self.channel.push(id, reply.encode()).unwrap();
        self.send();
    }

    pub fn send(&mut self) {
        while !self.channel.flush().unwrap() {
            self.poll(PollFlags::OUT);
        }
    }

    /// The next request with its number.
    pub fn hear(&mut self) -> (u64, Request) {
        let Frame { header, body, descriptors } = self.frame();
        (header.request, Request::decode(&header, &body, descriptors).unwrap())
    }

    pub fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.channel.next_frame().unwrap() {
                return frame;
            }
            self.poll(PollFlags::IN);
            self.channel.fill().unwrap();
        }
    }

    pub fn socket(&self) -> &UnixStream {
        self.channel.socket()
    }

    fn poll(&self, events: PollFlags) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap();
            let mut polled = [PollFd::new(self.channel.socket(), events)];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(0) => panic!("the client is silent"),
                Err(Errno::INTR) => {}
                told => return assert_eq!(told, Ok(1)),
            }
        }
    }
}

/// An answer with one tensor on the host.
pub fn answer(lease: Option<u64>, object: Option<u64>) -> Reply {
    Reply::Answer(Answer { value: tensor(), lease, object })
}

fn tensor() -> EncodedValue {
    let tensor = Tensor::copy_of(Dtype::U8, &[3], &[1, 2, 3]).unwrap();
    encode_value(&Value::Tensor(tensor), &Limits::default()).unwrap()
}
