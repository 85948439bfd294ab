//! The procedures of `inference.GRPCInferenceService`.

use super::{description, message};
use crate::server::{InferenceService, Refusal};
use crate::wire::proto::{self, SERVICE};
use crate::wire::{InferRequest, Parameter, RegionStatus};
use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::tokio_stream::{Stream, StreamExt};
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The service as a tower service, to be mounted on a tonic router or served by hyper.
#[derive(Clone, Debug)]
pub struct GrpcService {
    service: InferenceService,
}

impl InferenceService {
    /// The service over gRPC.
    pub fn grpc(&self) -> GrpcService {
        GrpcService { service: self.clone() }
    }
}

impl NamedService for GrpcService {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl<B> Service<http::Request<B>> for GrpcService
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.service.clone();
        Box::pin(async move { Ok(answer(service, request).await) })
    }
}

async fn answer<B>(service: InferenceService, request: http::Request<B>) -> http::Response<Body>
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let path = request.uri().path();
    let Some(procedure) = path.strip_prefix(SERVICE).map(str::to_owned) else {
        return Status::unimplemented(format!("'{path}' is no procedure of {SERVICE}")).into_http();
    };
    macro_rules! unary {
        ($procedure:ident) => {
            unary(service, request, |service, message| async move { $procedure(&service, message) })
                .await
        };
    }
    match procedure.as_str() {
        "ModelInfer" => {
            unary(
                service,
                request,
                |service, message| async move { infer(&service, message).await },
            )
            .await
        }
        "ModelStreamInfer" => stream_infer(service, request).await,
        "ServerLive" => unary!(server_live),
        "ServerReady" => unary!(server_ready),
        "ModelReady" => unary!(model_ready),
        "ServerMetadata" => unary!(server_metadata),
        "ModelMetadata" => unary!(model_metadata),
        "ModelConfig" => unary!(model_config),
        "ModelStatistics" => unary!(model_statistics),
        "RepositoryIndex" => unary!(repository_index),
        "SystemSharedMemoryStatus" => unary!(region_status),
        "SystemSharedMemoryRegister" => unary!(register),
        "SystemSharedMemoryUnregister" => unary!(unregister),
        "CudaSharedMemoryStatus" => unary!(cuda_status),
        "CudaSharedMemoryRegister" => unary!(cuda_register),
        "CudaSharedMemoryUnregister" => unary!(cuda_unregister),
        _ => Status::unimplemented(format!("the procedure '{procedure}' is not served here"))
            .into_http(),
    }
}

/// Serves a procedure with one request and one reply.
async fn unary<Q, A, F, B>(
    service: InferenceService,
    request: http::Request<B>,
    procedure: fn(InferenceService, Q) -> F,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let limit = service.core.max_body;
    let unary = Unary { service, procedure };
    Grpc::new(ProstCodec::<A, Q>::default())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX)
        .unary(unary, request)
        .await
}

struct Unary<Q, F> {
    service: InferenceService,
    procedure: fn(InferenceService, Q) -> F,
}

impl<Q, A, F> Service<Request<Q>> for Unary<Q, F>
where
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = BoxFuture<Response<A>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.procedure)(self.service.clone(), request.into_inner());
        Box::pin(async move { Ok(Response::new(answer.await?)) })
    }
}

/// Serves a stream of inferences: each is answered before the next one is read.
async fn stream_infer<B>(
    service: InferenceService,
    request: http::Request<B>,
) -> http::Response<Body>
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let limit = service.core.max_body;
    Grpc::new(ProstCodec::<proto::StreamResponse, proto::InferRequest>::default())
        .max_decoding_message_size(limit)
        .max_encoding_message_size(usize::MAX)
        .streaming(InferStream { service }, request)
        .await
}

struct InferStream {
    service: InferenceService,
}

type Replies = std::pin::Pin<Box<dyn Stream<Item = Result<proto::StreamResponse, Status>> + Send>>;

impl Service<Request<Streaming<proto::InferRequest>>> for InferStream {
    type Response = Response<Replies>;
    type Error = Status;
    type Future = std::future::Ready<Result<Response<Replies>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<proto::InferRequest>>) -> Self::Future {
        let service = self.service.clone();
        let replies = request.into_inner().then(move |message| {
            let service = service.clone();
            async move { Ok(stream_reply(&service, message?).await) }
        });
        std::future::ready(Ok(Response::new(Box::pin(replies))))
    }
}

async fn stream_reply(
    service: &InferenceService,
    message: proto::InferRequest,
) -> proto::StreamResponse {
    let id = message.id.clone();
    let name = message.model_name.clone();
    let version = message.model_version.clone();
    let wants_final = message
        .parameters
        .get("triton_enable_empty_final_response")
        .is_some_and(|parameter| matches!(parameter.choice, Some(proto::Choice::Bool(true))));
    match infer(service, message).await {
        Ok(mut response) => {
            if wants_final {
                let last = message::parameter(&Parameter::Bool(true));
                response.parameters.insert("triton_final_response".to_owned(), last);
            }
            proto::StreamResponse { error_message: String::new(), response: Some(response) }
        }
        // The request's own name tells a client which of its requests failed.
        Err(refusal) => proto::StreamResponse {
            error_message: refusal.message,
            response: Some(proto::InferResponse {
                model_name: name,
                model_version: version,
                id,
                ..Default::default()
            }),
        },
    }
}

async fn infer(
    service: &InferenceService,
    message: proto::InferRequest,
) -> Result<proto::InferResponse, Refusal> {
    let request: InferRequest = message::request(message)?;
    Ok(message::response(service.infer(request).await?))
}

fn server_live(_: &InferenceService, _: proto::NoFields) -> Result<proto::Live, Refusal> {
    Ok(proto::Live { ok: true })
}

fn server_ready(service: &InferenceService, _: proto::NoFields) -> Result<proto::Live, Refusal> {
    Ok(proto::Live { ok: service.is_ready() })
}

fn model_ready(
    service: &InferenceService,
    model: proto::NameVersion,
) -> Result<proto::Live, Refusal> {
    let known = service.core.catalog.find(&model.name, &model.version).is_ok();
    Ok(proto::Live { ok: known && service.is_ready() })
}

fn server_metadata(
    service: &InferenceService,
    _: proto::NoFields,
) -> Result<proto::ServerMetadata, Refusal> {
    let metadata = service.metadata();
    Ok(proto::ServerMetadata {
        name: metadata.name,
        version: metadata.version,
        extensions: metadata.extensions,
    })
}

fn model_metadata(
    service: &InferenceService,
    model: proto::NameVersion,
) -> Result<proto::ModelMetadata, Refusal> {
    Ok(description::model(service.core.catalog.metadata(&model.name, &model.version)?))
}

fn model_config(
    service: &InferenceService,
    model: proto::NameVersion,
) -> Result<proto::ModelConfigReply, Refusal> {
    let served = service.core.catalog.find(&model.name, &model.version)?;
    Ok(proto::ModelConfigReply { config: Some(description::configuration(served)) })
}

fn model_statistics(
    service: &InferenceService,
    model: proto::NameVersion,
) -> Result<proto::Statistics, Refusal> {
    let served = service.core.catalog.select(&model.name, &model.version)?;
    Ok(description::statistics(&served))
}

fn repository_index(
    service: &InferenceService,
    _: proto::IndexRequest,
) -> Result<proto::Index, Refusal> {
    Ok(description::index(&service.core.catalog))
}

fn region_status(
    service: &InferenceService,
    region: proto::Name,
) -> Result<proto::Regions, Refusal> {
    let regions = service.regions(&region.name)?.into_iter().map(|region| {
        let RegionStatus { name, key, offset, byte_size } = region;
        (name.clone(), proto::Region { name, key, offset, byte_size })
    });
    Ok(proto::Regions { regions: regions.collect() })
}

fn register(service: &InferenceService, region: proto::Region) -> Result<proto::NoFields, Refusal> {
    let proto::Region { name, key, offset, byte_size } = region;
    service.register(&RegionStatus { name, key, offset, byte_size })?;
    Ok(proto::NoFields {})
}

fn unregister(service: &InferenceService, region: proto::Name) -> Result<proto::NoFields, Refusal> {
    service.unregister(&region.name)?;
    Ok(proto::NoFields {})
}

fn cuda_status(
    service: &InferenceService,
    region: proto::Name,
) -> Result<proto::CudaRegions, Refusal> {
    service.cuda_region(&region.name)?;
    Ok(proto::CudaRegions::default())
}

fn cuda_register(
    service: &InferenceService,
    region: proto::CudaRegister,
) -> Result<proto::NoFields, Refusal> {
    service.register_cuda(&region.name)?;
    Ok(proto::NoFields {})
}

fn cuda_unregister(_: &InferenceService, _: proto::Name) -> Result<proto::NoFields, Refusal> {
    Ok(proto::NoFields {})
}
