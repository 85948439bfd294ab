//! Errors as HTTP answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

/// A request that is answered with an error.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

/// A request that cannot be served as it is.
pub(super) fn failure(message: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, message)
}

impl Failure {
    pub fn new(status: StatusCode, message: String) -> Failure {
        Failure { status, message }
    }

    pub fn into_response(self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({ "error": self.message }).to_string();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
