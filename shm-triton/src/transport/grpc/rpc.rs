//! One unary call over a channel.
//!
//! Tonic's own unary call makes up a status where the server sent none: a stream that a proxy or a dying
//! server cut off looks to its caller like an error of the model. Whether the server answered decides here
//! whether memory may be used again, so the answer's frames are read here.

use super::link::{Fault, causes, told};
use super::question::Encoded;
use crate::transport::Reply;
use crate::wire::{Code, proto};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Method, StatusCode, Version};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use tonic::body::Body;
use tonic::codec::{EncodeBody, EncodeBuf, Encoder};
use tonic::codegen::{Body as _, Service, tokio_stream};
use tonic::transport::Channel;
use tonic::{ConnectError, Status};

/// Length of what stands before a message: whether it is compressed, and its length.
const FRAME_HEADER: usize = 5;
/// No more than this is set aside because a server says so.
const MAX_RESERVE: usize = 64 << 20;

/// A call that the server ended.
#[derive(Debug)]
pub(super) enum Answer {
    Message(Bytes),
    Other(Reply),
}

/// Sends `message` and waits for the answer. The channel must be ready.
pub(super) async fn unary(
    channel: &mut Channel,
    method: &str,
    message: Encoded,
) -> Result<Answer, Fault> {
    let response = match channel.call(request(method, message)).await {
        Ok(response) => response,
        Err(error) => return Err(Fault { sent: !never_connected(&error), source: told(&error) }),
    };
    let (head, body) = response.into_parts();
    if let Some(status) = status(head.headers) {
        // Without a message: trailers came in place of headers.
        return ended(status, BytesMut::new());
    }
    if head.status != StatusCode::OK {
        return Err(Fault::lost(format!(
            "HTTP status {} and no gRPC status; is this a gRPC server?",
            head.status
        )));
    }
    let (message, trailers) = read(body).await?;
    match status(trailers) {
        Some(status) => ended(status, message),
        None => Err(Fault::lost("the reply ended without a gRPC status".to_owned())),
    }
}

fn request(method: &str, message: Encoded) -> http::Request<Body> {
    let body =
        EncodeBody::new_client(Parts, tokio_stream::once(Ok(message)), None, Some(usize::MAX));
    let mut request = http::Request::new(Body::new(body));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = http::Uri::try_from(format!("{}{method}", proto::SERVICE))
        .expect("a constant path is a URI");
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

/// Everything that follows the headers.
async fn read(body: Body) -> Result<(BytesMut, HeaderMap), Fault> {
    let mut body = pin!(body);
    let mut message = BytesMut::new();
    loop {
        let frame = match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Err(Fault { sent: true, source: told(&error) }),
            None => return Ok((message, HeaderMap::new())),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Ok((message, frame.into_trailers().unwrap_or_default())),
        };
        if message.is_empty() && data.len() >= FRAME_HEADER {
            let claimed = (&data[1..FRAME_HEADER]).get_u32() as usize;
            message.reserve(FRAME_HEADER + claimed.min(MAX_RESERVE));
        }
        message.put(data);
    }
}

/// The status that the server sent, if it did.
fn status(mut headers: HeaderMap) -> Option<Status> {
    // Not used, and bytes of it that are not base64 would be a panic.
    headers.remove("grpc-status-details-bin");
    Status::from_header_map(&headers)
}

fn ended(status: Status, framed: BytesMut) -> Result<Answer, Fault> {
    match status.code() {
        tonic::Code::Ok => Ok(unframed(framed.freeze())),
        // Said by what stands between, too, while the model goes on.
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
            Err(Fault::lost(format!("{:?}: {}", status.code(), status.message())))
        }
        code => Ok(Answer::Other(Reply::Refused {
            code: Code::of_grpc(code as i32),
            message: status.message().to_owned(),
        })),
    }
}

fn unframed(mut framed: Bytes) -> Answer {
    let malformed = |why: String| Answer::Other(Reply::Malformed(why));
    if framed.len() < FRAME_HEADER {
        return malformed(format!("the reply has {} bytes; expected a message", framed.len()));
    }
    let compressed = framed.get_u8();
    let length = framed.get_u32() as usize;
    if compressed != 0 {
        return malformed("the reply is compressed, which was not offered".to_owned());
    }
    if length != framed.len() {
        return malformed(format!(
            "the reply has {} bytes; expected {length}, from its header",
            framed.len()
        ));
    }
    Answer::Message(framed)
}

/// True if the channel found its connection closed and could not open another, so that nothing was sent.
fn never_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<ConnectError>())
}

/// Writes a message that is encoded already.
struct Parts;

impl Encoder for Parts {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, message: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.len());
        message.parts().for_each(|part| buffer.put_slice(part));
        Ok(())
    }
}
