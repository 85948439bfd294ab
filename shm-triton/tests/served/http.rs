//! A client that writes and reads HTTP by itself.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection, kept alive.
pub struct Client<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        let json = &self.body[..self.json_len()];
        serde_json::from_slice(json).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn binary(&self) -> &[u8] {
        &self.body[self.json_len()..]
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json_len(&self) -> usize {
        self.headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("inference-header-content-length"))
            .map_or(self.body.len(), |(_, value)| value.parse().unwrap())
    }

    /// Asserts that it is an error with that status, whose text has all these parts.
    #[track_caller]
    pub fn refused(&self, status: u16, parts: &[&str]) {
        let error = self.json()["error"].as_str().map(str::to_owned).unwrap_or_default();
        assert_eq!(self.status, status, "{error}");
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Client<S> {
        Client { stream, received: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", b"")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, "", body.to_string().as_bytes())
    }

    pub fn infer(&mut self, model: &str, body: &Value) -> Answer {
        self.post(&format!("/v2/models/{model}/infer"), body)
    }

    pub fn infer_binary(&mut self, model: &str, json: &Value, binary: &[u8]) -> Answer {
        let json = json.to_string();
        let headers = format!("Inference-Header-Content-Length: {}\r\n", json.len());
        let body = [json.as_bytes(), binary].concat();
        self.ask("POST", &format!("/v2/models/{model}/infer"), &headers, &body)
    }

    pub fn register(&mut self, name: &str, key: &str, offset: u64, byte_size: u64) -> Answer {
        let body = json!({ "key": key, "offset": offset, "byte_size": byte_size });
        self.post(&format!("/v2/systemsharedmemory/region/{name}/register"), &body)
    }

    pub fn unregister(&mut self, name: &str) -> Answer {
        self.ask("POST", &format!("/v2/systemsharedmemory/region/{name}/unregister"), "", b"")
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        self.answer()
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send_bytes(&[head.as_bytes(), body].concat());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Answer {
        self.send_bytes(bytes);
        self.answer()
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("the server answers")
    }

    /// `None` if the connection ended.
    pub fn try_answer(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.parse() {
                return Some(answer);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.received.extend_from_slice(&chunk[..len]),
            }
        }
    }

    fn parse(&mut self) -> Option<Answer> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head_len) = head.parse(&self.received).unwrap() else {
            return None;
        };
        let status = head.code.unwrap();
        let headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|header| {
                (header.name.to_owned(), String::from_utf8(header.value.to_vec()).unwrap())
            })
            .collect();
        let len: usize = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        if self.received.len() < head_len + len {
            return None;
        }
        let body = self.received[head_len..head_len + len].to_vec();
        self.received.drain(..head_len + len);
        Some(Answer { status, headers, body })
    }
}

/// The JSON of a tensor in shared memory.
pub fn shared(
    name: &str,
    datatype: &str,
    shape: &[i64],
    region: &str,
    offset: i64,
    byte_size: usize,
) -> Value {
    json!({
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {
            "shared_memory_region": region,
            "shared_memory_offset": offset,
            "shared_memory_byte_size": byte_size,
        },
    })
}
