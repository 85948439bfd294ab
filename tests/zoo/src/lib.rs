//! Models whose behaviour is known, on the embedded inference server.
//!
//! The names, tensors and behaviours are those of the models that the tests run on a real server,
//! so that the same test can run against either.
//!
//! | model | batch | inputs | outputs | behaviour |
//! |---|---|---|---|---|
//! | identity | 8 | FP32 `[16]` | FP32 `[16]` | copy |
//! | normal | 8 | FP32 `[3, 224, 224]` | the same | copy |
//! | large | 2 | FP32 `[3, 2048, 2048]` | the same | copy |
//! | multi_io | 8 | FP32 `[3, 224, 224]`, INT32 `[10]` | FP32 `[512]`, INT32 `[5]` | the first values, plus one; the first values, doubled |
//! | any | - | INT8 `[-1]` | INT8 `[-1]` | copy |
//! | bytes | 8 | BYTES `[-1]` | BYTES `[-1]` | copy |
//! | half | 8 | FP16, BF16, BOOL, INT64, UINT8, FP64, each `[8]` | the same | copies |
//! | slow | 8 | FP32 `[1024]` | FP32 `[1024]` | waits as long as the parameter `delay_ms` says, then copies; two at once |
//! | fail | 8 | FP32 `[16]` | FP32 `[16]` | fails in the way that the parameter `mode` or the first value names |
//! | dynamic | - | INT32 `[1]` | FP32 `[-1]` | as many values as the input says: 0, 1, 2, ... |
//! | sum | 8 | INT32 `[1]` | INT32 `[1]` | running sum of a sequence |
//! | detector | - | FP32 `[1, 3, -1, -1]` | FP32 `[1, 1, -1, -1]` | finds text in a picture (feature `onnx`) |
//!
//! Inputs are named INPUT0, INPUT1, ..., outputs OUTPUT0, OUTPUT1, ...

mod copies;
#[cfg(feature = "onnx")]
mod detector;
mod dynamic;
mod fail;
mod many;
mod multi_io;
mod parameter;
mod slow;
mod sum;

pub use copies::Copies;
#[cfg(feature = "onnx")]
pub use detector::{Detector, DetectorError, Size, TextDetector};
pub use dynamic::Dynamic;
pub use fail::Fail;
pub use many::all;
pub use multi_io::MultiIo;
pub use slow::Slow;
pub use sum::Sum;
