//! A client on tonic, and its messages.

use crate::proto::{self, Choice, SERVICE};
use shm_triton::server::Server;
use std::collections::HashMap;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// A connection.
pub struct Client(pub Grpc<Channel>);

impl Client {
    pub async fn new(server: &Server) -> Client {
        let address = format!("http://{}", server.grpc_addr().unwrap());
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Client(Grpc::new(channel).max_decoding_message_size(usize::MAX))
    }

    pub async fn ask<Q, A>(&self, procedure: &str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = self.0.clone();
        grpc.ready().await.unwrap();
        let path = format!("{SERVICE}{procedure}").parse().unwrap();
        let reply = grpc.unary(Request::new(message), path, ProstCodec::<Q, A>::default()).await?;
        Ok(reply.into_inner())
    }

    pub async fn infer(
        &self,
        request: proto::InferRequest,
    ) -> Result<proto::InferResponse, Status> {
        self.ask("ModelInfer", request).await
    }

    pub async fn register(
        &self,
        name: &str,
        key: &str,
        byte_size: u64,
    ) -> Result<proto::NoFields, Status> {
        let region = proto::Region { name: name.into(), key: key.into(), offset: 0, byte_size };
        self.ask("SystemSharedMemoryRegister", region).await
    }

    pub async fn unregister(&self, name: &str) -> Result<proto::NoFields, Status> {
        self.ask("SystemSharedMemoryUnregister", proto::Name { name: name.into() }).await
    }
}

pub fn request(model: &str, inputs: Vec<proto::Input>) -> proto::InferRequest {
    proto::InferRequest { model_name: model.into(), inputs, ..Default::default() }
}

pub fn input(name: &str, datatype: &str, shape: &[i64]) -> proto::Input {
    proto::Input {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        ..Default::default()
    }
}

pub fn parameter(choice: Choice) -> proto::Parameter {
    proto::Parameter { choice: Some(choice) }
}

pub fn shared(region: &str, offset: i64, byte_size: i64) -> HashMap<String, proto::Parameter> {
    HashMap::from([
        ("shared_memory_region".into(), parameter(Choice::Text(region.into()))),
        ("shared_memory_offset".into(), parameter(Choice::Int64(offset))),
        ("shared_memory_byte_size".into(), parameter(Choice::Int64(byte_size))),
    ])
}

#[track_caller]
pub fn refused<A: std::fmt::Debug>(answer: Result<A, Status>, code: Code, parts: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    for part in parts {
        assert!(status.message().contains(part), "{part:?} is not in {:?}", status.message());
    }
}
