//! Pictures as PNG: in memory, and in a file that is never there in part.

use super::picture::Picture;
use crate::cli::exit::{Exit, Failure};
use png::{BitDepth, ColorType, Compression, Encoder};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The picture as PNG.
pub(crate) fn encode(picture: &Picture, compression: Compression) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| {
        let Picture { width, height, .. } = *picture;
        Failure::new(Exit::Refused, format!("a picture of {width}x{height} is no PNG: {why}"), "")
    };
    let side = |length: usize| u32::try_from(length).map_err(|error| failed(error.to_string()));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, side(picture.width)?, side(picture.height)?);
    encoder.set_color(match picture.channels {
        1 => ColorType::Grayscale,
        3 => ColorType::Rgb,
        _ => ColorType::Rgba,
    });
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(compression);
    encoder
        .write_header()
        .and_then(|mut writer| {
            writer.write_image_data(&picture.levels)?;
            writer.finish()
        })
        .map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

/// Writes the picture beside `path` and gives it that name when it is complete.
pub(crate) fn write(picture: &Picture, path: &Path) -> Result<(), Failure> {
    if path.exists() && !path.is_file() {
        return Err(Failure::new(
            Exit::Usage,
            format!("--png: {} is not a file", path.display()),
            "name a file that may be written or replaced",
        ));
    }
    let bytes = encode(picture, Compression::Balanced)?;
    let failed = |error| Failure::system(&format!("write {}", path.display()), &error);
    let draft = Draft::beside(path);
    let mut file = File::create_new(&draft.path).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&draft.path, path).map_err(failed)
}

/// A file that is not complete yet; what is left of it when this goes is removed.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn beside(path: &Path) -> Draft {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.draft", std::process::id()));
        Draft { path: path.with_file_name(name) }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more if it got its name.
        let _ = fs::remove_file(&self.path);
    }
}
