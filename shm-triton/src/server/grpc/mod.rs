//! The protocol over gRPC.

mod connection;
mod description;
mod message;
mod procedures;

pub(super) use connection::speak;
pub use procedures::GrpcService;

use super::Refusal;

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> tonic::Status {
        tonic::Status::new(tonic::Code::from(refusal.code.grpc()), refusal.message)
    }
}
