//! Reading the body of a request.

use super::error::{Failure, failure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::pin::pin;

/// What is set aside at once for a body that claims to be large.
const FIRST_ROOM: usize = 64 << 20;

/// The whole body, at most `max` bytes; not copied if it came in one piece.
pub(super) async fn read<B>(headers: &HeaderMap, body: B, max: usize) -> Result<Bytes, Failure>
where
    B: Body,
    B::Error: std::fmt::Display,
{
    super::refuse_compressed(headers)?;
    let claimed = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if let Some(claimed) = claimed.filter(|&claimed| claimed > max) {
        return Err(too_large(claimed, max));
    }
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| failure(format!("the body could not be read: {error}")))?;
        let Ok(mut data) = frame.into_data() else { continue };
        let len = data.remaining();
        let so_far = first.len() + whole.len();
        if len > max - so_far {
            return Err(too_large(so_far + len, max));
        }
        if so_far == 0 {
            first = data.copy_to_bytes(len);
            continue;
        }
        if whole.is_empty() {
            whole.reserve(claimed.unwrap_or(so_far + len).min(FIRST_ROOM).max(so_far + len));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.put(data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn too_large(found: usize, max: usize) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the body has {found} bytes or more, and the server takes at most {max}; send less, or tensors in shared memory"
        ),
    )
}
