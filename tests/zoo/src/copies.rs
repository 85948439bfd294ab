//! Models that return what they are given.

use std::thread::available_parallelism;

use shm_triton::server::{Call, Model, ModelError, Placement};
use shm_triton::{DataType, ModelSpec};

/// A model that copies each input to the output of the same number.
pub struct Copies {
    spec: ModelSpec,
    placement: Placement,
    /// The names of each input and its output.
    pairs: Vec<(String, String)>,
}

impl Copies {
    /// Every copying model: identity, normal, large, any, bytes, half.
    pub fn all() -> [Copies; 6] {
        let half: &[Tensor] = &[
            (DataType::Fp16, &[8]),
            (DataType::Bf16, &[8]),
            (DataType::Bool, &[8]),
            (DataType::Int64, &[8]),
            (DataType::Uint8, &[8]),
            (DataType::Fp64, &[8]),
        ];
        [
            Copies::new("identity", 8, &[(DataType::Fp32, &[16])], Placement::Inline),
            Copies::new("normal", 8, &[(DataType::Fp32, &[3, 224, 224])], Placement::Blocking),
            Copies::new("large", 2, &[(DataType::Fp32, &[3, 2048, 2048])], Placement::Blocking),
            // Both may be of any length.
            Copies::new("any", 0, &[(DataType::Int8, &[-1])], Placement::Blocking),
            Copies::new("bytes", 8, &[(DataType::Bytes, &[-1])], Placement::Blocking),
            Copies::new("half", 8, half, Placement::Inline),
        ]
    }

    fn new(name: &str, max_batch_size: usize, tensors: &[Tensor], placement: Placement) -> Copies {
        let mut spec = ModelSpec::new(name, max_batch_size);
        let mut pairs = Vec::new();
        for (number, (datatype, dims)) in tensors.iter().enumerate() {
            let (input, output) = (format!("INPUT{number}"), format!("OUTPUT{number}"));
            spec = spec.input(&input, *datatype, dims).output(&output, *datatype, dims);
            pairs.push((input, output));
        }
        Copies { spec, placement, pairs }
    }
}

type Tensor<'a> = (DataType, &'a [i64]);

impl Model for Copies {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Nothing is shared between calls.
    fn instances(&self) -> usize {
        available_parallelism().map_or(1, usize::from)
    }

    fn placement(&self) -> Placement {
        self.placement
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        for (from, to) in &self.pairs {
            let input = call.input(from)?;
            // By its length, because the shape of byte strings does not tell it.
            call.output_sized(to, input.datatype(), input.shape(), input.byte_len())?
                .copy_from_input(input)?;
        }
        Ok(())
    }
}
