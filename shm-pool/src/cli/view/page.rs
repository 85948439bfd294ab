//! The live page: a small server for browsers of this machine.
//!
//! ```text
//!   browser ──▶ connection ──▶ request ──▶ answer ──▶ live ──▶ the newest frame
//!               a thread each,                        ▲
//!               so many at most                       └─ watch: one thread that waits for frames and
//!                                                        wakes those who asked for a newer one
//! ```
//!
//! It listens on loopback addresses only, and answers only those who asked for one by name: a page of
//! somewhere else that has its name point here gets nothing.
//!
//! Upholds invariant 5: who waits for a frame is answered within ten seconds; who does not ask, or does not
//! take its answer, is left after a while.

mod answer;
mod connection;
mod live;
mod request;
mod status;

use super::ending::Ending;
use super::source::Source;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use live::Live;
use serde::Serialize;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How many connections there may be.
const CONNECTIONS: usize = 128;
/// A connection needs little of it.
const STACK: usize = 512 << 10;
/// Nobody sleeps longer than this without looking.
const LOOK: Duration = Duration::from_millis(100);

/// Refuses addresses that others than this machine could reach.
pub(crate) fn check(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let port = address.port();
    Err(Failure::new(
        Exit::Usage,
        format!(
            "--http {address}: not an address of this machine alone, and the page has no password: \
             anybody who reaches it could see the frames"
        ),
        format!(
            "use 127.0.0.1:{port}; from elsewhere, through `ssh -L {port}:127.0.0.1:{port} HOST`"
        ),
    ))
}

/// Where the page is.
#[derive(Serialize)]
struct Listening<'a> {
    listening: String,
    name: &'a str,
}

/// Serves the page until the end.
pub(crate) fn serve(
    address: SocketAddr,
    source: Source,
    range: Option<(f64, f64)>,
    ending: &Ending,
    output: &Output,
) -> Result<Exit, Failure> {
    let failed = |error| Failure::system(&format!("listen on {address}"), &error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let live = Arc::new(Live::new(source, range));
    let row = Listening { listening: format!("http://{address}/"), name: live.name() };
    output.line(&row, || {
        format!("listening on http://{address}/ for frames of '{}'; Ctrl-C ends", live.name())
    })?;
    start(&live, |live| live.watch())?;
    start(&live, move |live| accept(&listener, live))?;
    while !ending.has_come() {
        std::thread::sleep(ending.slice(LOOK));
    }
    // Connections end when their clients do, or with the process; nobody waits for them.
    live.close();
    // For who accepts: it looks up when somebody comes.
    let _ = TcpStream::connect_timeout(&address, LOOK);
    Ok(Exit::Done)
}

fn start(live: &Arc<Live>, work: impl FnOnce(&Arc<Live>) + Send + 'static) -> Result<(), Failure> {
    let live = live.clone();
    let started = std::thread::Builder::new().stack_size(STACK).spawn(move || work(&live));
    started.map(drop).map_err(|error| Failure::system("start a thread", &error))
}

fn accept(listener: &TcpListener, live: &Arc<Live>) {
    let places = Arc::new(());
    while !live.is_closed() {
        // Too many open files, for example: it may get better.
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(LOOK);
            continue;
        };
        let place = places.clone();
        // One is that of this function.
        if Arc::strong_count(&places) > CONNECTIONS + 1 {
            connection::refuse(client);
            continue;
        }
        // Without a thread the connection is closed.
        let _ = start(live, move |live| {
            connection::serve(client, live);
            drop(place);
        });
    }
}
