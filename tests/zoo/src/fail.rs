//! A model that fails in every way that a model can.

use shm_triton::server::{Call, Model, ModelError, Placement};
use shm_triton::wire::Code;
use shm_triton::{DataType, ModelSpec};

use crate::parameter;

/// The model `fail`. How it fails is named by the request's parameter `mode`, or else by the first
/// value of the input.
pub struct Fail {
    spec: ModelSpec,
}

impl Fail {
    /// The model.
    #[allow(clippy::new_without_default, reason = "a model has no default")]
    pub fn new() -> Fail {
        let spec = ModelSpec::new("fail", 8).input("INPUT0", DataType::Fp32, &[16]).output(
            "OUTPUT0",
            DataType::Fp32,
            &[16],
        );
        Fail { spec }
    }
}

/// How many values a sample of a result that is too short has.
const SHORT: usize = 8;

impl Model for Fail {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn placement(&self) -> Placement {
        Placement::Inline
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let input = call.input("INPUT0")?;
        let values = input.to_vec::<f32>()?;
        let mode = match (parameter::text(call, "mode"), values.first()) {
            (Some(mode), _) => mode,
            (None, Some(&first)) => (first as i64).to_string(),
            (None, None) => "ok".to_owned(),
        };
        match mode.as_str() {
            "ok" | "0" => call.output("OUTPUT0", DataType::Fp32, input.shape())?.copy_from(&values),
            "error" | "1" => Err("the model was asked to fail".into()),
            "missing" | "2" => Ok(()),
            "short" | "3" => {
                let batch = call.batch();
                call.output("OUTPUT0", DataType::Fp32, &[batch as i64, SHORT as i64])?
                    .copy_from(&values[..batch * SHORT])
            }
            "type" | "4" => {
                call.output("OUTPUT0", DataType::Int32, input.shape())?.copy_from_input(input)
            }
            _ => Err(ModelError::new(
                Code::InvalidArgument,
                format!(
                    "the mode is '{mode}'; known are ok, error, missing, short, type, and 0 to 4"
                ),
            )),
        }
    }
}
