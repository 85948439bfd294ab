//! A model whose output is as long as the input says.

use shm_triton::server::{Call, Model, ModelError, Placement};
use shm_triton::wire::Code;
use shm_triton::{DataType, ModelSpec};

/// The model `dynamic`: 0, 1, 2, ..., as many values as INPUT0 says; none are allowed too.
pub struct Dynamic {
    spec: ModelSpec,
}

impl Dynamic {
    /// The model.
    #[allow(clippy::new_without_default, reason = "a model has no default")]
    pub fn new() -> Dynamic {
        let spec = ModelSpec::new("dynamic", 0).input("INPUT0", DataType::Int32, &[1]).output(
            "OUTPUT0",
            DataType::Fp32,
            &[-1],
        );
        Dynamic { spec }
    }
}

/// Above it a float no longer holds every whole number, and four bytes of request would take
/// gigabytes of memory.
const AT_MOST: usize = 1 << 24;

impl Model for Dynamic {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn placement(&self) -> Placement {
        Placement::Blocking
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let asked = call.input("INPUT0")?.to_vec::<i32>()?.first().copied().unwrap_or(0);
        let count =
            usize::try_from(asked).ok().filter(|&count| count <= AT_MOST).ok_or_else(|| {
                let message =
                    format!("INPUT0 says how many values to return: 0 to {AT_MOST}, not {asked}");
                ModelError::new(Code::InvalidArgument, message)
            })?;
        let values: Vec<f32> = (0..count).map(|value| value as f32).collect();
        call.output("OUTPUT0", DataType::Fp32, &[count as i64])?.copy_from(&values)
    }
}
