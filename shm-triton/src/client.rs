//! A client of one server.
//!
//! Upholds invariants 9 and 10: what a client has made it takes away, and its thread ends with it.

use crate::address::{Address, Protocol};
use crate::config::{ClientConfig, ModelConfig};
use crate::error::{CallError, CloseError, ConnectError, RegisterError};
use crate::hub::{Hub, unexpected};
use crate::model::Model;
use crate::registration::Registration;
use crate::sweep::{Swept, sweep};
use crate::transport::{HttpTransport, Reply, Request, Transport};
use crate::wire::{
    ModelConfiguration, ModelMetadata, ModelStatistics, RegionStatus, ServerMetadata,
};
use parking_lot::Mutex;
use shm_core::Deadline;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long a client that is dropped waits for its open requests and for the server.
const PARTING: Duration = Duration::from_secs(2);

/// A client of one server. Clones are the same client, and may be used from any thread.
///
/// Dropping the last one closes it, waiting for at most two seconds.
#[derive(Clone, Debug)]
pub struct TritonClient {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    hub: Arc<Hub>,
    models: Mutex<BTreeMap<String, Arc<Registration>>>,
    swept: AtomicBool,
}

/// What happened to a client's calls, beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Requests that were sent and not answered, those whose caller has given up among them.
    pub in_flight: usize,
    /// Calls that were given up at their deadline.
    pub late: u64,
    /// Requests whose connection ended before the answer.
    pub lost: u64,
    /// Times that a region was registered again, with a server that had forgotten it.
    pub registered_again: u64,
    /// Generations of slots that were replaced: grown, damaged by somebody else, or of unknown fate.
    pub retired: u64,
    /// Calls whose tensors went in the message, because the server refuses shared memory or the client was
    /// told so.
    pub inline_calls: u64,
    /// Regions that the server still has to let go of.
    pub owed: usize,
    /// Regions that cannot safely be unregistered from such an old server.
    pub leaked: u64,
}

impl TritonClient {
    /// A client of the server at `url`, see [`Address`]; [`ClientConfig`] for more. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(url: impl Into<String>) -> Result<TritonClient, ConnectError> {
        ClientConfig::new(url).connect()
    }

    pub(crate) fn with(
        config: ClientConfig,
        address: Address,
    ) -> Result<TritonClient, ConnectError> {
        let transport: Arc<dyn Transport> = match address.protocol {
            Protocol::Http => {
                Arc::new(HttpTransport::new(address.socket.clone(), config.max_reply))
            }
            Protocol::Grpc => grpc(&address)?,
        };
        let hub = Arc::new(Hub::new(transport, address, config));
        let owner =
            Owner { hub, models: Mutex::new(BTreeMap::new()), swept: AtomicBool::new(false) };
        Ok(TritonClient { owner: Arc::new(owner) })
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.owner.hub.address
    }

    /// Registers a model: learns or checks what it takes and gives, makes its slots in shared memory,
    /// and has the server map them.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing is left behind then.
    pub fn register_model(&self, config: ModelConfig) -> Result<Model, RegisterError> {
        self.register_model_within(config, self.hub().usual_deadline())
    }

    /// As [`TritonClient::register_model`], until `deadline`.
    ///
    /// # Errors
    /// As for [`TritonClient::register_model`].
    pub fn register_model_within(
        &self,
        config: ModelConfig,
        deadline: impl Into<Deadline>,
    ) -> Result<Model, RegisterError> {
        let deadline = deadline.into();
        let taken = || RegisterError::Registered { model: config.name.clone() };
        if self.model(&config.name).is_some() {
            return Err(taken());
        }
        let registration = Arc::new(Registration::new(self.hub(), &config, deadline)?);
        {
            let mut models = self.owner.models.lock();
            // Somebody may have been faster.
            match models.get(&config.name) {
                Some(earlier) if earlier.is_open() => {
                    drop(models);
                    registration.close();
                    return Err(taken());
                }
                _ => models.insert(config.name.clone(), registration.clone()),
            };
        }
        let shared = !self.hub().inline.load(Ordering::Relaxed);
        if shared && self.hub().config.sweep && !self.owner.swept.swap(true, Ordering::AcqRel) {
            // What stands in the way of that does not stand in the way of this model.
            let _ = sweep(self.hub(), deadline);
        }
        Ok(Model { registration })
    }

    /// A model that is registered.
    pub fn model(&self, name: &str) -> Option<Model> {
        let models = self.owner.models.lock();
        let registration = models.get(name).filter(|registration| registration.is_open())?.clone();
        Some(Model { registration })
    }

    /// The names of the models that are registered.
    pub fn models(&self) -> Vec<String> {
        let models = self.owner.models.lock();
        models.iter().filter(|(_, model)| model.is_open()).map(|(name, _)| name.clone()).collect()
    }

    /// True if the server lives.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::Unavailable`] if nobody listens.
    pub fn is_live(&self) -> Result<bool, CallError> {
        self.yes("server liveness", Request::ServerLive, self.hub().usual_deadline())
    }

    /// True if the server is ready.
    ///
    /// # Errors
    /// As for [`TritonClient::is_live`].
    pub fn is_ready(&self) -> Result<bool, CallError> {
        self.yes("server readiness", Request::ServerReady, self.hub().usual_deadline())
    }

    /// True if the model is ready; an empty version is any.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn model_ready(&self, model: &str, version: &str) -> Result<bool, CallError> {
        let request = Request::ModelReady(model, version);
        self.yes("model readiness", request, self.hub().usual_deadline())
    }

    /// Waits until the server is ready, which need not even listen yet.
    ///
    /// # Errors
    /// [`CallError`] of the last try, once the deadline has passed.
    pub fn wait_ready(&self, deadline: impl Into<Deadline>) -> Result<(), CallError> {
        const PAUSE: Duration = Duration::from_millis(20);
        let deadline = deadline.into();
        let began = std::time::Instant::now();
        let mut reason = None;
        loop {
            match self.yes("server readiness", Request::ServerReady, deadline) {
                Ok(true) => return Ok(()),
                Ok(false) => reason = None,
                Err(error @ (CallError::Closed | CallError::Malformed { .. })) => {
                    return Err(error);
                }
                // The last try may have had no time; what the one before it met says more.
                Err(CallError::Timeout { .. }) => {}
                Err(error) => reason = Some(error),
            }
            if deadline.has_passed() {
                let late = CallError::Timeout { what: "server readiness", after: began.elapsed() };
                return Err(reason.unwrap_or(late));
            }
            thread::sleep(deadline.remaining().map_or(PAUSE, |left| left.min(PAUSE)));
        }
    }

    /// What the server says about itself.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn server_metadata(&self) -> Result<ServerMetadata, CallError> {
        let what = "server metadata";
        match self.hub().ask(what, Request::ServerMetadata, self.hub().usual_deadline())? {
            Reply::ServerMetadata(metadata) => Ok(metadata),
            reply => Err(unexpected(what, &reply)),
        }
    }

    /// What the server says about a model; an empty version is any.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn model_metadata(&self, model: &str, version: &str) -> Result<ModelMetadata, CallError> {
        let what = "model metadata";
        let request = Request::ModelMetadata(model, version);
        match self.hub().ask(what, request, self.hub().usual_deadline())? {
            Reply::ModelMetadata(metadata) => Ok(metadata),
            reply => Err(unexpected(what, &reply)),
        }
    }

    /// How the server is configured to run a model; an empty version is any.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn model_config(
        &self,
        model: &str,
        version: &str,
    ) -> Result<ModelConfiguration, CallError> {
        let what = "model configuration";
        let request = Request::ModelConfig(model, version);
        match self.hub().ask(what, request, self.hub().usual_deadline())? {
            Reply::ModelConfig(configuration) => Ok(configuration),
            reply => Err(unexpected(what, &reply)),
        }
    }

    /// What a model has done since the server started; an empty name asks for all models.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn statistics(&self, model: &str) -> Result<Vec<ModelStatistics>, CallError> {
        let what = "model statistics";
        let request = Request::Statistics(model, "");
        match self.hub().ask(what, request, self.hub().usual_deadline())? {
            Reply::Statistics(statistics) => Ok(statistics),
            reply => Err(unexpected(what, &reply)),
        }
    }

    /// The regions of system shared memory that the server has mapped, of all clients.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn regions(&self) -> Result<Vec<RegionStatus>, CallError> {
        self.hub().regions("", self.hub().usual_deadline())
    }

    /// Removes what dead clients of this user have left, here and on the server. The first registration
    /// does so by itself, unless told not to ([`ClientConfig::sweep`]). Call it only where client and
    /// server see the same /dev/shm.
    ///
    /// # Errors
    /// [`CallError`] if the server cannot be asked.
    pub fn sweep(&self) -> Result<Swept, CallError> {
        let deadline = self.hub().usual_deadline();
        self.hub().learn_version(deadline)?;
        sweep(self.hub(), deadline)
    }

    /// What happened to this client's calls, beyond the usual.
    pub fn stats(&self) -> ClientStats {
        let hub = self.hub();
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        ClientStats {
            in_flight: hub.transport.in_flight(),
            late: count(&hub.counts.late),
            lost: count(&hub.counts.lost),
            registered_again: count(&hub.counts.registered_again),
            retired: count(&hub.counts.retired),
            inline_calls: count(&hub.counts.inline_calls),
            owed: hub.debts.count(),
            leaked: hub.debts.leaked(),
        }
    }

    /// Ends everything: no more calls begin, those that run are waited for until `deadline`, the server
    /// lets go of the memory.
    ///
    /// # Errors
    /// [`CloseError`]: what is still lent stays valid memory.
    pub fn close(&self, deadline: impl Into<Deadline>) -> Result<(), CloseError> {
        self.owner.close(deadline.into())
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.owner.hub
    }

    fn yes(
        &self,
        what: &'static str,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<bool, CallError> {
        match self.hub().ask(what, request, deadline)? {
            Reply::Yes(yes) => Ok(yes),
            reply => Err(unexpected(what, &reply)),
        }
    }
}

impl Owner {
    fn close(&self, deadline: Deadline) -> Result<(), CloseError> {
        if !self.hub.is_ours() || !self.hub.shut() {
            return Err(CloseError::Closed);
        }
        for registration in std::mem::take(&mut *self.models.lock()).into_values() {
            registration.close();
        }
        let slots = self.hub.wait_for_segments(deadline);
        if slots > 0 {
            return Err(CloseError::InUse { slots });
        }
        match self.hub.debts.wait(deadline) {
            regions if regions.is_empty() => Ok(()),
            regions => Err(CloseError::Registered { regions }),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.hub.is_ours() {
            // In a forked child the transport's thread does not exist, and can be neither told nor
            // joined; everything else is the parent's.
            std::mem::forget(self.hub.clone());
            return;
        }
        // Whoever wants to know closes.
        let _ = self.close(PARTING.into());
    }
}

#[cfg(feature = "grpc")]
fn grpc(address: &Address) -> Result<Arc<dyn Transport>, ConnectError> {
    use crate::address::Socket;
    use crate::transport::{GrpcTarget, GrpcTransport};
    let target = match address.socket.clone() {
        Socket::Tcp(host, port) => GrpcTarget::Tcp { host, port },
        Socket::Unix(path) => GrpcTarget::Unix(path),
    };
    Ok(Arc::new(GrpcTransport::connect(target)?))
}

#[cfg(not(feature = "grpc"))]
fn grpc(address: &Address) -> Result<Arc<dyn Transport>, ConnectError> {
    Err(ConnectError::NoGrpc { address: address.to_string() })
}
