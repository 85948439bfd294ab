//! One connection, from its first request to its last.
//!
//! Upholds invariant 5: a client that says nothing, or takes nothing of its answer, is left.

use super::answer::{self, Answer, Asked};
use super::live::Live;
use super::request::{self, Heard};
use std::net::TcpStream;
use std::time::Duration;

/// A client that asks for nothing for so long is left.
const SILENCE: Duration = Duration::from_secs(15);
/// A client that takes nothing of its answer for so long is left.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers what is asked until there is no more of it.
pub(crate) fn serve(mut client: TcpStream, live: &Live) {
    if prepare(&client).is_err() {
        return;
    }
    let mut bytes = Vec::new();
    while !live.is_closed() {
        let request = match request::read(&mut client, &mut bytes) {
            Heard::Request(request) => request,
            Heard::Nonsense(answer) => {
                let _ = answer.write(&mut client, true, false);
                return;
            }
            Heard::Nothing => return,
        };
        let asked = answer::asked(&request);
        if let Asked::Frame { stream, after } = &asked {
            live.wait_for_newer(stream.as_deref(), *after);
        }
        let wants_body = request.method != "HEAD";
        let written = answer::to(&asked, live).write(&mut client, wants_body, request.keep);
        if written.is_err() || !request.keep {
            return;
        }
    }
}

/// Tells one that is too many.
pub(crate) fn refuse(mut client: TcpStream) {
    let answer = Answer::refusal(503, "too many connections; close another page");
    if prepare(&client).is_ok() {
        // A few bytes, which fit where the system keeps them: nobody waits here.
        let _ = answer.write(&mut client, true, false);
    }
}

fn prepare(client: &TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(SILENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    // An answer is written whole, so nothing is gained by waiting for more of it.
    client.set_nodelay(true)
}
