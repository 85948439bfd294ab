//! What a server says of itself.

use super::super::service::About;
use super::super::value::Value;
use super::command::Report;
use super::event_loop::{EventLoop, now};
use super::identity::ServerIdentity;

impl EventLoop {
    /// Tells the service what the server can do, when somebody wants to know it for the first time. It
    /// looks for a CUDA driver, but does not initialise it: a process that may still fork should not have
    /// one without asking.
    pub(super) fn introduce(&mut self) {
        if !std::mem::replace(&mut self.is_introduced, true) {
            self.service.introduce(about(&self.identity, capabilities()));
        }
    }

    /// The last word.
    pub(super) fn report(&self) -> Report {
        Report { counters: self.service.counters(), info: self.service.info(now()) }
    }
}

/// What only the server knows of itself.
pub(super) fn about(identity: &ServerIdentity, capabilities: Vec<(String, Value)>) -> About {
    let path = &identity.path;
    About {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        socket_path: path.to_string_lossy().into_owned(),
        pid: identity.pid,
        workers: identity.workers,
        capabilities,
        started: identity.started,
    }
}

/// `cuda`: a driver's library is there. `simulated`: it has no GPU behind it. `routes`: how memory can go.
fn capabilities() -> Vec<(String, Value)> {
    let has = |name| crate::driver::symbol(name).is_some();
    let (cuda, simulated) = (has(c"cuInit"), has(c"shm_cuda_sim_version"));
    let ways: &[&str] = if cuda { &["host", "vmm", "legacy"] } else { &["host"] };
    let routes = ways.iter().map(|way| Value::Str((*way).to_owned())).collect();
    vec![
        ("cuda".into(), Value::Bool(cuda)),
        ("simulated".into(), Value::Bool(simulated)),
        ("routes".into(), Value::List(routes)),
    ]
}
