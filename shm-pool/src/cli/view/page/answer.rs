//! What is asked for, and what is answered.

use super::live::Live;
use super::request::Request;
use crate::cli::exit::Failure;
use std::io::Write;
use std::sync::Arc;

/// The page, which needs nothing from anywhere else.
const PAGE: &str = include_str!("page.html");
/// Nothing may be loaded, framed or sent elsewhere, whatever the page should ever hold.
const POLICY: &str = "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
frame-ancestors 'none'";

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Page,
    Status,
    /// A frame newer than this one. If it was one of an earlier stream of this name, any is newer.
    Frame {
        stream: Option<String>,
        after: u64,
    },
    /// It did not ask for this machine by name.
    WrongHost,
    WrongMethod,
    WrongQuery(String),
    Nothing,
}

/// What is answered.
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Arc<Vec<u8>>,
}

/// What a request asks for.
pub(crate) fn asked(request: &Request) -> Asked {
    if !request.host.as_deref().is_some_and(is_this_machine) {
        return Asked::WrongHost;
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let asked = match path {
        "/" => Asked::Page,
        "/status.json" => Asked::Status,
        "/frame.png" => frame(query),
        _ => return Asked::Nothing,
    };
    match request.method.as_str() {
        "GET" | "HEAD" => asked,
        _ => Asked::WrongMethod,
    }
}

/// The answer; for a frame the newest one.
pub(crate) fn to(asked: &Asked, live: &Live) -> Answer {
    match asked {
        Asked::Page => Answer::of(200, "text/html; charset=utf-8", PAGE)
            .with("Content-Security-Policy", POLICY.to_owned()),
        Asked::Status => match serde_json::to_vec(&live.status()) {
            Ok(body) => Answer::of(200, "application/json", body),
            Err(error) => Answer::words(500, &error.to_string()),
        },
        Asked::Frame { stream, after } => to_frame(stream.as_deref(), *after, live),
        Asked::WrongHost => Answer::words(
            421,
            "this server answers only to localhost and loopback addresses; ask for http://127.0.0.1",
        ),
        Asked::WrongMethod => Answer::words(405, "only GET and HEAD are answered")
            .with("Allow", "GET, HEAD".to_owned()),
        Asked::WrongQuery(why) => Answer::words(400, why),
        Asked::Nothing => Answer::words(404, "there are /, /frame.png and /status.json"),
    }
}

fn to_frame(stream: Option<&str>, after: u64, live: &Live) -> Answer {
    let told = |failure: Failure| Answer::words(500, &failure.to_string());
    let shown = match live.newest() {
        Ok(Some(shown)) if shown.is_newer(stream, after) => shown,
        Ok(_) => return Answer::nothing(),
        Err(failure) => return told(failure),
    };
    match shown.png() {
        Ok(png) => Answer::sharing(200, "image/png", png)
            .with("X-Frame-Count", shown.shot.info.count.to_string())
            .with("X-Frame-Id", shown.shot.info.frame_id.to_string())
            .with("X-Frame-Stream", shown.stream.clone())
            .with("X-Frame-Age-Us", shown.shot.age().as_micros().to_string()),
        Err(failure) => told(failure),
    }
}

fn frame(query: &str) -> Asked {
    let (mut stream, mut after) = (None, 0);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("after", value) => match value.parse() {
                Ok(count) => after = count,
                Err(_) => {
                    return Asked::WrongQuery(
                        "after: expected the count of a frame, as in /frame.png?after=12".into(),
                    );
                }
            },
            ("stream", value) => stream = Some(value.to_owned()),
            // What keeps caches away, for example.
            _ => {}
        }
    }
    Asked::Frame { stream, after }
}

/// True for `localhost` and loopback addresses, with any port: it may be forwarded.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

impl Answer {
    /// There is no newer frame.
    pub(crate) fn nothing() -> Answer {
        Answer::of(204, "image/png", "")
    }

    /// What cannot be understood, or is too much.
    pub(crate) fn refusal(status: u16, words: &str) -> Answer {
        Answer::words(status, words)
    }

    /// Writes it, the body if it is wanted.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        with_body: bool,
        keep: bool,
    ) -> std::io::Result<()> {
        let fixed = [
            ("Connection", if keep { "keep-alive" } else { "close" }),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
        ];
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let given = self.headers.iter().map(|(field, value)| (*field, value.as_str()));
        for (field, value) in fixed.into_iter().chain(given) {
            head.push_str(&format!("{field}: {value}\r\n"));
        }
        // An answer without content says nothing of its length.
        if self.status != 204 {
            let (kind, length) = (self.kind, self.body.len());
            head.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        out.write_all(head.as_bytes())?;
        if with_body {
            out.write_all(&self.body)?;
        }
        out.flush()
    }

    fn of(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer::sharing(status, kind, Arc::new(body.into()))
    }

    fn sharing(status: u16, kind: &'static str, body: Arc<Vec<u8>>) -> Answer {
        Answer { status, kind, headers: Vec::new(), body }
    }

    fn words(status: u16, words: &str) -> Answer {
        Answer::of(status, "text/plain; charset=utf-8", format!("{words}\n"))
    }

    fn with(mut self, field: &'static str, value: String) -> Answer {
        self.headers.push((field, value));
        self
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "[::1]"]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "127.0.0.1.example.org:80",
            "localhost.example.org",
            "10.0.0.1:80",
            "[::1]x",
            "0.0.0.0",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn queries_are_read() {
        assert_eq!(frame(""), Asked::Frame { stream: None, after: 0 });
        let stream = Some("ab".to_owned());
        assert_eq!(frame("x=1&after=7&stream=ab"), Asked::Frame { stream, after: 7 });
        assert!(matches!(frame("after=-1"), Asked::WrongQuery(_)));
    }
}
