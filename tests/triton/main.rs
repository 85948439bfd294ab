//! What the Triton client guarantees, shown on this workspace's server and on NVIDIA's, over HTTP and gRPC:
//! no element is ever another call's, every deadline is kept, nothing is left behind, whatever dies.

#[macro_use]
mod everywhere;
mod call;
mod pretender;

mod batches;
mod cancel;
mod closing;
mod damage;
mod death;
mod hostile;
mod lost;
mod outage;
mod outputs;
mod policy;
mod progress;
mod refusals;
mod sequences;
mod storm;
mod timeouts;
mod together;
mod types;
