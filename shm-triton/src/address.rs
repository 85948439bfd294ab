//! Where a server listens, as a URL says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens, and what it speaks there.
///
/// | URL | protocol | socket |
/// |---|---|---|
/// | `host:port`, `http://host:port` | HTTP/1.1 | TCP |
/// | `http+unix:///path` | HTTP/1.1 | Unix |
/// | `grpc://host:port` | gRPC | TCP |
/// | `grpc+unix:///path` | gRPC | Unix |
///
/// ```
/// use shm_triton::Address;
///
/// let address: Address = "localhost:8000".parse()?;
/// assert_eq!(address.to_string(), "http://localhost:8000");
/// assert!("ftp://localhost:21".parse::<Address>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where.
    pub socket: Socket,
}

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with JSON and binary tensors.
    Http,
    /// gRPC over HTTP/2.
    Grpc,
}

/// A socket to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Host (a name, or an address without brackets) and port.
    Tcp(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// A text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "url {found:?}: {wrong}; give host:port, http://host:port, grpc://host:port, http+unix:///path or grpc+unix:///path"
)]
pub struct AddressError {
    /// The text.
    pub found: String,
    /// What is wrong with it.
    pub wrong: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = |wrong| AddressError { found: text.to_owned(), wrong };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let protocol = match scheme {
            "http" | "http+unix" => Protocol::Http,
            "grpc" | "grpc+unix" => Protocol::Grpc,
            "https" | "grpcs" => return Err(wrong("encryption is not offered on one machine")),
            _ => return Err(wrong("the scheme is unknown")),
        };
        if scheme.ends_with("+unix") {
            return match rest.starts_with('/') {
                true => Ok(Address { protocol, socket: Socket::Unix(rest.into()) }),
                false => Err(wrong("the path of the socket must be absolute")),
            };
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        let port = port.parse().map_err(|_| wrong("the port is no number up to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() || bare.contains(['/', '@', '?']) {
            return Err(wrong("the host is missing or has more than a host"));
        }
        Ok(Address { protocol, socket: Socket::Tcp(bare.to_owned(), port) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
        };
        match &self.socket {
            Socket::Tcp(host, port) if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}")
            }
            Socket::Tcp(host, port) => write!(f, "{scheme}://{host}:{port}"),
            Socket::Unix(path) => write!(f, "{scheme}+unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood_and_written_back() {
        for (text, canonical) in [
            ("localhost:8000", "http://localhost:8000"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("grpc://[::1]:8001", "grpc://[::1]:8001"),
            ("http+unix:///run/t.sock", "http+unix:///run/t.sock"),
            ("grpc+unix:///run/t.sock", "grpc+unix:///run/t.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_names_no_server_is_refused_with_the_reason() {
        for (text, wrong) in [
            ("localhost", "port is missing"),
            ("localhost:http", "no number"),
            ("localhost:70000", "no number"),
            (":8000", "host is missing"),
            ("https://localhost:8000", "encryption"),
            ("ftp://localhost:8000", "scheme"),
            ("http+unix://run/t.sock", "absolute"),
            ("user@localhost:8000", "more than a host"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
