//! What a server offers by name, and how it is to be carried out.

use super::failure::Failure;
use super::value::{Arguments, Value};
use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a call is answered when it is done, or becomes a task that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// A call is carried out and answered.
    #[default]
    Direct,
    /// A call becomes a task and waits for it; the task is listed and can be cancelled.
    Task,
}

/// Whether builds of one endpoint may overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// As many at a time as there are workers.
    #[default]
    Parallel,
    /// One at a time.
    Serialized,
}

/// How a call's cache key is found.
#[derive(Clone, Default)]
pub enum KeyRule {
    /// A canonical hash of all arguments, bound to their names, defaults filled in.
    #[default]
    AllArguments,
    /// Text with arguments by name in braces: `model:{hidden_size}`.
    Format(String),
    /// A function, run by a worker.
    Function(KeyFunction),
}

/// Makes a key of arguments.
pub type KeyFunction = Arc<dyn Fn(&Arguments) -> Result<String, Failure> + Send + Sync>;

/// Makes a value of arguments.
pub type BuildFunction =
    Arc<dyn Fn(&Arguments, &Cancellation) -> Result<Value, Failure> + Send + Sync>;

/// How an endpoint is carried out.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Answered at once, or a task.
    pub execution: Execution,
    /// True if clients get a lease on the object itself, to be released.
    pub managed: bool,
    /// True if the same key is built once and kept.
    pub cache: bool,
    /// What the same key is.
    pub key: KeyRule,
    /// True if callers of a key that is being built wait for that build.
    pub singleflight: bool,
    /// Whether builds may overlap.
    pub concurrency: Concurrency,
    /// True if a managed object that is cached stays when its last lease ends; else it goes with it.
    pub keep_unleased: bool,
}

/// A parameter of an endpoint, so that `f(1)` and `f(x=1)` are the same call.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is if it is left out.
    pub default: Option<Value>,
    /// How it is given.
    pub kind: ParameterKind,
}

/// How a parameter is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// By position or by name.
    Either,
    /// By position only.
    Positional,
    /// By name only.
    Named,
    /// Takes all further positions.
    Rest,
    /// Takes all further names.
    Others,
}

/// An endpoint.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name, unique in a server.
    pub name: String,
    /// How it is carried out.
    pub options: EndpointOptions,
    /// Its parameters; `None` if they are not known: then position and name make a difference.
    pub parameters: Option<Vec<Parameter>>,
    /// Its work, done by a worker.
    pub build: BuildFunction,
}

/// Says whether anybody still wants what is being built.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// True if it may stop: nobody waits for it any more, or the server stops.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks whoever builds to stop when it suits them.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// An endpoint with the usual options: direct, cached by all arguments, singleflight, parallel.
    pub fn new(
        name: impl Into<String>,
        build: impl Fn(&Arguments, &Cancellation) -> Result<Value, Failure> + Send + Sync + 'static,
    ) -> Endpoint {
        Endpoint {
            name: name.into(),
            options: EndpointOptions::default(),
            parameters: None,
            build: Arc::new(build),
        }
    }

    /// The same with other options.
    #[must_use]
    pub fn with(mut self, options: EndpointOptions) -> Endpoint {
        self.options = options;
        self
    }
}

impl Default for EndpointOptions {
    fn default() -> EndpointOptions {
        EndpointOptions {
            execution: Execution::Direct,
            managed: false,
            cache: true,
            key: KeyRule::AllArguments,
            singleflight: true,
            concurrency: Concurrency::Parallel,
            keep_unleased: true,
        }
    }
}

impl fmt::Debug for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRule::AllArguments => f.write_str("AllArguments"),
            KeyRule::Format(format) => write!(f, "Format({format:?})"),
            KeyRule::Function(_) => f.write_str("Function"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
