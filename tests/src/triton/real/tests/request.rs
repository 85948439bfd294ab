//! One inference request over HTTP/1.1, tensors as bytes behind the JSON.

use crate::Failure;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    name: String,
    kind: String,
    shape: Vec<i64>,
    pub(super) bytes: Vec<u8>,
}

impl Tensor {
    pub(super) fn new(name: &str, kind: &str, shape: &[i64], bytes: Vec<u8>) -> Tensor {
        Tensor { name: name.into(), kind: kind.into(), shape: shape.into(), bytes }
    }

    /// The same under another name.
    pub(super) fn named(&self, name: &str) -> Tensor {
        Tensor { name: name.into(), ..self.clone() }
    }
}

pub(super) struct Call<'a> {
    pub(super) model: &'a str,
    pub(super) inputs: &'a [Tensor],
    pub(super) parameters: Value,
}

pub(super) struct Answer {
    status: u16,
    header: Value,
    tail: Vec<u8>,
}

impl Call<'_> {
    pub(super) fn send(mut self, http_addr: &str) -> Result<Answer, Failure> {
        self.parameters["binary_data_output"] = json!(true);
        let inputs: Vec<Value> = self.inputs.iter().map(described).collect();
        let header = json!({ "inputs": inputs, "parameters": self.parameters }).to_string();
        let body: usize = header.len() + self.inputs.iter().map(|it| it.bytes.len()).sum::<usize>();
        let mut request = format!(
            "POST /v2/models/{}/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {body}\r\nInference-Header-Content-Length: {}\r\n\r\n{header}",
            self.model,
            header.len(),
        )
        .into_bytes();
        for input in self.inputs {
            request.extend_from_slice(&input.bytes);
        }
        match http_addr.strip_prefix("unix:") {
            Some(path) => exchange(UnixStream::connect(path)?, &request),
            None => exchange(TcpStream::connect(http_addr)?, &request),
        }
    }
}

impl Answer {
    /// The outputs by name, or what the server says is wrong.
    pub(super) fn outputs(self) -> Result<Vec<Tensor>, String> {
        if self.status != 200 {
            return Err(self.header["error"].as_str().unwrap_or("no text").to_owned());
        }
        let mut tail = self.tail.as_slice();
        let listed = self.header["outputs"].as_array().cloned().unwrap_or_default();
        let mut outputs: Vec<Tensor> = listed
            .iter()
            .map(|output| {
                let size = output["parameters"]["binary_data_size"].as_u64().unwrap() as usize;
                let bytes = tail.split_off(..size).unwrap().to_vec();
                let shape: Vec<i64> =
                    output["shape"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
                let text = |key: &str| output[key].as_str().unwrap().to_owned();
                Tensor { name: text("name"), kind: text("datatype"), shape, bytes }
            })
            .collect();
        assert!(tail.is_empty(), "{} bytes belong to no output", tail.len());
        outputs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(outputs)
    }

    /// The one output of an answer that has one.
    pub(super) fn only_output(self) -> Tensor {
        let mut outputs = self.outputs().unwrap();
        assert_eq!(outputs.len(), 1);
        outputs.remove(0)
    }
}

fn described(input: &Tensor) -> Value {
    json!({
        "name": input.name,
        "datatype": input.kind,
        "shape": input.shape,
        "parameters": { "binary_data_size": input.bytes.len() },
    })
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Result<Answer, Failure> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| Failure::Unexpected("an answer without a header".into()))?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end + 4);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let json_bytes = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case("Inference-Header-Content-Length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(body.len());
    Ok(Answer {
        status: status.ok_or_else(|| Failure::Unexpected(head.clone()))?,
        header: serde_json::from_slice(&body[..json_bytes]).map_err(Failure::from_display)?,
        tail: body[json_bytes..].to_vec(),
    })
}
