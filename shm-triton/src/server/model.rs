//! What an application brings: its models.

use super::Call;
use crate::spec::ModelSpec;
use crate::wire::Code;
use std::sync::Arc;

/// A model that a server runs.
///
/// ```
/// use shm_triton::server::{Call, Model, ModelError};
/// use shm_triton::{DataType, ModelSpec};
///
/// struct Double(ModelSpec);
///
/// impl Double {
///     fn new() -> Double {
///         let spec = ModelSpec::new("double", 8)
///             .input("X", DataType::Fp32, &[4])
///             .output("Y", DataType::Fp32, &[4]);
///         Double(spec)
///     }
/// }
///
/// impl Model for Double {
///     fn spec(&self) -> &ModelSpec {
///         &self.0
///     }
///
///     fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
///         let x = call.input("X")?;
///         let doubled: Vec<f32> = x.to_vec::<f32>()?.iter().map(|value| value * 2.0).collect();
///         call.output("Y", DataType::Fp32, x.shape())?.copy_from(&doubled)
///     }
/// }
/// ```
pub trait Model: Send + Sync + 'static {
    /// What it takes and gives. Read once, when the model is added to a server. An empty version is "1".
    fn spec(&self) -> &ModelSpec;

    /// How many calls of [`infer`](Model::infer) may run at once; further requests wait, in the order
    /// in which they came.
    fn instances(&self) -> usize {
        1
    }

    /// Where a call runs.
    fn placement(&self) -> Placement {
        Placement::Blocking
    }

    /// Serves one request, which has been checked against [`spec`](Model::spec).
    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError>;
}

/// Where the calls of a model run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// On the task of the connection: for models that take microseconds.
    Inline,
    /// Where it may take long or block: other connections go on meanwhile.
    Blocking,
}

/// A model could not serve a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What kind of error the client is told of.
    pub code: Code,
    /// What went wrong, for the client's user.
    pub message: String,
}

impl ModelError {
    /// An error of that kind.
    pub fn new(code: Code, message: impl Into<String>) -> ModelError {
        ModelError { code, message: message.into() }
    }
}

/// The model failed: [`Code::Internal`].
impl From<String> for ModelError {
    fn from(message: String) -> ModelError {
        ModelError { code: Code::Internal, message }
    }
}

/// The model failed: [`Code::Internal`].
impl From<&str> for ModelError {
    fn from(message: &str) -> ModelError {
        message.to_owned().into()
    }
}

macro_rules! pointers_to_models {
    ($($pointer:ident)*) => {$(
        impl<M: Model + ?Sized> Model for $pointer<M> {
            fn spec(&self) -> &ModelSpec {
                (**self).spec()
            }

            fn instances(&self) -> usize {
                (**self).instances()
            }

            fn placement(&self) -> Placement {
                (**self).placement()
            }

            fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
                (**self).infer(call)
            }
        }
    )*};
}

pointers_to_models!(Arc Box);
