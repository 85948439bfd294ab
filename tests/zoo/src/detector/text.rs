//! The detector itself: an ONNX file, run in this process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::prelude::*;

/// Finds text in pictures. One picture is 3 planes of `height` times `width` values from -1 to 1,
/// in the order blue, green, red; the answer is one plane of values from 0 to 1, where more than
/// 0.3 is text.
pub struct TextDetector {
    file: PathBuf,
    parsed: InferenceModel,
    /// The newest last.
    prepared: Mutex<Vec<(Size, Arc<Plan>)>>,
}

/// The size of a picture: multiples of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    height: usize,
    width: usize,
}

/// Why text cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// The file is not there.
    #[error("there is no model file at {}: `cargo xtask setup` provides it", file.display())]
    NoFile {
        /// Where it was looked for.
        file: PathBuf,
    },
    /// The file is no model that can be run.
    #[error("the model file {} cannot be run: {why}; remove it and run `cargo xtask setup`", file.display())]
    NotRunnable {
        /// The file.
        file: PathBuf,
        /// What the interpreter said.
        why: String,
    },
    /// A picture has another size than the detector takes.
    #[error(
        "a picture of {height} times {width} pixels: expected multiples of {STEP}, from {STEP} to \
         {LONGEST}; crop or resize it"
    )]
    Size {
        /// Its height.
        height: i64,
        /// Its width.
        width: i64,
    },
    /// A picture has not as many values as its size says.
    #[error("a picture of {} times {} pixels has {expected} values, {found} were given", size.height, size.width)]
    Values {
        /// Its size.
        size: Size,
        /// How many values it must have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// The model did not run.
    #[error("the model failed: {why}")]
    Failed {
        /// What the interpreter said.
        why: String,
    },
}

type Plan = TypedSimplePlan<TypedModel>;

/// A side is a multiple of it.
const STEP: usize = 32;
/// More takes seconds, and gigabytes of memory.
const LONGEST: usize = 2048;
/// The file is prepared for one size of pictures, which takes a fifth of a second; so many sizes
/// are remembered.
const SIZES: usize = 4;

impl Size {
    /// A size that the detector takes.
    pub fn new(height: i64, width: i64) -> Result<Size, DetectorError> {
        let side = |side: i64| {
            usize::try_from(side)
                .ok()
                .filter(|&side| side.is_multiple_of(STEP) && (STEP..=LONGEST).contains(&side))
        };
        match (side(height), side(width)) {
            (Some(height), Some(width)) => Ok(Size { height, width }),
            _ => Err(DetectorError::Size { height, width }),
        }
    }

    /// Pixels of such a picture.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}

impl TextDetector {
    /// Reads the file, and prepares it for the smallest pictures to see that it can be run.
    pub fn load(file: &Path) -> Result<TextDetector, DetectorError> {
        if !file.is_file() {
            return Err(DetectorError::NoFile { file: file.to_owned() });
        }
        let parsed = tract_onnx::onnx().model_for_path(file).map_err(|error| {
            DetectorError::NotRunnable { file: file.to_owned(), why: format!("{error:#}") }
        })?;
        let detector =
            TextDetector { file: file.to_owned(), parsed, prepared: Mutex::new(Vec::new()) };
        detector.plan(Size { height: STEP, width: STEP })?;
        Ok(detector)
    }

    /// Looks for text in a picture that `fill` writes.
    pub fn find<E: From<DetectorError>>(
        &self,
        size: Size,
        fill: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<Answer, E> {
        let plan = self.plan(size)?;
        let mut picture = Tensor::zero::<f32>(&[1, 3, size.height, size.width]).map_err(failed)?;
        fill(picture.as_slice_mut::<f32>().map_err(failed)?)?;
        let mut outputs = plan.run(tvec!(picture.into())).map_err(failed)?;
        let answer = outputs.pop().ok_or_else(|| failed("it gave no output"))?;
        if answer.shape() != [1, 1, size.height, size.width] {
            return Err(failed(format!("its output has the shape {:?}", answer.shape())).into());
        }
        answer.as_slice::<f32>().map_err(failed)?;
        Ok(Answer(answer))
    }

    /// Looks for text in a picture.
    pub fn find_in(&self, size: Size, picture: &[f32]) -> Result<Answer, DetectorError> {
        let expected = 3 * size.pixels();
        if picture.len() != expected {
            return Err(DetectorError::Values { size, expected, found: picture.len() });
        }
        self.find(size, |values| {
            values.copy_from_slice(picture);
            Ok(())
        })
    }

    /// Prepared for pictures of that size, now or before.
    fn plan(&self, size: Size) -> Result<Arc<Plan>, DetectorError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match prepared.iter().position(|(known, _)| *known == size) {
            Some(index) => prepared.remove(index).1,
            None => Arc::new(self.prepare(size).map_err(|error| DetectorError::NotRunnable {
                file: self.file.clone(),
                why: format!("{error:#}"),
            })?),
        };
        prepared.push((size, plan.clone()));
        if prepared.len() > SIZES {
            prepared.remove(0);
        }
        Ok(plan)
    }

    fn prepare(&self, size: Size) -> TractResult<Plan> {
        let shape = f32::fact([1, 3, size.height, size.width]);
        self.parsed.clone().with_input_fact(0, shape.into())?.into_optimized()?.into_runnable()
    }
}

/// For each pixel of a picture, how sure the detector is that it belongs to text.
pub struct Answer(TValue);

impl Answer {
    /// The values, row by row.
    pub fn values(&self) -> &[f32] {
        self.0.as_slice::<f32>().expect("looked at when the answer was made")
    }
}

fn failed(why: impl std::fmt::Display) -> DetectorError {
    DetectorError::Failed { why: format!("{why:#}") }
}
