//! A model that finds text in pictures.

mod model;
mod text;

pub use model::Detector;
pub use text::{DetectorError, Size, TextDetector};
