//! What a call costs that says nothing: the same number of bytes to a socket and back from it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};

use crate::measure::pin;

/// Bytes of one call on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    pub request: usize,
    pub reply: usize,
}

/// Counts what a call sends and gets: passes everything on to a server.
pub(super) struct Relay {
    address: SocketAddr,
    request: Arc<AtomicUsize>,
    reply: Arc<AtomicUsize>,
}

impl Relay {
    /// Starts between clients and the server at that address.
    pub fn before(server: &str) -> Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let address = listener.local_addr().context("a listener without address")?;
        let (request, reply) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (there, back, server) = (request.clone(), reply.clone(), server.to_owned());
        // It ends with the process: nobody can wake it from its listening.
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok((client, server)) = client.and_then(|client| {
                    let server = TcpStream::connect(&server)?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    Ok((client, server))
                }) else {
                    continue;
                };
                pass(&client, &server, &there);
                pass(&server, &client, &back);
            }
        });
        Ok(Relay { address, request, reply })
    }

    /// Where clients connect to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What one call takes. The one before it opens connections and says what is said once.
    pub fn length(&self, mut call: impl FnMut() -> Result<()>) -> Result<Length> {
        call()?;
        let read = || [&self.request, &self.reply].map(|count| count.load(Ordering::SeqCst));
        let before = read();
        call()?;
        let after = read();
        Ok(Length { request: after[0] - before[0], reply: after[1] - before[1] })
    }
}

/// Passes on in a thread of its own, and counts before the other side can know.
fn pass(from: &TcpStream, to: &TcpStream, count: &Arc<AtomicUsize>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    let count = count.clone();
    thread::spawn(move || {
        let mut bytes = vec![0; 256 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            count.fetch_add(read, Ordering::SeqCst);
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        // The other direction hears of the end.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

/// A connection to a thread that answers each request of a fixed length with a reply of another.
pub(super) struct Wire {
    stream: Stream,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// Over which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Tcp,
    Unix,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Starts the thread, which ends with the connection, on a processor if one is given.
    pub fn open(socket: Socket, length: Length, cpu: Option<usize>) -> Result<Wire> {
        let stream = match socket {
            Socket::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
                let near = TcpStream::connect(listener.local_addr()?)?;
                let (far, _) = listener.accept()?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                thread::spawn(move || placed(cpu, || answer(far, length)));
                Stream::Tcp(near)
            }
            Socket::Unix => {
                let (near, far) = UnixStream::pair()?;
                thread::spawn(move || placed(cpu, || answer(far, length)));
                Stream::Unix(near)
            }
        };
        Ok(Wire { stream, request: vec![1; length.request], reply: vec![0; length.reply] })
    }

    /// One request and its reply.
    pub fn call(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => exchange(stream, &self.request, &mut self.reply),
            Stream::Unix(stream) => exchange(stream, &self.request, &mut self.reply),
        }
        .context("the echo is gone")
    }
}

/// Where the thread is not allowed there, it runs anywhere: then the limit is only less tight.
fn placed(cpu: Option<usize>, run: impl FnOnce()) {
    if let Some(Err(error)) = cpu.map(pin) {
        eprintln!("an echo runs anywhere: {error:#}");
    }
    run();
}

fn exchange(stream: &mut (impl Read + Write), request: &[u8], reply: &mut [u8]) -> io::Result<()> {
    stream.write_all(request)?;
    stream.read_exact(reply)
}

fn answer(mut stream: impl Read + Write, length: Length) {
    let (mut request, reply) = (vec![0; length.request], vec![1; length.reply]);
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&reply).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Length = Length { request: 700, reply: 300_000 };

    #[test]
    fn a_call_brings_back_a_whole_reply() {
        for socket in [Socket::Tcp, Socket::Unix] {
            let mut wire = Wire::open(socket, LENGTH, None).unwrap();
            for _ in 0..3 {
                wire.reply.fill(0);
                wire.call().unwrap();
                assert!(wire.reply.iter().all(|&byte| byte == 1), "{socket:?}");
            }
        }
    }

    #[test]
    fn a_relay_counts_one_call() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        thread::spawn(move || answer(listener.accept().unwrap().0, LENGTH));
        let relay = Relay::before(&server).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let mut reply = vec![0; LENGTH.reply];
        let found =
            relay.length(|| Ok(exchange(&mut client, &[1; LENGTH.request], &mut reply)?)).unwrap();
        assert_eq!(found, LENGTH);
    }
}
