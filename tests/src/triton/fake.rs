//! A server that speaks HTTP and answers as a test wants: wrongly, late, or not at all.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct FakeRequest {
    /// `GET`, `POST`.
    pub method: String,
    /// With the leading slash.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum FakeReply {
    /// A reply in good order: its status, further headers, its body.
    Http(u16, BTreeMap<String, String>, Vec<u8>),
    /// These bytes, whatever they are; the connection stays open.
    Raw(Vec<u8>),
    /// These bytes, and the connection is closed.
    RawThenClose(Vec<u8>),
    /// The connection is closed without a word.
    Close,
}

impl FakeReply {
    /// A reply of JSON.
    pub fn json(status: u16, body: impl Into<String>) -> FakeReply {
        FakeReply::Http(status, BTreeMap::new(), body.into().into_bytes())
    }
}

/// The server: ends with its threads when it is dropped.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

struct Shared {
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    answer: Box<dyn Fn(&FakeRequest) -> FakeReply + Send + Sync>,
}

impl FakeServer {
    /// Listens at a port of the loopback interface.
    ///
    /// # Errors
    /// The system's.
    pub fn start(
        answer: impl Fn(&FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> io::Result<FakeServer> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
            answer: Box::new(answer),
        });
        let theirs = shared.clone();
        let accepts = thread::spawn(move || accept(&listener, &theirs));
        Ok(FakeServer { address, shared, accepts: Some(accepts) })
    }

    /// Where to connect to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for stream in self.shared.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(accepts) = self.accepts.take() {
            let _ = accepts.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            if shared.ended.load(Ordering::Acquire) {
                break;
            }
            let Ok(stream) = stream else { continue };
            if let Ok(copy) = stream.try_clone() {
                shared.lock().push(copy);
            }
            // How a connection ends is the client's affair.
            scope.spawn(move || drop(converse(stream, shared)));
        }
        // A connection that was accepted while this was dropped.
        for stream in shared.lock().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut from, mut to) = (BufReader::new(stream.try_clone()?), stream);
    while let Some(request) = read(&mut from)? {
        match (shared.answer)(&request) {
            FakeReply::Http(status, headers, body) => {
                let mut head =
                    format!("HTTP/1.1 {status} Fake\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                to.write_all(&[head.as_bytes(), b"\r\n", &body].concat())?;
            }
            FakeReply::Raw(bytes) => to.write_all(&bytes)?,
            FakeReply::RawThenClose(bytes) => {
                to.write_all(&bytes)?;
                return to.shutdown(Shutdown::Both);
            }
            FakeReply::Close => return to.shutdown(Shutdown::Both),
        }
    }
    Ok(())
}

/// The next request; `None` at the end.
fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<FakeRequest>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        if from.read_line(&mut header)? == 0 {
            return Ok(None);
        }
        match header.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(FakeRequest { method, path, body }))
}
