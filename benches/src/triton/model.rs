//! The models that are called: the same ones on every server.

/// A model and how large a call is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    /// Its name; the Python backend's copy has `_py` after it.
    pub name: &'static str,
    /// Samples in a call.
    pub batch: usize,
    /// Its inputs, per sample.
    pub inputs: &'static [Tensor],
    /// Its outputs, per sample.
    pub outputs: &'static [Tensor],
    /// What OUTPUT0 has more than INPUT0.
    pub adds: f32,
}

/// A tensor, per sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub name: &'static str,
    pub datatype: &'static str,
    pub dims: &'static [usize],
}

pub(super) const MODELS: [Model; 4] = [
    echo("identity", 8, &[fp32("INPUT0", &[16])], &[fp32("OUTPUT0", &[16])]),
    echo("normal", 8, &[fp32("INPUT0", &IMAGE)], &[fp32("OUTPUT0", &IMAGE)]),
    echo("large", 2, &[fp32("INPUT0", &[3, 2048, 2048])], &[fp32("OUTPUT0", &[3, 2048, 2048])]),
    Model {
        name: "multi_io",
        batch: 8,
        inputs: &[fp32("INPUT0", &IMAGE), int32("INPUT1", &[10])],
        outputs: &[fp32("OUTPUT0", &[512]), int32("OUTPUT1", &[5])],
        adds: 1.0,
    },
];

/// The one that is called many times at once.
pub(super) const SMALLEST: Model = MODELS[0];

/// What every element of an INT32 input is; the output is twice that.
pub(super) const NUMBER: i32 = 21;

const IMAGE: [usize; 3] = [3, 224, 224];

const fn echo(
    name: &'static str,
    batch: usize,
    inputs: &'static [Tensor],
    outputs: &'static [Tensor],
) -> Model {
    Model { name, batch, inputs, outputs, adds: 0.0 }
}

const fn fp32(name: &'static str, dims: &'static [usize]) -> Tensor {
    Tensor { name, datatype: "FP32", dims }
}

const fn int32(name: &'static str, dims: &'static [usize]) -> Tensor {
    Tensor { name, datatype: "INT32", dims }
}

impl Model {
    /// Bytes of all inputs of a call.
    pub fn input_bytes(&self) -> usize {
        self.inputs.iter().map(|tensor| 4 * self.elements(tensor)).sum()
    }

    /// Bytes of all outputs of a call.
    pub fn output_bytes(&self) -> usize {
        self.outputs.iter().map(|tensor| 4 * self.elements(tensor)).sum()
    }

    /// Elements of a tensor of a call.
    pub fn elements(&self, tensor: &Tensor) -> usize {
        self.batch * tensor.dims.iter().product::<usize>()
    }

    /// The shape of a tensor of a call.
    pub fn shape(&self, tensor: &Tensor) -> Vec<i64> {
        std::iter::once(self.batch)
            .chain(tensor.dims.iter().copied())
            .map(|dim| dim as i64)
            .collect()
    }

    /// Elements of INPUT0 that show in the first and in the last element of OUTPUT0.
    pub fn shown(&self) -> [usize; 2] {
        let (given, got) = (self.elements(&self.inputs[0]), self.elements(&self.outputs[0]));
        let per_sample = |elements: usize| elements / self.batch;
        [0, given - per_sample(given) + per_sample(got) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_whole_batch() {
        let [identity, normal, large, multi_io] = MODELS;
        assert_eq!((identity.input_bytes(), identity.output_bytes()), (512, 512));
        assert_eq!(normal.input_bytes(), 4_816_896);
        assert_eq!(large.output_bytes(), 100_663_296);
        assert_eq!(multi_io.input_bytes(), 4_816_896 + 320);
        assert_eq!(multi_io.output_bytes(), 16_384 + 160);
        assert_eq!(large.shape(&large.inputs[0]), [2, 3, 2048, 2048]);
    }

    #[test]
    fn what_is_marked_shows_at_both_ends_of_the_output() {
        assert_eq!(MODELS[0].shown(), [0, 127]);
        assert_eq!(MODELS[3].shown(), [0, 7 * 150_528 + 511]);
    }
}
