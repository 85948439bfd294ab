//! What a client and a model can be asked for.

use crate::address::Address;
use crate::client::TritonClient;
use crate::error::ConnectError;
use crate::spec::ModelSpec;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whether tensors go through shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedMemory {
    /// Always; a server that refuses is an error.
    #[default]
    Required,
    /// If the server takes it; else they go in the message, which
    /// [`ClientStats::inline_calls`](crate::ClientStats) counts.
    Preferred,
    /// Never: every tensor goes in the message.
    Never,
}

/// How to connect.
///
/// ```no_run
/// use shm_triton::{ClientConfig, SharedMemory};
/// use std::time::Duration;
///
/// let client = ClientConfig::new("grpc://localhost:8001")
///     .timeout(Some(Duration::from_secs(2)))
///     .shared_memory(SharedMemory::Preferred)
///     .connect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub(crate) url: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) shared_memory: SharedMemory,
    pub(crate) sweep: bool,
    pub(crate) max_reply: usize,
}

impl ClientConfig {
    /// Everything as usual: a minute per call, shared memory required, regions of dead clients swept.
    /// See [`Address`] for the forms of `url`.
    pub fn new(url: impl Into<String>) -> ClientConfig {
        ClientConfig {
            url: url.into(),
            timeout: Some(Duration::from_secs(60)),
            shared_memory: SharedMemory::Required,
            sweep: true,
            max_reply: 4 << 30,
        }
    }

    /// How long calls wait that name no deadline of their own; `None` for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> ClientConfig {
        self.timeout = timeout;
        self
    }

    /// Whether tensors go through shared memory.
    #[must_use]
    pub fn shared_memory(mut self, shared_memory: SharedMemory) -> ClientConfig {
        self.shared_memory = shared_memory;
        self
    }

    /// Whether the first registration removes what dead clients have left, here and on the server.
    #[must_use]
    pub fn sweep(mut self, sweep: bool) -> ClientConfig {
        self.sweep = sweep;
        self
    }

    /// Longest reply that is accepted, in bytes; 4 GiB unless told. Only tensors in the message make
    /// replies long.
    #[must_use]
    pub fn max_reply(mut self, bytes: usize) -> ClientConfig {
        self.max_reply = bytes;
        self
    }

    /// Makes the client. Nothing is sent yet, so the server need not run.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(self) -> Result<TritonClient, ConnectError> {
        let address: Address = self.url.parse()?;
        TritonClient::with(self, address)
    }
}

/// How to register a model: how many slots, and how large.
///
/// ```
/// use shm_triton::{DataType, ModelConfig, ModelSpec};
///
/// // Inputs, outputs and batch size as the server knows them:
/// let known = ModelConfig::new("detector").slots(2).max_dims("image", &[3, 1024, 1024]);
/// // or as the program expects them, which is compared with what the server knows:
/// let spec = ModelSpec::new("scale", 8)
///     .input("x", DataType::Fp32, &[16])
///     .output("y", DataType::Fp32, &[16]);
/// let explicit = ModelConfig::explicit(spec).slots(8);
/// ```
#[derive(Clone, Debug)]
pub struct ModelConfig {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) spec: Option<ModelSpec>,
    pub(crate) compare: bool,
    pub(crate) slots: usize,
    pub(crate) batch: Option<usize>,
    pub(crate) max_dims: BTreeMap<String, Vec<i64>>,
    pub(crate) byte_capacity: BTreeMap<String, usize>,
}

impl ModelConfig {
    /// Inputs, outputs and batch size are asked of the server.
    pub fn new(name: impl Into<String>) -> ModelConfig {
        ModelConfig {
            name: name.into(),
            version: String::new(),
            spec: None,
            compare: true,
            slots: 4,
            batch: None,
            max_dims: BTreeMap::new(),
            byte_capacity: BTreeMap::new(),
        }
    }

    /// Inputs, outputs and batch size are given, and compared with what the server says.
    pub fn explicit(spec: ModelSpec) -> ModelConfig {
        let (name, version) = (spec.name.clone(), spec.version.clone());
        ModelConfig { spec: Some(spec), version, ..ModelConfig::new(name) }
    }

    /// The version to run; whichever the server prefers unless told.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> ModelConfig {
        self.version = version.into();
        self
    }

    /// Whether an explicit specification is compared with the server's. Without that the server need
    /// not even know the model yet, and mistakes show at the first call.
    #[must_use]
    pub fn compare(mut self, compare: bool) -> ModelConfig {
        self.compare = compare;
        self
    }

    /// How many requests can be in flight at once; 4 unless told.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> ModelConfig {
        self.slots = slots;
        self
    }

    /// Samples of one slot; as many as the model takes at once unless told. More are cut into chunks.
    #[must_use]
    pub fn batch(mut self, samples: usize) -> ModelConfig {
        self.batch = Some(samples);
        self
    }

    /// Makes room for a tensor of at most these dimensions per sample, where the model declares -1.
    /// Without it slots begin small and grow as they have to.
    #[must_use]
    pub fn max_dims(mut self, tensor: impl Into<String>, dims: &[i64]) -> ModelConfig {
        self.max_dims.insert(tensor.into(), dims.to_vec());
        self
    }

    /// Makes room for so many bytes of a tensor in each slot: for BYTES, and for outputs whose size
    /// only the model knows. Without it slots begin small and grow as they have to.
    #[must_use]
    pub fn byte_capacity(mut self, tensor: impl Into<String>, bytes: usize) -> ModelConfig {
        self.byte_capacity.insert(tensor.into(), bytes);
        self
    }
}
