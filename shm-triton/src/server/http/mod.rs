//! The protocol over HTTP.

mod body;
mod data;
mod description;
mod error;
mod infer_reply;
mod infer_request;
mod parameter;

use self::error::{Failure, failure};
use super::{InferenceService, Refusal};
use crate::wire::RegionStatus;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Says where the JSON ends and the binary tensor data begins.
const HEADER_LENGTH: &str = "inference-header-content-length";

impl InferenceService {
    /// Answers one HTTP request; errors are answers too.
    ///
    /// To be called on a tokio runtime with its timer enabled. A model whose placement is
    /// [`Blocking`](super::Placement::Blocking) blocks a thread of that runtime in a way that leaves its
    /// other tasks running.
    pub async fn http<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        match self.answer(&head, body).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(),
        }
    }

    async fn answer<B>(&self, head: &Parts, body: B) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body,
        B::Error: std::fmt::Display,
    {
        let segments = segments(head.uri.path())?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let Some(("v2", path)) = segments.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(unknown_path(head));
        };
        // The one that is to be fast comes first.
        if let ["models", model, rest @ ..] = path
            && let Some((version, "infer")) = of_model(rest)
        {
            expect(head, &Method::POST)?;
            let body = body::read(&head.headers, body, self.core.max_body).await?;
            return self.infer_over_http(&head.headers, model, version, body).await;
        }
        match (&head.method, path) {
            (&Method::GET, _) => self.get(head, path),
            (&Method::POST, _) => {
                let body = body::read(&head.headers, body, self.core.max_body).await?;
                self.post(head, path, &body)
            }
            _ => Err(Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("the method {} is not known here; use GET or POST", head.method),
            )),
        }
    }

    async fn infer_over_http(
        &self,
        headers: &HeaderMap,
        model: &str,
        version: &str,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let json_len = header_length(headers)?;
        let (request, formats) = infer_request::parse(model, version, json_len, body)?;
        let response = self.infer(request).await?;
        let reply = infer_reply::write(&response, &formats)?;
        let mut answer = Response::new(Full::new(reply.body));
        let headers = answer.headers_mut();
        match reply.json_len {
            None => headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")),
            Some(json_len) => {
                headers.insert(HEADER_LENGTH, HeaderValue::from(json_len));
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            }
        };
        Ok(answer)
    }

    fn get(&self, head: &Parts, path: &[&str]) -> Result<Response<Full<Bytes>>, Failure> {
        match path {
            [] => Ok(of_json(&description::server(&self.metadata()))),
            ["health", "live"] => Ok(empty(StatusCode::OK)),
            ["health", "ready"] => Ok(readiness(self.is_ready())),
            ["models", "stats"] => self.statistics_over_http("", ""),
            ["models", model, rest @ ..] => match of_model(rest) {
                Some((version, "")) => {
                    Ok(of_json(&description::model(&self.core.catalog.metadata(model, version)?)))
                }
                Some((version, "ready")) => {
                    Ok(readiness(self.is_ready() && self.core.catalog.find(model, version).is_ok()))
                }
                Some((version, "config")) => Ok(of_json(&description::configuration(
                    self.core.catalog.find(model, version)?,
                ))),
                Some((version, "stats")) => self.statistics_over_http(model, version),
                _ => Err(unknown_path(head)),
            },
            ["systemsharedmemory", rest @ ..] => match of_region(rest) {
                Some((name, "status")) => Ok(of_json(&description::regions(&self.regions(name)?))),
                _ => Err(unknown_path(head)),
            },
            ["cudasharedmemory", rest @ ..] => match of_region(rest) {
                Some((name, "status")) => {
                    self.cuda_region(name)?;
                    Ok(of_json(&json!([])))
                }
                _ => Err(unknown_path(head)),
            },
            _ => Err(unknown_path(head)),
        }
    }

    fn post(
        &self,
        head: &Parts,
        path: &[&str],
        body: &[u8],
    ) -> Result<Response<Full<Bytes>>, Failure> {
        match path {
            ["repository", "index"] => Ok(of_json(&description::index(&self.core.catalog))),
            ["repository", "models", _, "load" | "unload"] => Err(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                "models cannot be loaded and unloaded: they are part of the program".to_owned(),
            )),
            ["systemsharedmemory", rest @ ..] => {
                match of_region(rest) {
                    Some((name, "register")) => self.register(&region(name, body)?)?,
                    Some((name, "unregister")) => self.unregister(name)?,
                    _ => return Err(unknown_path(head)),
                }
                Ok(empty(StatusCode::OK))
            }
            ["cudasharedmemory", rest @ ..] => {
                match of_region(rest) {
                    Some((name, "register")) => self.register_cuda(name)?,
                    Some((_, "unregister")) => {}
                    _ => return Err(unknown_path(head)),
                }
                Ok(empty(StatusCode::OK))
            }
            _ => Err(unknown_path(head)),
        }
    }

    fn statistics_over_http(
        &self,
        model: &str,
        version: &str,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let served = self.core.catalog.select(model, version)?;
        Ok(of_json(&description::statistics(&served)))
    }
}

/// The path's segments, decoded.
fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, Failure> {
    path.trim_matches('/')
        .split('/')
        .map(|segment| {
            percent_decode_str(segment).decode_utf8().map_err(|_| {
                failure(format!("the path has a segment '{segment}' that is no UTF-8 once decoded"))
            })
        })
        .collect()
}

/// The version, if there is one, and what is asked, of what follows a model's name.
fn of_model<'a>(rest: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match rest {
        [] => Some(("", "")),
        ["versions", version] => Some((version, "")),
        ["versions", version, what] => Some((version, what)),
        [what] => Some(("", what)),
        _ => None,
    }
}

/// The region, if there is one, and what is asked, of what follows the kind of memory.
fn of_region<'a>(rest: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match rest {
        ["region", name, what] => Some((name, what)),
        [what] => Some(("", what)),
        _ => None,
    }
}

fn region(name: &str, body: &[u8]) -> Result<RegionStatus, Failure> {
    #[derive(Deserialize)]
    struct Registration {
        key: String,
        #[serde(default)]
        offset: u64,
        byte_size: u64,
    }
    let Registration { key, offset, byte_size } = serde_json::from_slice(body).map_err(|error| {
        failure(format!(
            "failed to parse the registration of shared memory region '{name}': {error}; expected 'key', 'offset' and 'byte_size'"
        ))
    })?;
    Ok(RegionStatus { name: name.to_owned(), key, offset, byte_size })
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match length {
        Some(length) => Ok(Some(length)),
        None => Err(failure(format!(
            "the header Inference-Header-Content-Length is {value:?}; expected the number of bytes of the JSON"
        ))),
    }
}

fn expect(head: &Parts, method: &Method) -> Result<(), Failure> {
    if head.method == method {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("'{}' is asked by {method}, not by {}", head.uri.path(), head.method),
    ))
}

fn unknown_path(head: &Parts) -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        format!("'{} {}' is not known here", head.method, head.uri.path()),
    )
}

fn readiness(ready: bool) -> Response<Full<Bytes>> {
    empty(if ready { StatusCode::OK } else { StatusCode::BAD_REQUEST })
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn of_json(value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let status =
            StatusCode::from_u16(refusal.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Failure::new(status, refusal.message)
    }
}

/// Refuses a body that is not as it is.
fn refuse_compressed(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(encoding) => Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the body is compressed ({encoding:?}), which is not supported; send it uncompressed"
            ),
        )),
    }
}
