//! Two inputs and two outputs of different types.

use std::thread::available_parallelism;

use shm_core::Element;
use shm_triton::server::{Call, Input, Model, ModelError, Placement};
use shm_triton::{DataType, ModelSpec};

/// The model `multi_io`: of each sample, the first 512 values of INPUT0 plus one, and the first
/// five of INPUT1 doubled.
pub struct MultiIo {
    spec: ModelSpec,
}

impl MultiIo {
    /// The model.
    #[allow(clippy::new_without_default, reason = "a model has no default")]
    pub fn new() -> MultiIo {
        let spec = ModelSpec::new("multi_io", 8)
            .input("INPUT0", DataType::Fp32, &[3, 224, 224])
            .input("INPUT1", DataType::Int32, &[10])
            .output("OUTPUT0", DataType::Fp32, &[VALUES as i64])
            .output("OUTPUT1", DataType::Int32, &[NUMBERS as i64]);
        MultiIo { spec }
    }
}

const VALUES: usize = 512;
const NUMBERS: usize = 5;

impl Model for MultiIo {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Nothing is shared between calls.
    fn instances(&self) -> usize {
        available_parallelism().map_or(1, usize::from)
    }

    fn placement(&self) -> Placement {
        Placement::Inline
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let batch = call.batch();
        let mut values = beginnings::<f32>(call.input("INPUT0")?, batch, VALUES)?;
        values.iter_mut().for_each(|value| *value += 1.0);
        let mut numbers = beginnings::<i32>(call.input("INPUT1")?, batch, NUMBERS)?;
        numbers.iter_mut().for_each(|number| *number = number.wrapping_mul(2));
        let shape = |length: usize| [batch as i64, length as i64];
        call.output("OUTPUT0", DataType::Fp32, &shape(VALUES))?.copy_from(&values)?;
        call.output("OUTPUT1", DataType::Int32, &shape(NUMBERS))?.copy_from(&numbers)
    }
}

/// The first values of each sample, one sample after the other. What is not needed is not read.
fn beginnings<T: Element>(
    input: &Input,
    samples: usize,
    of_each: usize,
) -> Result<Vec<T>, ModelError> {
    let mut values = vec![T::zeroed(); samples * of_each];
    let sample_bytes = input.byte_len() / samples.max(1);
    let wanted_bytes = of_each * size_of::<T>();
    if sample_bytes < wanted_bytes {
        return Err(format!(
            "a sample of '{}' has {sample_bytes} bytes, at least {wanted_bytes} are needed",
            input.name()
        )
        .into());
    }
    for (sample, values) in values.chunks_exact_mut(of_each).enumerate() {
        input.copy_part_to(sample * sample_bytes, bytemuck::cast_slice_mut(values))?;
    }
    Ok(values)
}
