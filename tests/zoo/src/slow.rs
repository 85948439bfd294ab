//! A model that takes its time.

use std::thread;
use std::time::Duration;

use shm_triton::server::{Call, Model, ModelError};
use shm_triton::{DataType, ModelSpec};

use crate::parameter;

/// The model `slow`: waits as long as the request's parameter `delay_ms` says, 1500 if it says
/// nothing, and reads its input only then.
pub struct Slow {
    spec: ModelSpec,
}

impl Slow {
    /// The model.
    #[allow(clippy::new_without_default, reason = "a model has no default")]
    pub fn new() -> Slow {
        let spec = ModelSpec::new("slow", 8).input("INPUT0", DataType::Fp32, &[1024]).output(
            "OUTPUT0",
            DataType::Fp32,
            &[1024],
        );
        Slow { spec }
    }
}

const USUAL_DELAY_MS: u64 = 1500;

impl Model for Slow {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn instances(&self) -> usize {
        2
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let delay = parameter::number(call, "delay_ms")?.unwrap_or(USUAL_DELAY_MS);
        thread::sleep(Duration::from_millis(delay));
        let input = call.input("INPUT0")?;
        call.output("OUTPUT0", DataType::Fp32, input.shape())?.copy_from_input(input)
    }
}
