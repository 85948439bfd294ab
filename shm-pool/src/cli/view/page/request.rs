//! One request, as far as it matters here.

use super::answer::Answer;
use std::io::Read;

/// The longest head of a request.
const HEAD: usize = 16 << 10;
/// The most fields in it.
const FIELDS: usize = 64;

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    /// False if nothing can come after it.
    pub(crate) keep: bool,
}

/// What a connection said.
pub(crate) enum Heard {
    Request(Request),
    /// What to answer before it is closed.
    Nonsense(Answer),
    /// It ended, or was silent for too long.
    Nothing,
}

/// Reads the next request. What was read beyond it stays in `bytes`.
pub(crate) fn read(client: &mut impl Read, bytes: &mut Vec<u8>) -> Heard {
    let mut chunk = [0; 4096];
    loop {
        match parse(bytes) {
            Ok(Some((request, length))) => {
                bytes.drain(..length);
                return Heard::Request(request);
            }
            Ok(None) if bytes.len() >= HEAD => {
                return Heard::Nonsense(Answer::refusal(
                    431,
                    "the head of the request is too long",
                ));
            }
            Ok(None) => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Heard::Nonsense(Answer::refusal(431, "the request has too many fields"));
            }
            Err(error) => return Heard::Nonsense(Answer::refusal(400, &error.to_string())),
        }
        match client.read(&mut chunk) {
            Ok(length @ 1..) => bytes.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Heard::Nothing,
        }
    }
}

/// The request at the beginning and its length; none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = parsed.parse(bytes)? else { return Ok(None) };
    let field = |name: &str| {
        let mut found = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
    };
    let connection = field("Connection").unwrap_or_default().to_ascii_lowercase();
    // Nobody reads a body here, so nobody knows where the request after it begins.
    let has_body = field("Transfer-Encoding").is_some()
        || field("Content-Length").is_some_and(|length| length != "0");
    let lasts = match parsed.version {
        Some(0) => connection.contains("keep-alive"),
        _ => !connection.contains("close"),
    };
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        host: field("Host"),
        keep: lasts && !has_body,
    };
    Ok(Some((request, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_one_after_the_other() {
        let mut text: &[u8] = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\n\
            Content-Length: 3\r\n\r\nabc";
        let mut rest = Vec::new();
        let Heard::Request(first) = read(&mut text, &mut rest) else { panic!("no request") };
        assert_eq!(
            (first.path.as_str(), first.host.as_deref(), first.keep),
            ("/a", Some("x"), true)
        );
        let Heard::Request(second) = read(&mut text, &mut rest) else { panic!("no request") };
        assert_eq!((second.method.as_str(), second.host, second.keep), ("POST", None, false));
        assert_eq!(rest, b"abc");
    }

    #[test]
    fn nonsense_is_answered_and_silence_is_not() {
        let refused =
            |mut text: &[u8]| matches!(read(&mut text, &mut Vec::new()), Heard::Nonsense(_));
        assert!(refused(b"\x16\x03\x01 hello\r\n\r\n"));
        assert!(refused(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(HEAD)).as_bytes()));
        assert!(refused(format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65)).as_bytes()));
        assert!(matches!(read(&mut &b"GET /"[..], &mut Vec::new()), Heard::Nothing));
    }

    #[test]
    fn old_clients_are_not_kept() {
        let keep = |text: &str| parse(text.as_bytes()).unwrap().unwrap().0.keep;
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"));
    }
}
