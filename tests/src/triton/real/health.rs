//! Asking a server whether it is ready.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Whether the server at that address says that it and all its models are ready.
pub(super) fn ready(http_addr: &str) -> bool {
    match http_addr.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }),
        None => TcpStream::connect(http_addr).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }),
    }
    .unwrap_or(false)
}

const PATIENCE: Duration = Duration::from_secs(5);

fn ask(mut stream: impl Read + Write) -> io::Result<bool> {
    stream.write_all(
        b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
