//! The text detector: the network of PP-OCRv4 by PaddleOCR as an ONNX file, out of the package
//! rapidocr-onnxruntime. Both are under the Apache license 2.0.
//!
//! Its input is FP32 `[1, 3, height, width]` with both multiples of 32, blue before green before
//! red, from -1 to 1; its output `[1, 1, height, width]`, how probably a pixel is text.

use std::path::PathBuf;

use anyhow::Result;

use super::backend::replace;
use super::wheel::{self, Pin};
use super::{Fetched, folder};
use crate::workspace::Workspace;

const PIN: Pin = Pin {
    requirement: "rapidocr-onnxruntime==1.4.4",
    sha256: "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
    platform: "any",
};

const INSIDE: &str = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx";

/// Makes sure that the file is there.
pub fn ensure(workspace: &Workspace) -> Result<Fetched> {
    if let Some(why) = wheel::obstacle() {
        return Ok(Fetched::Skipped(why));
    }
    let kept = folder(workspace).join("detector");
    let new = wheel::ensure(&PIN, &kept, |unpacked, folder| {
        wheel::rename(&unpacked.join(INSIDE), &folder.join("detector.onnx"))
    })?;
    let file = path(workspace);
    if new || !file.exists() {
        replace(&kept.join("detector.onnx"), &file)?;
    }
    Ok(Fetched::Ready(format!("text detector in {}", file.display())))
}

/// Where the file is.
pub fn path(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("detector.onnx")
}
