//! The detector as a model of a server.

use std::path::Path;
use std::thread::available_parallelism;

use shm_triton::server::{Call, Model, ModelError};
use shm_triton::wire::Code;
use shm_triton::{DataType, ModelSpec};

use super::text::{DetectorError, Size, TextDetector};

/// The model `detector`.
pub struct Detector {
    spec: ModelSpec,
    detector: TextDetector,
}

impl Detector {
    /// The model, from its file.
    pub fn load(file: &Path) -> Result<Detector, DetectorError> {
        let spec = ModelSpec::new("detector", 0)
            .input("INPUT0", DataType::Fp32, &[1, 3, -1, -1])
            .output("OUTPUT0", DataType::Fp32, &[1, 1, -1, -1]);
        Ok(Detector { spec, detector: TextDetector::load(file)? })
    }
}

impl Model for Detector {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Nothing but what is prepared is shared between calls, and one call keeps one processor busy.
    fn instances(&self) -> usize {
        available_parallelism().map_or(1, usize::from)
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let input = call.input("INPUT0")?;
        let &[1, 3, height, width] = input.shape() else {
            return Err(ModelError::new(
                Code::InvalidArgument,
                format!("INPUT0 has the shape {:?}, expected [1, 3, -1, -1]", input.shape()),
            ));
        };
        let size = Size::new(height, width).map_err(Refused::Detector)?;
        let answer = self.detector.find(size, |values| {
            input.copy_to(bytemuck::cast_slice_mut(values)).map_err(Refused::Model)
        })?;
        call.output("OUTPUT0", DataType::Fp32, &[1, 1, height, width])?.copy_from(answer.values())
    }
}

/// Who refused a request.
enum Refused {
    Detector(DetectorError),
    Model(ModelError),
}

impl From<DetectorError> for Refused {
    fn from(error: DetectorError) -> Refused {
        Refused::Detector(error)
    }
}

impl From<Refused> for ModelError {
    fn from(refused: Refused) -> ModelError {
        match refused {
            Refused::Detector(error @ DetectorError::Size { .. }) => {
                ModelError::new(Code::InvalidArgument, error.to_string())
            }
            Refused::Detector(error) => error.to_string().into(),
            Refused::Model(error) => error,
        }
    }
}
