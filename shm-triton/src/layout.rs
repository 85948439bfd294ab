//! Where the tensors of one request lie in a slot.
//!
//! ```text
//! slot │ INPUT0 ........ │ INPUT1 . │ OUTPUT0 ........ │ OUTPUT1 . │   each from a multiple of 64 bytes
//! ```

use crate::config::ModelConfig;
use crate::datatype::DataType;
use crate::error::RegisterError;
use crate::spec::{ModelSpec, TensorSpec};

/// Tensors begin at multiples of a cache line, so that their neighbours never share one.
const ALIGNMENT: usize = 64;

/// Room for a tensor whose size is not known beforehand, until it proves too small.
const GUESS: usize = 64 * 1024;

/// Place of one tensor in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: usize,
    pub capacity: usize,
}

/// Places of a model's tensors, in the order of its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotLayout {
    pub inputs: Vec<Place>,
    pub outputs: Vec<Place>,
    pub bytes: usize,
}

impl SlotLayout {
    /// The layout for `batch` samples, with the room that `config` asks for.
    pub(crate) fn new(
        spec: &ModelSpec,
        batch: usize,
        config: &ModelConfig,
    ) -> Result<SlotLayout, RegisterError> {
        for name in config.max_dims.keys().chain(config.byte_capacity.keys()) {
            if !spec.inputs.iter().chain(&spec.outputs).any(|tensor| tensor.name == *name) {
                return Err(wrong(spec, name, "the name of an input or output", name));
            }
        }
        let sizes = |tensors: &[TensorSpec]| {
            tensors.iter().map(|tensor| size(spec, tensor, batch, config)).collect()
        };
        let inputs: Result<Vec<usize>, _> = sizes(&spec.inputs);
        let outputs: Result<Vec<usize>, _> = sizes(&spec.outputs);
        SlotLayout::of(&inputs?, &outputs?)
            .ok_or_else(|| wrong(spec, "dims", "tensors that fit into memory", "more"))
    }

    /// A layout with room for `bytes` bytes of one tensor, and no less for the others. Growing in
    /// steps of a quarter keeps a tensor that grows slowly from moving at every call.
    pub(crate) fn grown(&self, output: bool, index: usize, bytes: usize) -> Option<SlotLayout> {
        let sizes = |places: &[Place]| places.iter().map(|place| place.capacity).collect();
        let (mut inputs, mut outputs): (Vec<usize>, Vec<usize>) =
            (sizes(&self.inputs), sizes(&self.outputs));
        let size = if output { &mut outputs[index] } else { &mut inputs[index] };
        *size = bytes.checked_add(bytes / 4)?.max(*size);
        SlotLayout::of(&inputs, &outputs)
    }

    fn of(inputs: &[usize], outputs: &[usize]) -> Option<SlotLayout> {
        let mut end = 0_usize;
        let mut put = |sizes: &[usize]| -> Option<Vec<Place>> {
            sizes
                .iter()
                .map(|&size| {
                    let place = Place { offset: end, capacity: size };
                    end = end.checked_add(size)?.checked_next_multiple_of(ALIGNMENT)?;
                    Some(place)
                })
                .collect()
        };
        let (inputs, outputs) = (put(inputs)?, put(outputs)?);
        (end <= isize::MAX as usize).then_some(SlotLayout {
            inputs,
            outputs,
            bytes: end.max(ALIGNMENT),
        })
    }
}

/// Bytes of a tensor in a slot.
fn size(
    spec: &ModelSpec,
    tensor: &TensorSpec,
    batch: usize,
    config: &ModelConfig,
) -> Result<usize, RegisterError> {
    let dims = match config.max_dims.get(&tensor.name) {
        Some(dims) => {
            let fits = dims.len() == tensor.dims.len()
                && dims
                    .iter()
                    .zip(&tensor.dims)
                    .all(|(&most, &dim)| most >= 0 && (dim < 0 || dim == most));
            if !fits {
                let expected = format!("dimensions that {:?} allows", tensor.dims);
                return Err(wrong(spec, &tensor.name, &expected, &format!("{dims:?}")));
            }
            dims
        }
        None => &tensor.dims,
    };
    let asked = config.byte_capacity.get(&tensor.name).copied();
    if tensor.datatype == DataType::Bytes || dims.iter().any(|&dim| dim < 0) {
        return Ok(asked.unwrap_or(GUESS));
    }
    let bytes = tensor.datatype.byte_len(dims).and_then(|bytes| bytes.checked_mul(batch));
    let bytes = bytes.ok_or_else(|| {
        wrong(spec, &tensor.name, "a tensor that fits into memory", &format!("{dims:?}"))
    })?;
    // A server is told the length that it will need, so there must never be less room than that.
    Ok(bytes.max(asked.unwrap_or(0)))
}

fn wrong(spec: &ModelSpec, field: &str, expected: &str, found: &str) -> RegisterError {
    RegisterError::Config {
        model: spec.name.clone(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_apart_and_grow_one_by_one() {
        let spec = ModelSpec::new("m", 2)
            .input("A", DataType::Int8, &[3])
            .input("B", DataType::Fp32, &[5])
            .output("C", DataType::Fp32, &[-1]);
        let layout = SlotLayout::new(&spec, 2, &ModelConfig::new("m")).unwrap();
        assert_eq!(layout.inputs[0], Place { offset: 0, capacity: 6 });
        assert_eq!(layout.inputs[1], Place { offset: 64, capacity: 40 });
        assert_eq!(layout.outputs[0], Place { offset: 128, capacity: GUESS });
        let grown = layout.grown(true, 0, 100_000).unwrap();
        assert_eq!(grown.outputs[0], Place { offset: 128, capacity: 125_000 });
        assert_eq!(grown.inputs, layout.inputs);
        assert_eq!(layout.grown(true, 0, usize::MAX), None);
    }

    #[test]
    fn less_room_than_a_tensor_needs_cannot_be_asked_for() {
        let spec = ModelSpec::new("m", 2).input("A", DataType::Fp32, &[5]).output(
            "B",
            DataType::Fp32,
            &[-1],
        );
        let config = ModelConfig::new("m").byte_capacity("A", 4).byte_capacity("B", 4);
        let capacities = |config| {
            let layout = SlotLayout::new(&spec, 2, &config).unwrap();
            (layout.inputs[0].capacity, layout.outputs[0].capacity)
        };
        assert_eq!(capacities(config.clone()), (40, 4));
        assert_eq!(capacities(config.clone().max_dims("B", &[3])), (40, 24));
        assert_eq!(capacities(config.byte_capacity("A", 100)), (100, 4));
    }

    #[test]
    fn room_for_what_is_not_there_is_refused() {
        let spec = ModelSpec::new("m", 0).input("A", DataType::Int8, &[-1, 3]);
        let config = || ModelConfig::new("m");
        for wrong in [
            config().max_dims("B", &[1]),
            config().max_dims("A", &[1]),
            config().max_dims("A", &[1, 4]),
            config().max_dims("A", &[-1, 3]),
            config().max_dims("A", &[i64::MAX, 3]),
        ] {
            let error = SlotLayout::new(&spec, 1, &wrong).unwrap_err().to_string();
            assert!(error.contains("model 'm'"), "{error}");
        }
        assert_eq!(SlotLayout::new(&spec, 1, &config().max_dims("A", &[7, 3])).unwrap().bytes, 64);
    }
}
