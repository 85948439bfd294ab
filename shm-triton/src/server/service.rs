//! The service apart from its transports.

use super::admission::{Admission, Admitted};
use super::catalog::{Catalog, Served};
use super::job::{Answer, Job};
use super::memory::{self, Registry};
use super::{Model, Refusal, validation};
use crate::wire::{Code, InferRequest, InferResponse, RegionStatus, ServerMetadata};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Runs models for the clients of any transport. Clones are the same service.
///
/// It runs on the tokio runtime of whoever calls it, which needs its timer enabled.
#[derive(Clone)]
pub struct InferenceService {
    pub(super) core: Arc<Core>,
}

/// What all clones of a service share.
pub(super) struct Core {
    pub catalog: Catalog,
    pub admission: Admission,
    registry: Registry,
    client_shared_memory: bool,
    pub max_body: usize,
    name: String,
    version: String,
}

/// Why a service could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two models have one name and version.
    #[error(
        "two models are '{model}' in version {version}; give one of them another name or version"
    )]
    SameModel {
        /// The name.
        model: String,
        /// The version.
        version: String,
    },
    /// A model's spec cannot be served.
    #[error("the spec of model '{model}' cannot be served: {why}")]
    Spec {
        /// The model.
        model: String,
        /// What is wrong with it.
        why: String,
    },
    /// The handler for memory that clients cut short could not be installed.
    #[error(
        "the SIGBUS handler cannot be installed: {0}; build with `sigbus_guard(false)` to do without"
    )]
    Guard(#[source] std::io::Error),
}

/// Collects what an [`InferenceService`] is made of.
#[derive(Clone)]
#[must_use]
pub struct ServiceBuilder {
    models: Vec<Arc<dyn Model>>,
    client_shared_memory: bool,
    sigbus_guard: bool,
    max_in_flight: usize,
    max_body: usize,
    max_regions: usize,
    name: String,
    version: String,
}

impl ServiceBuilder {
    fn new() -> ServiceBuilder {
        ServiceBuilder {
            models: Vec::new(),
            client_shared_memory: true,
            sigbus_guard: true,
            max_in_flight: 4096,
            max_body: 1 << 30,
            max_regions: 4096,
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Adds a model.
    pub fn model(mut self, model: impl Model) -> ServiceBuilder {
        self.models.push(Arc::new(model));
        self
    }

    /// Whether clients may register shared memory; true unless said otherwise.
    pub fn client_shared_memory(mut self, allowed: bool) -> ServiceBuilder {
        self.client_shared_memory = allowed;
        self
    }

    /// Whether to install the process-wide handler that keeps the process alive when a client cuts its
    /// shared memory short; true unless said otherwise. See the [module](crate::server).
    pub fn sigbus_guard(mut self, installed: bool) -> ServiceBuilder {
        self.sigbus_guard = installed;
        self
    }

    /// How many requests may be in flight at once, waiting ones included; 4096 unless said otherwise.
    /// One more is refused as unavailable.
    pub fn max_in_flight(mut self, requests: usize) -> ServiceBuilder {
        self.max_in_flight = requests;
        self
    }

    /// How many bytes one message may have; 1 GiB unless said otherwise.
    pub fn max_body(mut self, bytes: usize) -> ServiceBuilder {
        self.max_body = bytes;
        self
    }

    /// How many regions may be registered at once; 4096 unless said otherwise, which is also the most
    /// that the SIGBUS handler can watch in one process. Each holds a file descriptor.
    pub fn max_regions(mut self, regions: usize) -> ServiceBuilder {
        self.max_regions = regions;
        self
    }

    /// What the server calls itself.
    pub fn name(mut self, name: impl Into<String>) -> ServiceBuilder {
        self.name = name.into();
        self
    }

    /// Which version the server says it is.
    pub fn version(mut self, version: impl Into<String>) -> ServiceBuilder {
        self.version = version.into();
        self
    }

    /// Builds the service.
    pub fn build(self) -> Result<InferenceService, BuildError> {
        let catalog = Catalog::new(self.models)?;
        if self.sigbus_guard {
            memory::install_guard().map_err(BuildError::Guard)?;
        }
        Ok(InferenceService {
            core: Arc::new(Core {
                catalog,
                admission: Admission::new(self.max_in_flight),
                registry: Registry::new(self.max_regions, self.sigbus_guard),
                client_shared_memory: self.client_shared_memory,
                max_body: self.max_body,
                name: self.name,
                version: self.version,
            }),
        })
    }
}

impl InferenceService {
    /// Starts to collect what a service is made of.
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::new()
    }

    /// Runs a model: what the transports do with a request once they have read it.
    pub async fn infer(&self, request: InferRequest) -> Result<InferResponse, Refusal> {
        let started = Instant::now();
        let admitted = self.core.admission.admit()?;
        let served = self.core.catalog.find(&request.model_name, &request.model_version)?;
        let answered = self.run(served, request, admitted, started).await;
        if answered.is_err() {
            served.statistics.failed(started.elapsed());
        }
        answered
    }

    async fn run(
        &self,
        served: &Arc<Served>,
        request: InferRequest,
        admitted: Admitted,
        started: Instant,
    ) -> Result<InferResponse, Refusal> {
        let spec = &served.spec;
        let registry = &self.core.registry;
        let sequence = validation::sequence(spec, &request.parameters)?;
        let timeout = validation::timeout(&request.parameters)?;
        let (inputs, batch) = validation::inputs(spec, registry, request.inputs)?;
        let wanted = validation::outputs(spec, registry, request.outputs)?;
        let job = Job {
            model: Arc::clone(&served.model),
            spec: Arc::clone(spec),
            id: request.id.clone(),
            parameters: request.parameters,
            sequence,
            batch,
            inputs,
            wanted,
            _admitted: admitted,
        };
        let queued = Instant::now();
        let turn = job.sequence.as_ref().filter(|_| spec.sequence).map(|sequence| &sequence.id);
        let ticket = served.queue.enter(turn, timeout).await?;
        let queue = queued.elapsed();
        let Answer { outputs, times } = job.run(ticket).await?;
        served.statistics.succeeded(batch, started.elapsed(), queue, times);
        Ok(InferResponse {
            model_name: spec.name.clone(),
            model_version: spec.version.clone(),
            id: request.id,
            parameters: Default::default(),
            outputs,
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.core.admission.is_closed()
    }

    pub(super) fn metadata(&self) -> ServerMetadata {
        let extensions = [
            "sequence",
            "model_repository",
            "model_configuration",
            "system_shared_memory",
            "binary_tensor_data",
            "parameters",
            "statistics",
        ];
        ServerMetadata {
            name: self.core.name.clone(),
            version: self.core.version.clone(),
            extensions: extensions.map(str::to_owned).to_vec(),
        }
    }

    pub(super) fn register(&self, region: &RegionStatus) -> Result<(), Refusal> {
        self.client_shared_memory()?;
        self.core.registry.register(&region.name, &region.key, region.offset, region.byte_size)
    }

    /// An empty name stands for all regions.
    pub(super) fn unregister(&self, name: &str) -> Result<(), Refusal> {
        self.client_shared_memory()?;
        match name {
            "" => self.core.registry.unregister_all(),
            name => self.core.registry.unregister(name),
        }
    }

    /// An empty name stands for all regions.
    pub(super) fn regions(&self, name: &str) -> Result<Vec<RegionStatus>, Refusal> {
        self.core.registry.status(name)
    }

    pub(super) fn register_cuda(&self, name: &str) -> Result<(), Refusal> {
        self.client_shared_memory()?;
        Err(Refusal::new(
            Code::Unimplemented,
            format!(
                "cannot register CUDA shared memory region '{name}': this server has no device memory; use system shared memory"
            ),
        ))
    }

    /// None is ever registered.
    pub(super) fn cuda_region(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        Err(Refusal::not_found(format!("Unable to find cuda shared memory region: '{name}'")))
    }

    fn client_shared_memory(&self) -> Result<(), Refusal> {
        if self.core.client_shared_memory {
            return Ok(());
        }
        Err(Refusal::new(Code::Unimplemented, "Client shared memory is disabled"))
    }
}

impl fmt::Debug for InferenceService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models: Vec<&str> =
            self.core.catalog.all().map(|served| served.spec.name.as_str()).collect();
        f.debug_struct("InferenceService").field("models", &models).finish_non_exhaustive()
    }
}
