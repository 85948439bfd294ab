//! Ports that nobody listens on.

use std::io;
use std::net::TcpListener;

/// The given ports, and a free one for each that is not given.
pub(super) fn free(wanted: [Option<u16>; 2]) -> io::Result<[u16; 2]> {
    // Held until both are known, so that they differ.
    let mut held = Vec::new();
    let mut choose = |wanted: Option<u16>| match wanted {
        Some(port) => Ok(port),
        None => {
            let listener = listen_anywhere()?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok::<_, io::Error>(port)
        }
    };
    Ok([choose(wanted[0])?, choose(wanted[1])?])
}

/// Below the ports that the kernel gives to clients: between a server's end and its next start none
/// of them may take its port.
fn listen_anywhere() -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..200 {
        match TcpListener::bind(("127.0.0.1", fastrand::u16(20_000..32_000))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
